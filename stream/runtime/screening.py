"""What a zone's gateway may say: each record of its topic goes home, or to the dead letters.

A record is decoded only as far as that takes. An event must name a workload under one of the zone's
prefixes. An envelope is refused whatever it holds: only workers forward, and they never forward to
a zone's topic, so one that lies there was put there to claim a source.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from stream.bus import Chunk
from stream.events import (
    FORWARDED,
    Forwarded,
    Reject,
    RejectCode,
    Source,
    decode_request,
    fault_of,
    join_requests,
    split_requests,
)
from stream.identity import InvalidIdentity, Territory, canonical_workload, home_partition

# A name has at most 2 KiB, so what is remembered has at most some 50 MB.
NAMES_REMEMBERED: Final = 8_192
SHOWN_MAX: Final = 160


class Zone(NamedTuple):
    """A zone: its name, the topic that its gateways report to, and whom they speak for."""

    name: str
    topic: str
    territory: Territory


class Admitted(NamedTuple):
    """Events of one record that go home together: the record's key there, and the partition."""

    event: Forwarded
    key: bytes
    home: int
    events: int = 1


class _Fault(NamedTuple):
    code: RejectCode
    message: str


class Screen:
    """Judges the records of one zone; `homes` is the number of partitions of `requests`."""

    def __init__(self, zone: Zone, homes: int) -> None:
        self._zone = zone
        self._homes = homes

    def judge(self, chunk: Chunk, place: int, topic_id: str) -> list[Admitted | Reject]:
        """Return where each event of a record goes, those of one home together.

        Errors: none; what is wrong with an event is data.
        """
        value = chunk.values[place] or b""
        found: list[Admitted | Reject] = []
        homes: dict[int, tuple[bytes, list[bytes]]] = {}
        try:
            payloads = split_requests(value)
        except (ValueError, RecursionError) as error:
            return [_reject(chunk, place, (value, 0), _Fault(*fault_of(value, error)))]
        for ordinal, payload in enumerate(payloads):
            read = self._read(payload)
            if isinstance(read, _Fault):
                found.append(_reject(chunk, place, (payload, ordinal), read))
            else:
                homes.setdefault(read[1], (read[0], []))[1].append(payload)
        # A topic that was made anew is another source: its offsets begin again.
        name = f"{chunk.topic}@{topic_id}" if topic_id else chunk.topic
        source = Source(name, chunk.partition, 0, int(chunk.offsets[place]))
        for home, (key, some) in homes.items():
            event = Forwarded(source, join_requests(some), int(chunk.append_ms[place]))
            found.append(Admitted(event, key, home, len(some)))
        return found

    def _read(self, value: bytes) -> tuple[bytes, int] | _Fault:
        """Return the key and the home of an event, or why it is not to go there."""
        if value.startswith(FORWARDED):
            return _Fault(RejectCode.FORGED, "an envelope, and only workers forward events")
        try:
            name, key, home = _placed(decode_request(value).workload, self._homes)
        except InvalidIdentity as error:
            return _Fault(RejectCode.BAD_IDENTITY, error.message)
        except (ValueError, RecursionError) as error:
            return _Fault(*fault_of(value, error))
        if self._zone.territory.admits(name):
            return key, home
        shown = name if len(name) <= SHOWN_MAX else f"{name[:SHOWN_MAX]}..."
        said = f"zone {self._zone.name} does not speak for {shown}, see topics.zones"
        return _Fault(RejectCode.OUTSIDE_ZONE, said)


def _reject(chunk: Chunk, place: int, event: tuple[bytes, int], fault: _Fault) -> Reject:
    raw, ordinal = event
    return Reject(
        code=fault.code,
        message=fault.message,
        topic=chunk.topic,
        partition=chunk.partition,
        offset=int(chunk.offsets[place]),
        raw=raw,
        append_ms=int(chunk.append_ms[place]),
        ordinal=ordinal,
    )


@lru_cache(maxsize=NAMES_REMEMBERED)
def _placed(workload: str, homes: int) -> tuple[str, bytes, int]:
    """Return a workload's canonical name, key and home. Errors: InvalidIdentity."""
    name = canonical_workload(workload)
    key = name.encode()
    return name, key, home_partition(key, homes)
