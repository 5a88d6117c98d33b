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
    """An event that goes home: the record's key there, and the partition."""

    event: Forwarded
    key: bytes
    home: int


class _Fault(NamedTuple):
    code: RejectCode
    message: str


class Screen:
    """Judges the records of one zone; `homes` is the number of partitions of `requests`."""

    def __init__(self, zone: Zone, homes: int) -> None:
        self._zone = zone
        self._homes = homes

    def judge(self, chunk: Chunk, place: int, topic_id: str) -> Admitted | Reject:
        """Return where one record goes. Errors: none; what is wrong with it is data."""
        value, offset = chunk.values[place] or b"", int(chunk.offsets[place])
        append_ms = int(chunk.append_ms[place])
        found = self._read(value)
        if isinstance(found, _Fault):
            return Reject(
                code=found.code,
                message=found.message,
                topic=chunk.topic,
                partition=chunk.partition,
                offset=offset,
                raw=value,
                append_ms=append_ms,
            )
        key, home = found
        # A topic that was made anew is another source: its offsets begin again.
        name = f"{chunk.topic}@{topic_id}" if topic_id else chunk.topic
        source = Source(name, chunk.partition, 0, offset)
        return Admitted(Forwarded(source, value, append_ms), key, home)

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


@lru_cache(maxsize=NAMES_REMEMBERED)
def _placed(workload: str, homes: int) -> tuple[str, bytes, int]:
    """Return a workload's canonical name, key and home. Errors: InvalidIdentity."""
    name = canonical_workload(workload)
    key = name.encode()
    return name, key, home_partition(key, homes)
