"""Why the way in which calls were made was too rare: in words, and the same as data.

What decided is one part, the rarest among benign tasks; `observed` and `expected` of the reason are
rarities, comparable between parts, and its weights the bits of all parts that had something to say.
"""

from __future__ import annotations

from typing import Any, Final

from stream.baselines import BIT
from stream.detectors import (
    ASSERTED,
    EXPECTED,
    HABIT_NAMES,
    OBSERVED,
    POOLED,
    asserted_tails,
)
from stream.events import Reason, Request, Weight

from .expectation import Expectation
from .words import printable

BITS: Final = "bits"  # the measure of learned evidence: 1/1024 bit
BEYOND: Final = 3  # a tail of n tasks is believed down to 1 in so many n
_RATES: Final = {
    "requests_rate": "requests",
    "errors_rate": "failed requests",
    "bytes_rate": "response bytes",
    "cost_rate": "micro-units of cost",
    "operations_rate": "different operations",
}
# Where a part's details say how it is known; loops say first what was repeated, and how often.
_HOW: Final = {"loops": 3, "fallback": 1, "error_share": 1, "denial_share": 1}
_PLACE, _REPEATS = 1, 2


def habit_reason(decision: Any, request: Request, expectation: Expectation) -> Reason:
    """Return why a part of habits was rarer than the budget of false alarms allows."""
    rarity, threshold = int(decision["observed"]), int(decision["demand"])
    name, details = HABIT_NAMES[int(decision["habit"])], [int(each) for each in decision["details"]]
    parts = dict(zip(HABIT_NAMES, map(int, decision["habits"]), strict=True))
    operation = printable(request.operation)
    said = _said(name, details, operation)
    often = _often(int(decision["habit"]), rarity, expectation)
    return Reason(
        text=f"{said} ({parts[name] / BIT:.1f} bits; {often})",
        detector="behaviour",
        measure=BITS,
        observed=rarity,
        expected=threshold,
        weights=tuple(
            Weight(f"{request.operation} {part}", parts[part])
            for part in sorted(parts, key=lambda each: -parts[each])
            if parts[part]
        ),
        otherwise=f"a rarity of {threshold / BIT:.1f} bits or less would not have fired",
    )


def _said(name: str, details: list[int], operation: str) -> str:
    """Return what was seen."""
    if name in _RATES:
        return (
            f"{details[OBSERVED]:,} {_RATES[name]} in five minutes where"
            f" {details[EXPECTED]:,} were expected; the last was {operation}"
        )
    if name == "loops":
        said = _repeated(details[_PLACE], details[_REPEATS], operation)
    else:
        said = {
            "first_use": f"{operation}: no task of its class was seen to call it",
            "sequence": f"{operation}: calls in an order that tasks of its class do not have",
            "fallback": f"{operation}: a change right after another operation was denied",
            "error_share": f"{operation}: far more of the calls fail than of its class's",
            "denial_share": f"{operation}: far more of the calls are denied than of its class's",
        }[name]
    how = details[_HOW[name]] if name in _HOW else None
    if how == ASSERTED:
        said += ", as is asserted where nothing was learned"
    elif how == POOLED:
        said += ", by what other classes do"
    return said


def _repeated(place: int, repeats: int, operation: str) -> str:
    """Return what a loop repeats; place 0 is that of calls that fail again."""
    if place == 0:
        return f"{operation}: the same call failed {repeats + 1} times in a row"
    if place == 1:
        return f"{operation}: the same call {repeats + 1} times in a row"
    return f"{operation}: the same {place} calls {repeats + 1} times in a row"


def _often(part: int, rarity: int, expectation: Expectation) -> str:
    """Return how many benign tasks show as much; not beyond what so many tasks can tell."""
    facts = expectation.facts
    tails = (facts.habits if facts is not None else ()) or asserted_tails()
    most = BEYOND * tails[part].tasks
    tasks = round(2.0 ** (rarity / BIT))
    if tasks > most:
        return f"fewer than 1 in {most:,} benign tasks shows as much"
    return f"1 in {tasks:,} benign tasks shows as much"
