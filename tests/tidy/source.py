"""One file of the repo, parsed once: its imports, functions, comments."""

import ast
import gc
import io
import re
import tokenize
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef
_MODULE = re.compile(r"\b(?:stream|tests|benchmarks)(?:\.\w+)+")


class Import(NamedTuple):
    """One import statement, its module made absolute; `names` is empty for `import module`."""

    line: int
    module: str
    names: tuple[str, ...]
    is_relative: bool

    @property
    def top(self) -> str:
        """The package at the top."""
        return self.module.partition(".")[0]

    @property
    def modules(self) -> set[str]:
        """All that could be a module among what is imported."""
        return {self.module, *(f"{self.module}.{name}" for name in self.names)}

    @property
    def rooms(self) -> list[str]:
        """The rooms of `stream` that are entered."""
        if self.top != "stream":
            return []
        inner = self.module.split(".")[1:2]
        return inner or [name for name in self.names if name != "__version__"]


def _parsed(text: str, path: str) -> ast.Module:
    """Parse a file while no garbage is collected.

    Python before 3.11.8 and 3.12.2 takes a finaliser that parses something for a mistake of its
    own (SystemError, gh-106905).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text, path)
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True)
class Source:
    """One file: its path from the top of the repo, with `/`, and its text."""

    path: str
    text: str

    @property
    def is_python(self) -> bool:
        """Whether there is syntax to look at."""
        return self.path.endswith(".py")

    @cached_property
    def module(self) -> str:
        """The dotted name under which the file is imported."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @cached_property
    def room(self) -> str:
        """The room that the file belongs to; empty for `stream` itself and for files outside."""
        parts = self.module.split(".")
        return parts[1] if parts[0] == "stream" and len(parts) > 1 else ""

    @cached_property
    def nodes(self) -> dict[type[ast.AST], list[Any]]:
        """All syntax nodes by their type; the module itself is the only `ast.Module`."""
        nodes: dict[type[ast.AST], list[Any]] = defaultdict(list)
        for node in ast.walk(_parsed(self.text, self.path)):
            nodes[type(node)].append(node)
        return nodes

    @cached_property
    def functions(self) -> list[Function]:
        """All functions and methods, nested ones too."""
        return self.nodes[ast.FunctionDef] + self.nodes[ast.AsyncFunctionDef]

    @cached_property
    def comments(self) -> list[tuple[int, str]]:
        """Line and text of each comment."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [(each.start[0], each.string) for each in tokens if each.type == tokenize.COMMENT]

    @cached_property
    def imports(self) -> list[Import]:
        """All imports, inside functions and under TYPE_CHECKING too."""
        found = [
            Import(node.lineno, alias.name, (), is_relative=False)
            for node in self.nodes[ast.Import]
            for alias in node.names
        ]
        package = self.module.split(".")
        if not self.path.endswith("/__init__.py"):
            package.pop()
        for node in self.nodes[ast.ImportFrom]:
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names = tuple(alias.name for alias in node.names)
            found.append(Import(node.lineno, module, names, is_relative=node.level > 0))
        return found

    @cached_property
    def mentions(self) -> frozenset[str]:
        """Modules that the file imports, or names in a string of their own (lazy loading, `-m`)."""
        if not self.is_python:
            return frozenset(_MODULE.findall(self.text))
        names = {name for each in self.imports for name in each.modules}
        for node in self.nodes[ast.Constant]:
            if isinstance(node.value, str):
                name = node.value.partition(":")[0]
                if _MODULE.fullmatch(name):
                    names.add(name)
        return frozenset(names)


def decorators_of(node: Function) -> set[str]:
    """The last names of a function's decorators: `command` of `@group.command("up")`."""
    called = (each.func if isinstance(each, ast.Call) else each for each in node.decorator_list)
    return {name for each in called for name in last_names(each)}


def last_names(node: ast.expr | None) -> set[str]:
    """The last name of an expression, or of each in a tuple: `Empty` of `queue.Empty`."""
    items = node.elts if isinstance(node, ast.Tuple) else [node]
    return {getattr(item, "attr", getattr(item, "id", "")) for item in items}
