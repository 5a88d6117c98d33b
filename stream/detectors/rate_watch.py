"""The rates of workloads over recorded events, so that learning knows how far benign ones go."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.baselines import ENTRY, table_of
from stream.kernel import routine
from stream.profiles import REFUSED, Batch

from .habits import HABITS, no_details, observe_workload
from .workload import DETAILS, HELD, WORKLOAD_PARTS, usual_in

WATCHED_MAX: Final = 65_536  # workloads; of more no rates are known, 2.9 KiB each


class RateWatch:
    """Follows the rates of each workload from its first event on."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._records = np.zeros(64, HABITS)
        self._clocks = np.zeros(64, np.int64)
        self._usual = usual_in(np.uint64(0), table_of(np.zeros(0, ENTRY)))

    def follow(self, batch: Batch) -> Any:
        """Return what each rate of an event's workload shows after it.

        Shapes: events of the batch: each workload's in order; returns [event, rate]: bits plus 1,
                0 where its past is too short.
        """
        events = batch.events
        workloads, which = np.unique(events["workload"], return_inverse=True)
        places = np.full(len(workloads), -1, np.int64)
        for number, workload in enumerate(workloads.tolist()):
            if workload in self._places or len(self._places) < WATCHED_MAX:
                places[number] = self._places.setdefault(workload, len(self._places))
        while len(self._records) < len(self._places):
            self._records = np.concatenate([self._records, np.zeros_like(self._records)])
            self._clocks = np.concatenate([self._clocks, np.zeros_like(self._clocks)])
        out = np.zeros((len(events), HELD), np.int64)
        room = (np.zeros(WORKLOAD_PARTS, np.int64), no_details()[1], np.zeros(DETAILS, np.int64))
        of = self._records, self._clocks, self._usual
        _watch((events, batch.values), places[which.reshape(-1)], of, room, out)
        return out


@routine
def _watch(given: Any, places: Any, of: Any, room: Any, out: Any) -> None:
    """Follow events one after another; given = (events, values).

    Mutates: of's records and clocks, room, out.
    """
    events, values = given
    records, clocks, usual = of
    for number in range(len(events)):
        place, event = places[number], events[number]
        if place < 0 or event["authenticated"] == 0:
            continue
        clocks[place] = max(clocks[place], event["at_ms"])
        known = (usual, 1 if event["outcome"] == REFUSED else 0, values)
        ready = observe_workload(records[place], event, clocks[place], known, room)
        for rate in range(HELD):
            if ready & (1 << rate):
                out[number, rate] = room[0][rate] + 1
