"""Whether each event counts once, however often and by whom it was sent on.

Each partition's model counts by what its own log holds. Here an event that a gateway sent is
followed through all that workers made of it, by the sources that their envelopes name, to every
place where a model counted it: there must be one. Both ways to miss that are two hops long: a
forward that a home drops, and two that come to different homes.
"""

from __future__ import annotations

from collections import defaultdict

from stream.events import FORWARDED, decode_request, unwrap
from stream.identity import InvalidIdentity, canonical_workload

from .estate import KEY, Estate

Place = tuple[int, int]
SHOWN = 5


class Journeys:
    """At which offsets the models counted, by partition, in the life of its rows that goes on.

    `is_lost`: rows were lost where partitions were multiplied, or a log was cut: then what counted
    before may be in rows that came from elsewhere, or be gone, as the journal says.
    """

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._counted: dict[int, set[int]] = defaultdict(set)
        self._has_begun_anew = self._is_cut = False

    def count(self, partition: int, offset: int) -> None:
        """Note that what lies there counted."""
        self._counted[partition].add(offset)

    def begin_anew(self, partition: int) -> None:
        """Note that a partition's rows are gone."""
        self._has_begun_anew = self._has_begun_anew or bool(self._counted.pop(partition, None))

    def note_modes(self, modes: tuple[str, ...]) -> None:
        """Note why an era began."""
        self._is_cut = self._is_cut or bool({"log_cut", "log_changed"} & set(modes))

    @property
    def is_lost(self) -> bool:
        """Tell whether nothing can be said."""
        has_grown = self._estate.partitions > self._estate.plan.partitions
        is_cut = self._is_cut or self._estate.changed is not None
        return is_cut or (has_grown and self._has_begun_anew)

    def broken(self) -> list[str]:
        """Return which events do not count once."""
        if self.is_lost:
            return []
        sent_on: dict[Place, list[Place]] = defaultdict(list)
        first: list[Place] = []
        topic = self._estate.topics.requests
        for partition in range(self._estate.partitions):
            for record in self._estate.lines(partition):
                value, here = record.value or b"", (partition, record.offset)
                if value.startswith(FORWARDED):
                    source = unwrap(value, KEY.seal).source
                    if source.topic == topic:
                        sent_on[source.partition, source.offset].append(here)
                elif reject_of(value) is None:
                    first.append(here)
        found = [(place, self._places(place, sent_on)) for place in first]
        return [
            f"the event at {place} counts at {counted or 'no place'}"
            for place, counted in found
            if len(counted) != 1
        ][:SHOWN]

    def _places(self, place: Place, sent_on: dict[Place, list[Place]]) -> list[Place]:
        """Return everywhere that an event counted."""
        left, seen = [place], {place}
        while left:
            for other in sent_on[left.pop()]:
                if other not in seen:
                    seen.add(other)
                    left.append(other)
        return sorted(each for each in seen if each[1] in self._counted[each[0]])


def reject_of(value: bytes) -> str | None:
    """Return why a payload is no event, None where it is one."""
    try:
        canonical_workload(decode_request(value).workload)
    except (ValueError, RecursionError, InvalidIdentity) as error:
        return str(error)
    return None
