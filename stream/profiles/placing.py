"""Where events came from, written into them in one pass; and whether they came home."""

from __future__ import annotations

from typing import Any

from stream.kernel import kernel


@kernel
def place_events(events: Any, columns: Any, good: Any, partition: int, homes: int) -> int:
    """Write where events came from; return how many of the good ones are not at home here.

    Shapes:  events: [event] of EVENT; columns: offsets [record], and [event] append times, records
             and ordinals; good: [event] of bool.
    Mutates: events.
    """
    offsets, append_ms, records, ordinals = columns
    away = 0
    for place in range(len(events)):
        event = events[place]
        event["offset"] = offsets[records[place]]
        event["append_ms"] = append_ms[place]
        event["ordinal"] = ordinals[place]
        event["partition"] = partition
        if good[place] and event["home"] % homes != partition:
            away += 1
    return away
