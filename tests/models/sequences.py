"""A slow model of a forbidden sequence: each call is compared with every call before it."""

from __future__ import annotations

from typing import NamedTuple


class Call(NamedTuple):
    """One call as a forbidden sequence sees it; `run` tells the runs of one task apart."""

    task: str
    run: int
    at_ms: int
    is_first: bool
    is_then: bool
    outcome: str


def matches(calls: list[Call], within_ms: int) -> list[bool]:
    """Tell for each call whether some earlier `first` of its context lies within the span."""
    return [
        call.is_then
        and call.outcome != "refused"
        and any(
            earlier.is_first
            and earlier.outcome not in {"denied", "refused"}
            and (earlier.task, earlier.run) == (call.task, call.run)
            and abs(call.at_ms - earlier.at_ms) <= within_ms
            for earlier in calls[:place]
        )
        for place, call in enumerate(calls)
    ]
