"""Why the way in which calls were made was too rare: in words, and the same as data.

What decided is one part, the rarest among benign tasks; `observed` and `expected` of the reason are
rarities, comparable between parts, and its weights the bits of all parts that had something to say.
"""

from __future__ import annotations

from typing import Any, Final

from stream.baselines import BIT
from stream.detectors import (
    ASSERTED,
    CLASS,
    EXPECTED,
    FULL,
    HABIT_NAMES,
    OBSERVED,
    POOLED,
    UNREADY,
    tails_of,
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
    "resources_rate": "different resources",
}
_SPREADS: Final = ("operations_rate", "resources_rate")  # of which no more than FULL are told apart
# Where a part's details say how it is known; loops say first what was repeated, and how often.
_HOW: Final = {
    "first_use": 5,
    "sequence": 2,
    "loops": 3,
    "fallback": 1,
    "error_share": 1,
    "denial_share": 1,
}
_PLACE, _REPEATS = 1, 2
# By how it is known: whose tasks a call is compared with, whose calls, and what is said of that.
_WHOSE: Final = {CLASS: " of its class", POOLED: " of other classes"}
_CALLS: Final = {CLASS: "of its class's", POOLED: "of other classes'"}
_KNOWN: Final = {
    CLASS: "",
    POOLED: ", and of its own class nothing was learned",
    ASSERTED: ", as is asserted where nothing was learned",
    UNREADY: ", where nothing was learned to compare it with",
}


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
    """Return what was seen, compared with whose, and that it is asserted where that is all."""
    if name in _RATES:
        more = " or more" if name in _SPREADS and details[OBSERVED] >= FULL else ""
        return (
            f"{details[OBSERVED]:,}{more} {_RATES[name]} in five minutes where"
            f" {details[EXPECTED]:,} were expected; the last was {operation}"
        )
    how = details[_HOW[name]]
    if name == "loops":
        said = _repeated(details[_PLACE], details[_REPEATS], operation)
    else:
        whose, calls = _WHOSE.get(how, ""), _CALLS.get(how, "is usual")
        said = {
            "first_use": f"{operation}: no task{whose} was seen to call it",
            "sequence": f"{operation}: calls in an order that tasks{whose} do not have",
            "fallback": f"{operation}: a change right after another operation was denied",
            "error_share": f"{operation}: far more of the calls fail than {calls}",
            "denial_share": f"{operation}: far more of the calls are denied than {calls}",
        }[name]
    if how == POOLED and name in ("loops", "fallback"):
        said += ", rare by what other classes do"
    return said + _KNOWN[how]


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
    tails = tails_of(facts.habits if facts is not None else ())
    most = BEYOND * tails[part].tasks
    tasks = round(2.0 ** (rarity / BIT))
    if tasks > most:
        return f"fewer than 1 in {most:,} benign tasks shows as much"
    return f"1 in {tasks:,} benign tasks shows as much"
