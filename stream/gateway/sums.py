"""Events summed up for want of room: fewer events that stand for as many requests.

What is summed is what a flood repeats: same workload, operation, outcome, effect, task. Details
that may differ within a group (resources, actors, scopes, ids) are left out, and token, purpose and
status where they do differ, because they would be claims about requests that did not make them.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import index

import msgspec

from stream.events import TIME_MS_MAX, Request, decode_request

from .fitting import BYTES_MAX, COST_MAX, COUNT_MAX, clip_label, clip_operation, encode_fitting

_Group = tuple[str, str, str, str, bool, str]


class _Sum(msgspec.Struct):
    """One group: an event of it, and the totals of all; `at_ms` is the latest."""

    first: Request
    at_ms: int
    count: int
    bytes: int
    cost: int
    is_one_token: bool = True
    is_one_purpose: bool = True
    is_one_status: bool = True


class Sums:
    """At most `groups_max` groups; `add` refuses what would open one more."""

    def __init__(self, groups_max: int) -> None:
        self._groups_max = groups_max
        # Taken from its front, which a plain dictionary would search each time.
        self._sums: OrderedDict[_Group, _Sum] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._sums)

    def add(self, request: Request) -> bool:
        """Add one event to its group; return False if it has none and there is no room for one.

        A grant or a completion says what no sum can say, so it has no group.

        Errors: ValueError, TypeError or AttributeError for a field of a wrong type; nothing is
                added then.
        """
        if request.kind != "request":
            return False
        operation, task = clip_operation(request.operation), clip_label(request.task)
        group = (
            request.workload, operation, request.outcome, task, request.authenticated,
            request.effect,
        )  # fmt: skip
        held = self._sums.get(group)
        if held is None:
            if len(self._sums) >= self._groups_max:
                return False
            first = decode_request(
                encode_fitting(
                    msgspec.structs.replace(request, resources=(), scopes=(), actors=(), id="")
                )
            )
            self._sums[group] = _Sum(first, first.at_ms, first.count, first.bytes, first.cost)
            return True
        at_ms, count, size, cost = request.at_ms, request.count, request.bytes, request.cost
        if not (
            type(at_ms) is type(count) is type(size) is type(cost) is int
            and at_ms <= TIME_MS_MAX
            and 1 <= count <= COUNT_MAX
            and 0 <= size <= BYTES_MAX
            and 0 <= cost <= COST_MAX
        ):
            at_ms, count, size, cost = _made_to_fit(request)
        if at_ms > held.at_ms:  # noqa: PLR1730  # a call of max costs more than the rest
            held.at_ms = at_ms
        held.count += count
        held.bytes += size
        held.cost += cost
        first = held.first
        if request.token is not first.token and request.token != first.token:
            held.is_one_token = False
        if request.purpose != first.purpose:
            held.is_one_purpose = False
        if request.status != first.status:
            held.is_one_status = False
        return True

    def take_first(self) -> list[Request]:
        """Return the events of the group that was opened first, and hold it no more.

        Requires: there is one.
        """
        _, held = self._sums.popitem(last=False)
        return _events_of(held)

    def drain(self) -> list[Request]:
        """Return the sums as events, and start again from nothing."""
        return [event for _ in range(len(self._sums)) for event in self.take_first()]


def _made_to_fit(request: Request) -> tuple[int, int, int, int]:
    """Return time, count, bytes and cost within their bounds.

    Errors: TypeError for what is no integer.
    """
    return (
        min(index(request.at_ms), TIME_MS_MAX),
        max(1, min(index(request.count), COUNT_MAX)),
        max(0, min(index(request.bytes), BYTES_MAX)),
        max(0, min(index(request.cost), COST_MAX)),
    )


def _events_of(held: _Sum) -> list[Request]:
    """Return the events of one group, none of which stands for more than COUNT_MAX requests.

    Bytes and cost fill the events up to the bound of each; what is above all of them is cut.
    """
    whole = msgspec.structs.replace(
        held.first,
        at_ms=held.at_ms,
        token=held.first.token if held.is_one_token else None,
        purpose=held.first.purpose if held.is_one_purpose else "",
        status=held.first.status if held.is_one_status else 0,
    )
    events = []
    count, size, cost = held.count, held.bytes, held.cost
    while count > 0:
        event = msgspec.structs.replace(
            whole,
            count=min(count, COUNT_MAX),
            bytes=min(size, BYTES_MAX),
            cost=min(cost, COST_MAX),
        )
        count, size, cost = count - event.count, size - event.bytes, cost - event.cost
        events.append(event)
    return events
