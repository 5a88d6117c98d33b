"""Why learned evidence was too much: its parts in words, and the same as data.

Words name operations, purposes and the names of resources, as the event itself has them; never a
value of one.
"""

from __future__ import annotations

from typing import Any, Final

from stream.baselines import BIT, Tail, rate_of
from stream.detectors import KNOWN, NEW, PART_NAMES
from stream.events import Reason, Request, Weight
from stream.profiles import ENTITY, FOUND, IDENTIFIER, told_by

from .expectation import Expectation
from .habit_reason import BEYOND, BITS, habit_reason
from .silence import SILENT
from .silence_reason import silence_reason
from .words import printable

_NAMES_SHOWN: Final = 3
_AGAINST: Final = ("operation", "identifier", "entity", "detail", "found", "deeds", "ungranted")


def anomaly_reason(decision: Any, request: Request, expectation: Expectation) -> Reason:
    """Return why there was more evidence than the budget of false alarms allows."""
    if decision["habit"] == SILENT:
        return silence_reason(decision)
    if decision["habit"] >= 0:
        return habit_reason(decision, request, expectation)
    bits, threshold = int(decision["observed"]), int(decision["demand"])
    mode = int(decision["compared"])
    parts = dict(zip(PART_NAMES, map(int, decision["parts"]), strict=True))
    said = _novelties(parts, request, mode)
    if decision["exposed"]:
        said.append("after a read that brought more than ever before")
    facts = expectation.facts
    often = _often(facts.tails[mode], bits) if facts is not None else ""
    text = (
        f"{printable(request.operation)}: {', '.join(said) or 'all of it together'}"
        f" ({bits / BIT:.1f} bits; {often})"
    )
    against = [name for name in sorted(_AGAINST, key=lambda name: -parts[name]) if parts[name]]
    return Reason(
        text=text,
        detector="task-novelty",
        measure=BITS,
        observed=bits,
        expected=threshold,
        weights=tuple(Weight(f"{request.operation} {name}", parts[name]) for name in against),
        otherwise=f"evidence of {threshold / BIT:.1f} bits or less would not have fired",
    )


def _often(tail: Tail, bits: int) -> str:
    """Return how many benign tasks are as odd; not beyond what so many tasks can tell."""
    rate = rate_of(tail, bits)
    most = BEYOND * tail.tasks
    if rate * most < 1:
        return f"fewer than 1 in {most:,} benign tasks does something as new"
    return f"1 in {round(1 / rate):,} benign tasks does something as new"


def _novelties(parts: dict[str, int], request: Request, mode: int) -> list[str]:
    """Return what was new, the rarest first."""
    whom = "of its class"
    if mode == KNOWN:
        whom = f"of purpose {printable(request.purpose)}"
    elif mode == NEW:
        whom = "of other purposes of its class"
    words = {
        "operation": f"no task {whom} was seen to call it",
        "identifier": f"an address in {_named(request, IDENTIFIER)} new to tasks {whom}",
        "entity": f"a name in {_named(request, ENTITY)} new to tasks {whom}",
        "detail": f"a number, date or text new to tasks {whom}",
        "found": f"an address inside a text, in {_named(request, FOUND)}, new to tasks {whom}",
        "deeds": "more kinds of changes than tasks have",
        "ungranted": "a change that its grant does not list",
    }
    found = [name for name in _AGAINST if parts[name] > 0]
    return [words[name] for name in sorted(found, key=lambda name: -parts[name])]


def _named(request: Request, shape: int) -> str:
    """Return the names of the resources of a shape."""
    names = dict.fromkeys(each.name for each in told_by(request.resources) if each.shape == shape)
    shown = [printable(each) or "a resource" for each in names][:_NAMES_SHOWN]
    return ", ".join(shown) or "a resource"
