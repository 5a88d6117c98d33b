"""One check for each rule.

A rule is given files and yields violations. It reads no disk, so that test_tidy.py can feed it text
and show that it bites.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator, KeysView, Sequence
from fnmatch import fnmatch
from typing import NamedTuple

from tests.tidy.agreed import (
    BANNER,
    BARE_IGNORE,
    BARRED_NAMES,
    BARRED_WORDS,
    CORE,
    CORE_BARRED_CALLS,
    CORE_BARRED_METHODS,
    CORE_STDLIB,
    DOORS,
    EVERYWHERE,
    FILE_LINES_MAX,
    FUNCTION_LINES_MAX,
    GATEWAY_MAY_IMPORT,
    LINE_MAX,
    PARAMETERS_MAX,
    PLACES,
    ROOMS,
    TOP_LEVEL,
    UNFINISHED,
    WITHOUT_NUMPY,
)
from tests.tidy.source import Function, Import, Source, decorators_of, last_names


class Violation(NamedTuple):
    """Where a rule is broken, and by `what`: the function, module or word in question."""

    rule: str
    path: str
    line: int
    what: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.what}: {self.message}"


Rule = Callable[[Sequence[Source]], Iterator[Violation]]
Found = Iterator[tuple[int, str, str]]
Check = Callable[[Source], Found]
CODE = ("stream/", "tests/", "benchmarks/")
OWN = (["self"], ["cls"])
RULES: dict[str, Rule] = {}


def for_each(name: str, *under: str) -> Callable[[Check], Check]:
    """Make a check of one file the rule `name` for the Python files under the given folders."""

    def register(check: Check) -> Check:
        def rule(sources: Sequence[Source]) -> Iterator[Violation]:
            for source in sources:
                if source.is_python and source.path.startswith(under or CODE):
                    for line, what, message in check(source):
                        yield Violation(name, source.path, line, what, message)

        RULES[name] = rule
        return check

    return register


def for_all(name: str) -> Callable[[Rule], Rule]:
    """Make a check that needs all files at once the rule `name`."""

    def register(check: Rule) -> Rule:
        RULES[name] = check
        return check

    return register


@for_each("direction", "stream/")
def _direction(source: Source) -> Found:
    if source.room and source.room not in ROOMS:
        yield 1, source.room, "this room is not on the list (ROOMS)"
        return
    above = ROOMS[: ROOMS.index(source.room)] if source.room else ()
    for each in source.imports:
        for room in each.rooms:
            if room == source.room:
                continue
            if room not in above:
                yield each.line, room, f"does not stand above {source.room or 'stream itself'}"
            elif source.room == "gateway" and room not in GATEWAY_MAY_IMPORT:
                yield each.line, room, "a gateway stays light (GATEWAY_MAY_IMPORT)"


@for_all("entry")
def _entry(sources: Sequence[Source]) -> Iterator[Violation]:
    modules = {source.module for source in sources}
    for source in sources:
        if source.is_python and source.path.startswith("stream/"):
            for each in source.imports:
                for room in each.rooms:
                    if fault := _fault_of_entry(each, room, source.room, modules):
                        yield Violation("entry", source.path, each.line, each.module, fault)


def _fault_of_entry(each: Import, room: str, home: str, modules: set[str]) -> str:
    if room == home:
        return "" if each.is_relative else "imports inside a room are relative"
    if each.is_relative:
        return f"a relative import must not leave its room: say `from stream.{room} import ...`"
    if each.module != f"stream.{room}" or not each.names:
        return f"say `from stream.{room} import ...`"
    for name in each.names:
        if name.startswith("_") or f"stream.{room}.{name}" in modules:
            return f"{name} is inside that room"
    return ""


@for_each("door", "stream/")
def _door(source: Source) -> Found:
    for each in source.imports:
        if each.top == "stream" or each.top in sys.stdlib_module_names:
            continue
        doors = DOORS.get(each.top, ())
        if doors and not any(fnmatch(source.path, door) for door in doors):
            yield each.line, each.top, f"comes in by {' or '.join(doors)} only"
        if not doors and each.top not in EVERYWHERE:
            yield each.line, each.top, "is no dependency of the product, or has no door yet (DOORS)"
        if each.top == "numpy" and source.room in WITHOUT_NUMPY:
            yield each.line, each.top, f"{source.room} loads without it"


@for_each("core", "stream/")
def _core(source: Source) -> Found:
    if source.room not in CORE:
        return
    for each in source.imports:
        if each.top in sys.stdlib_module_names and not CORE_STDLIB & {each.top, *each.modules}:
            yield each.line, each.module, "the core has no clock, I/O, environment, threads, chance"
    for node in source.nodes[ast.Call]:
        name = min(last_names(node.func))
        if isinstance(node.func, ast.Name) and name in CORE_BARRED_CALLS:
            yield node.lineno, name, "its result is not a function of its arguments"
        if isinstance(node.func, ast.Attribute) and name in CORE_BARRED_METHODS:
            yield node.lineno, name, "the core has no clock"
    for node in source.nodes[ast.Attribute]:
        if node.attr == "random" and last_names(node.value) & {"np", "numpy"}:
            yield node.lineno, "numpy.random", "the core has no chance"


@for_each("root", "stream/__init__.py")
def _root(source: Source) -> Found:
    for node in source.nodes[ast.Module][0].body[1:]:
        if not isinstance(node, ast.Assign) or last_names(node.targets[0]) != {"__version__"}:
            yield node.lineno, "stream", "holds its docstring and __version__ only"


@for_each("file-size")
def _file_size(source: Source) -> Found:
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield lines, source.module, f"{lines} lines, and {FILE_LINES_MAX} is the limit"


@for_each("line-size")
def _line_size(source: Source) -> Found:
    for line, text in enumerate(source.text.splitlines(), 1):
        if len(text) > LINE_MAX:
            yield line, str(line), f"{len(text)} characters, and {LINE_MAX} is the limit"


@for_each("function-size")
def _function_size(source: Source) -> Found:
    # Without the docstring: a limit that counted it would make it shorter.
    for node in source.functions:
        first = node.body[0]
        has_text = ast.get_docstring(node, clean=False) is not None
        text = first.end_lineno - first.lineno + 1 if has_text else 0
        lines = node.end_lineno - node.lineno + 1 - text
        if lines > FUNCTION_LINES_MAX:
            yield node.lineno, node.name, f"{lines} lines, and {FUNCTION_LINES_MAX} is the limit"


@for_each("parameters")
def _parameters(source: Source) -> Found:
    for node in source.functions:
        given = node.args
        names = [arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        count = len(names) + bool(given.vararg) + bool(given.kwarg) - (names[:1] in OWN)
        # click hands over each option of a command as a parameter of its own.
        if count > PARAMETERS_MAX and "command" not in decorators_of(node):
            yield node.lineno, node.name, f"{count} parameters: make them a Struct"


@for_each("print", "stream/")
def _print(source: Source) -> Found:
    if source.room == "cli":
        return
    for node in source.nodes[ast.Call]:
        if isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno, "print", "only cli speaks to a person"
    for node in source.nodes[ast.Attribute]:
        if node.attr in {"stdout", "stderr"} and last_names(node.value) == {"sys"}:
            yield node.lineno, f"sys.{node.attr}", "only cli speaks to a person"


@for_each("except")
def _except(source: Source) -> Found:
    barred = {"Exception", "BaseException", "AssertionError"}
    for node in source.nodes[ast.ExceptHandler]:
        names = last_names(node.type)
        if node.type is None:
            yield node.lineno, "bare", "name what you expect"
        for name in sorted(names & barred):
            yield node.lineno, name, "name what you expect; a broken invariant must crash"
        raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        if "CancelledError" in names and source.room and not raises:
            yield node.lineno, "CancelledError", "is never swallowed"
    for node in source.nodes[ast.Call]:
        if last_names(node.func) == {"suppress"}:
            names = {name for arg in node.args for name in last_names(arg)}
            for name in sorted(names & {*barred, *(["CancelledError"] if source.room else [])}):
                yield node.lineno, name, "is never suppressed"


@for_each("ignore")
def _ignore(source: Source) -> Found:
    for line, text in source.comments if BARE_IGNORE.search(source.text) else []:
        if BARE_IGNORE.search(text):
            yield line, text, "name the code that is ignored"


@for_each("unfinished")
def _unfinished(source: Source) -> Found:
    for node in source.nodes[ast.Name]:
        if node.id == "NotImplementedError":
            yield node.lineno, node.id, "write it, or leave it out"
    if UNFINISHED.search(source.text) or BANNER.search(source.text):
        for line, text in source.comments:
            if UNFINISHED.search(text):
                yield line, text, "do it now, or file an issue"
            if BANNER.match(text):
                yield line, text, "no banners: one concept is one file"


@for_each("docstring", "stream/")
def _docstring(source: Source) -> Found:
    yield from _undocumented(source.nodes[ast.Module][0], source.module)


def _undocumented(node: ast.Module | ast.ClassDef | Function, name: str) -> Found:
    if ast.get_docstring(node, clean=False) is None:
        yield getattr(node, "lineno", 1), name, "says in a docstring what holds"
    for inner in [] if isinstance(node, Function) else node.body:
        if not isinstance(inner, Function | ast.ClassDef) or inner.name.startswith("_"):
            continue
        if not decorators_of(inner) & {"overload", "setter"}:
            yield from _undocumented(inner, inner.name)


@for_each("law", "tests/")
def _law(source: Source) -> Found:
    for node in source.functions:
        if node.name.startswith("test") and ast.get_docstring(node, clean=False) is None:
            yield node.lineno, node.name, "says in one sentence which law it shows"


@for_each("name")
def _name(source: Source) -> Found:
    classes = [(node.lineno, node.name) for node in source.nodes[ast.ClassDef]]
    for line, name in [(1, source.module.rpartition(".")[2]), *classes]:
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
        if words & BARRED_WORDS or name.lower() in BARRED_NAMES:
            yield line, name, "says nothing about what it holds"


@for_all("cycle")
def _cycle(sources: Sequence[Source]) -> Iterator[Violation]:
    left = {
        source.module: source
        for source in sources
        if source.is_python and source.path.startswith("stream/")
    }
    needs = {name: _needs_of(left[name], left.keys()) for name in left}
    # Take away what needs nothing that is left, or is needed by nothing left: cycles remain.
    while True:
        needed = {target for name in left for target in needs[name]}
        done = [name for name in left if name not in needed or not needs[name] & left.keys()]
        if not done:
            break
        for name in done:
            del left[name]
    for name, source in left.items():
        others = " ".join(sorted(needs[name] & left.keys()))
        yield Violation("cycle", source.path, 1, name, f"is in a cycle with {others}")


def _needs_of(source: Source, modules: KeysView[str]) -> set[str]:
    needs: set[str] = set()
    for each in source.imports:
        parts = {f"{each.module}.{name}" for name in each.names} & modules
        # `from . import part` needs the part only, `from . import part, name` the room's entry too.
        needs |= parts if parts and len(parts) == len(each.names) else parts | {each.module}
    return needs & modules


@for_all("orphan")
def _orphan(sources: Sequence[Source]) -> Iterator[Violation]:
    for source in sources:
        if not source.path.startswith(CODE) or not source.is_python or _starts_alone(source):
            continue
        # A part of a room that only tests import is dead; a room may be there for its users.
        is_part = bool(source.room) and source.module != f"stream.{source.room}"
        users = "stream/" if is_part else ""
        if not any(
            source.module in other.mentions
            for other in sources
            if other is not source and other.path.startswith(users)
        ):
            yield Violation("orphan", source.path, 1, source.module, "nobody imports it")


def _starts_alone(source: Source) -> bool:
    name = source.path.rpartition("/")[2]
    if name == "__init__.py":
        return source.module != f"stream.{source.room}"
    if name.startswith(("test_", "conftest", "__main__")):
        return True
    return not source.room and '__name__ == "__main__"' in source.text


@for_all("top-level")
def _top_level(sources: Sequence[Source]) -> Iterator[Violation]:
    for source in sources:
        top = source.path.partition("/")[0]
        if top not in TOP_LEVEL:
            yield Violation("top-level", source.path, 1, top, "was not agreed (TOP_LEVEL)")


@for_all("place")
def _place(sources: Sequence[Source]) -> Iterator[Violation]:
    for source in sources:
        if PLACES.search(source.text):
            for line, text in enumerate(source.text.splitlines(), 1):
                if found := PLACES.search(text):
                    yield Violation("place", source.path, line, found[0], "is true here only")
