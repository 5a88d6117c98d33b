"""What is legal in a policy and probably not meant: remarks, never errors.

Only what can be decided is remarked on. A pattern covers another if each name that the other
matches is matched by it; where that is not shown, `covers` says no and nothing is remarked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Final, NamedTuple

from stream.identity import Pattern, compile_workload_pattern

from .compiled import OTHER_CLASS, Policy
from .rule import ACTION_INDEX, Rule
from .spec import RuleSpec
from .tables import ENFORCE
from .units import PERMITS_MAX, spell_duration

# Comparing each pattern of workloads with each takes a second or two at this number of them, or of
# steps of matching: where there are more, only those written the same are found.
COMPARED_MAX: Final = 600
STEPS_MAX: Final = 2 * 10**9

_EVERY_WORKLOAD: Final = compile_workload_pattern("spiffe://*/**")
# No pattern has it, because patterns are printable.
_FRESH: Final = "\0"
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


class Remark(NamedTuple):
    """One thing that is probably not meant: a stable code, where it is, what and what to do.

    `line` is None where only the policy is known and not its file.
    """

    code: str
    path: str
    line: int | None
    text: str
    hint: str


# Code, path, text, hint.
Found = Iterator[tuple[str, str, str, str]]


def lint_policy(policy: Policy, line_of: Callable[[str], int] | None = None) -> list[Remark]:
    """Return what is probably not meant, in the order of the file; `Document.line_of` knows lines.

    Errors: none. Cost: at worst some seconds for a policy of the largest size.
    """
    reach = _reach(policy)
    remarks = [
        Remark(code, path, line_of(path) if line_of else None, text, hint)
        for check in CHECKS
        for code, path, text, hint in check(policy, reach)
    ]
    return sorted(remarks, key=lambda each: each.line or 0)


def covers(outer: Pattern, inner: Pattern) -> bool:
    """Tell whether `outer` is known to match each name that `inner` matches.

    In place of a star of `inner` stands a character that is in no pattern. Only a star of `outer`
    can match it there, and that star matches any other run as well. For `**` stand 0, 1, 2, ...
    such segments, up to more than `outer` has of its own: from there on its `**` takes them.
    """
    if outer.text == inner.text:
        return True
    prefix = outer.text.partition("*")[0]
    segments = inner.text.split("/")
    if inner.text == "*" or not inner.text.startswith(prefix) or segments.count("**") > 1:
        return False
    longest = outer.text.count("/") + 2 if "**" in segments else 0
    return all(outer.matches(_sample(segments, length)) for length in range(longest + 1))


def _sample(segments: list[str], length: int) -> str:
    parts: list[str] = []
    for segment in segments:
        parts += [_FRESH] * length if segment == "**" else [segment.replace("*", _FRESH)]
    return "/".join(parts)


class _Workloads:
    """The workloads of some patterns."""

    def __init__(self, *, is_compared: bool) -> None:
        self._is_compared = is_compared
        self._patterns: list[Pattern] = []
        self._texts: set[str] = set()

    def add(self, patterns: Iterable[Pattern]) -> None:
        """Add the workloads of more patterns. Mutates: self."""
        for each in patterns:
            self._patterns.append(each)
            self._texts.add(each.text)

    def have(self, pattern: Pattern) -> bool:
        """Tell whether some pattern covers this one."""
        return pattern.text in self._texts or (
            self._is_compared and any(covers(each, pattern) for each in self._patterns)
        )


class _Reach(NamedTuple):
    """Which workloads classes get, found once.

    `dead`: by class the indices of its patterns that earlier classes leave nothing to match.
    `empty`: the classes that get no workload, `other` too. `is_compared`: whether patterns are few
    and short enough to compare each with each.
    """

    dead: dict[str, list[int]]
    empty: set[str]
    is_compared: bool


def _reach(policy: Policy) -> _Reach:
    is_compared = _is_cheap(policy)
    earlier = _Workloads(is_compared=is_compared)
    dead: dict[str, list[int]] = {}
    for name, patterns in policy.classes:
        dead[name] = [place for place, each in enumerate(patterns) if earlier.have(each)]
        earlier.add(patterns)
    empty = {name for name, patterns in policy.classes if len(dead[name]) == len(patterns)}
    if any(covers(each, _EVERY_WORKLOAD) for _, group in policy.classes for each in group):
        empty.add(OTHER_CLASS)
    return _Reach(dead, empty, is_compared)


def _is_cheap(policy: Policy) -> bool:
    """Tell whether patterns are few and short enough to compare each with each."""
    groups = [*(group for _, group in policy.classes), *policy.exemptions]
    texts = [each.text for group in groups for each in group]
    # A match takes the product of both lengths at worst. One or two show that a pattern does not
    # cover; to show that it does takes one a segment, and then nothing else is compared.
    lengths = sum(map(len, texts))
    longest = max((len(text) * text.count("/") for text in texts), default=0)
    return len(texts) <= COMPARED_MAX and lengths * (lengths + longest) <= STEPS_MAX


def _applies(rule: Rule, class_name: str) -> bool:
    return bool(rule.mode) and (not rule.spec.classes or class_name in rule.spec.classes)


def _check_classes(policy: Policy, reach: _Reach) -> Found:
    for index, (name, patterns) in enumerate(policy.classes):
        at = f"$.classes[{index}]"
        if name in reach.empty:
            text = f"class `{name}` gets no workload: earlier classes match all that it could"
            yield "class-unreachable", at, text, "move it up: the first class that matches wins"
            continue
        for place in reach.dead[name]:
            text = f"an earlier class has the workloads of {patterns[place].text!r}"
            hint = "move the class up, or leave the pattern out"
            yield "pattern-shadowed", f"{at}.workloads[{place}]", text, hint
        if not any(_applies(rule, name) for rule in policy.rules):
            hint = "name it in `classes` of a rule, or leave `classes` out of one"
            yield "class-without-rules", at, f"no rule that is on is about class `{name}`", hint


def _check_others(policy: Policy, reach: _Reach) -> Found:
    if not any(rule.mode for rule in policy.rules):
        text = "no rule is on, so nothing is ever found"
        yield "no-rules", "$.rules", text, "start from the default policy"
        return
    has_rule = any(_applies(rule, OTHER_CLASS) for rule in policy.rules)
    if not has_rule and OTHER_CLASS not in reach.empty:
        text = "no rule that is on is about workloads that no class matches"
        hint = f"add `{OTHER_CLASS}` to `classes` of a rule, or a class with spiffe://*/**"
        yield "others-without-rules", "$.rules", text, hint


def _check_exemptions(policy: Policy, reach: _Reach) -> Found:
    for index, group in enumerate(policy.exemptions):
        for place, pattern in enumerate(group):
            if covers(pattern, _EVERY_WORKLOAD):
                at = f"$.exemptions[{index}].workloads[{place}]"
                hint = "switch rules to `mode: shadow` instead, or name the workloads"
                yield "exempts-all", at, "every workload is exempt, so no command binds", hint
                return
    # What no group so far exempts of each class; the one that exempts the rest is remarked on.
    bound = {name: list(patterns) for name, patterns in policy.classes}
    for index, group in enumerate(policy.exemptions):
        exempt = _Workloads(is_compared=reach.is_compared)
        exempt.add(group)
        for name, patterns in list(bound.items()):
            bound[name] = [each for each in patterns if not exempt.have(each)]
            if not bound[name]:
                del bound[name]
                at = f"$.exemptions[{index}]"
                hint = "rules in shadow say what they would do; an exemption hides it"
                yield "exempts-class", at, f"all workloads of class `{name}` are exempt", hint


def _check_rules(policy: Policy, reach: _Reach) -> Found:
    for index, rule in enumerate(policy.rules):
        at = f"$.rules[{index}]"
        if not rule.mode:
            yield (
                "rule-off",
                f"{at}.mode",
                f"rule `{rule.name}` is off and never fires",
                ("`shadow` runs it without enforcing; or leave the rule out"),
            )
            continue
        if rule.spec.classes and reach.empty.issuperset(rule.spec.classes):
            text = f"rule `{rule.name}` never fires: its classes get no workload"
            is_of_others = OTHER_CLASS in rule.spec.classes
            hint = f"some class has every workload, so `{OTHER_CLASS}` is empty; name that class"
            hint = hint if is_of_others else "move its classes up"
            yield "rule-unreachable", f"{at}.classes", text, hint
        is_final = rule.spec.action == "revoke" and rule.spec.on == "workload"
        if is_final and rule.mode == ENFORCE and rule.spec.note is None:
            text = f"rule `{rule.name}` stops whole workloads and does not say why"
            yield "revoke-without-note", at, text, "add a `note`: who is stopped will ask"
        if rule.pair:
            yield from _check_limit(policy, index)
        elif rule.spec.forbid:
            yield from _check_forbid(rule, at)
        yield from _check_operations(rule.spec, at)


def _check_limit(policy: Policy, index: int) -> Found:
    rule, at = policy.rules[index], f"$.rules[{index}]"
    assert rule.pair is not None
    window_ms = rule.pair.window_ms
    if rule.spec.action != "observe" and rule.duration_ms < window_ms:
        text = (
            f"a command of `{rule.name}` lasts {spell_duration(rule.duration_ms)} and its window "
            f"{spell_duration(window_ms)}: it expires while the cause is still counted"
        )
        yield "shorter-than-window", f"{at}.for", text, f"`for: {spell_duration(window_ms)}`"
    is_of_all = rule.pair.measure == "requests" and rule.rate is not None
    if is_of_all and rule.rate and rule.rate.permits * window_ms > rule.at_most * rule.rate.per_ms:
        text = f"the rate {rule.spec.rate} of `{rule.name}` lets more through than its limit"
        yield "throttle-above-limit", f"{at}.rate", text, _slower(rule.at_most, window_ms)
    for place, stricter in enumerate(policy.rules):
        # Of two rules that do the same the later one adds nothing.
        if _is_behind(rule, stricter) and (place < index or not _is_behind(stricter, rule)):
            text = f"rule `{rule.name}` adds nothing: `{stricter.name}` is over whenever it is"
            hint = "its limit is lower in a window as long, and it does as much"
            yield "rule-behind", at, text, hint
            break


def _slower(at_most: int, window_ms: int) -> str:
    """Return what to write where a rate is above its limit: the highest that is not, or near it."""
    if not at_most:
        return "no rate is as low: `action: revoke`"
    # A rate has so many permits at most, so a larger one is written for a part of the window.
    parts = -(-at_most // PERMITS_MAX)
    return f"choose at most {at_most // parts}/{spell_duration(-(-window_ms // parts))}"


def _is_behind(rule: Rule, stricter: Rule) -> bool:
    """Tell whether a rule is over its limit only while a stricter one is, which does as much."""
    mine, other = rule.pair, stricter.pair
    if mine is None or other is None or rule is stricter or mine.measure != other.measure:
        return False
    if other.window_ms < mine.window_ms or stricter.at_most > rule.at_most:
        return False
    has_all = other.operations in ((), mine.operations) and other.effect in ("", mine.effect)
    classes = stricter.spec.classes
    is_everywhere = not classes or (
        bool(rule.spec.classes) and set(rule.spec.classes) <= set(classes)
    )
    action, other_action = (ACTION_INDEX[each.spec.action] for each in (rule, stricter))
    does_as_much = (
        stricter.mode >= rule.mode
        and other_action >= action
        and stricter.spec.on in ("workload", rule.spec.on)
        and stricter.duration_ms >= rule.duration_ms
    )
    if rule.rate and stricter.rate:
        slower = (
            stricter.rate.permits * rule.rate.per_ms <= rule.rate.permits * stricter.rate.per_ms
        )
        does_as_much = does_as_much and slower
    return has_all and is_everywhere and does_as_much


def _check_forbid(rule: Rule, at: str) -> Found:
    if rule.first == rule.then:
        text = f"`first` and `then` of `{rule.name}` are the same: it forbids to call them twice"
        hint = "if that is meant, say it by a limit: `at_most: 1`"
        yield "first-is-then", f"{at}.forbid", text, hint


def _check_operations(spec: RuleSpec, at: str) -> Found:
    for path, texts in _patterns_of(spec, at):
        if "*" in texts and (len(texts) > 1 or path.endswith(".operations")):
            hint = "leave `operations` out" if path.endswith(".operations") else 'write ["*"] alone'
            yield "pattern-of-all", path, "`*` is every operation, so the list says nothing", hint
        for place, text in enumerate(texts):
            if reason := _why_nothing(text):
                what, hint = reason
                yield "pattern-of-nothing", f"{path}[{place}]", what, hint


def _patterns_of(spec: RuleSpec, at: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if spec.limit and spec.limit.operations:
        yield f"{at}.limit.operations", spec.limit.operations
    if spec.forbid:
        yield f"{at}.forbid.first", spec.forbid.first
        yield f"{at}.forbid.then", spec.forbid.then


def _why_nothing(text: str) -> tuple[str, str] | None:
    """Return why no well-formed operation matches a pattern, and what to write; or None."""
    method, _, route = text.partition(" ")
    if text.startswith("tool:") or not route:
        return None
    if "?" in route or "#" in route:
        bare = re.split(r"[?#]", route)[0]
        return f"{text!r} matches nothing: a route has no query", f"write {method} {bare}"
    if "//" in route or {".", ".."} & set(route.split("/")):
        return (
            f"{text!r} matches nothing: a route has no empty or dot segments",
            "** skips segments",
        )
    near = get_close_matches(method, _METHODS, 1, 0.75)
    if near and method not in _METHODS:
        return f"{text!r} is about a method that is hardly sent", f"did you mean {near[0]}?"
    return None


def _check_brake(policy: Policy, reach: _Reach) -> Found:
    if policy.brake is None:
        text = "no brake: rules on learned evidence may enforce on every workload at once"
        hint = "leave `brake` out, or say how many may be: `brake: {share: 25%, window: 10m}`"
        yield "brake-off", "$.brake", text, hint


CHECKS: Final[tuple[Callable[[Policy, _Reach], Found], ...]] = (
    _check_classes,
    _check_others,
    _check_exemptions,
    _check_rules,
    _check_brake,
)
