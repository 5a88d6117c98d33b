"""The baselines of an installation: their bytes by version, where every worker can read them.

A compacted topic of two partitions holds them, beside the journal that names them and as lasting.
Partition 0 is small, and followed by every worker:

    ["baseline", VERSION]      what there is of a version, written when all its pieces are there
    ["promoted"]               the version that is wanted, and when somebody said so

Partition 1 has the pieces, and is read by whoever needs a version:

    ["baseline", VERSION, n]   the n-th PIECE_BYTES of its bytes

At most KEPT versions stay: one more and the oldest goes, unless it is to be kept. What is read is
believed only as a whole, by its hash, which is its name. So it matters who says which is wanted:
with keys, only what an operator's key has signed says it, no older word undoes it, and no tombstone
does.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from stream.baselines import BASELINE_BYTES_MAX, DIGEST_BYTES, version_of
from stream.bus import Bounds, LogReader, Publisher, Rarely, Record
from stream.errors import ConfigError
from stream.events import split_signature
from stream.signing import Signer, Trust

from .bounds import bounds_of
from .resting import Resting

log = logging.getLogger(__name__)
rarely = Rarely(log, every_s=10.0)

PIECE_BYTES: Final = 512 * 1024
READ_AT_ONCE: Final = 32  # pieces
KEPT: Final = 8
PARTITIONS: Final = 2
_HEADS, _PIECES = range(PARTITIONS)
_PROMOTED: Final = b'["promoted"]'
Version = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{0,64}$")]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a version: from which offset of the pieces on, how many, how many bytes."""

    version: Version
    pieces: int
    bytes: int
    first_offset: int
    at_ms: int


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """The version that is to be in force everywhere, empty for none; who said so, why, and when."""

    version: Version
    at_ms: int
    by: str = ""
    reason: str = ""


_held = msgspec.json.Decoder(Held)
_promoted = msgspec.json.Decoder(Promoted)


class Library:
    """What the topic holds, as far as it was read; `look` reads on.

    `trust` are the keys without whose signature nothing is promoted; `refused` is told why a word
    was not believed, or, in mode `warn`, would not be.
    """

    def __init__(
        self,
        reader: LogReader,
        topic: str,
        trust: Trust | None = None,
        refused: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._trust = trust.on(topic) if trust is not None else None
        self._refused = refused
        self._seen = 0
        self.held: dict[str, Held] = {}
        self.promoted: Promoted | None = None

    async def look(self) -> None:
        """Read what has come. Mutates: self. Errors: BusUnavailable."""
        start, end = await self._bounds(_HEADS)
        if end < self._seen:
            self._seen, self.held, self.promoted = 0, {}, None
        start = max(start, self._seen)
        if start < end:
            for record in await self._reader.read(self._topic, _HEADS, start, end):
                self._note(record)
        self._seen = end

    async def _bounds(self, partition: int) -> Bounds:
        return (await bounds_of(self._reader, self._topic, [partition]))[partition]

    def _note(self, record: Record) -> None:
        """Take one record of the small partition; what is none of ours is left alone."""
        key, value = record.key or b"", record.value
        try:
            if key == _PROMOTED:
                self._note_promoted(record)
            elif value:
                held = _held.decode(value)
                if key == _key(held.version):
                    self.held.pop(held.version, None)
                    self.held[held.version] = held
            else:
                for gone in [each for each in self.held if _key(each) == key]:
                    del self.held[gone]
        except (ValueError, RecursionError) as error:
            rarely.warning("a record of %s cannot be read: %s", self._topic, error)

    def _note_promoted(self, record: Record) -> None:
        """Take who says which version is wanted, if it is believed. Errors: ValueError."""
        signed = split_signature(record.value or b"")
        said = _promoted.decode(signed.payload) if record.value else None
        if self._trust is not None:
            fault: str | None
            fault = self._trust.fault_in("operator", _PROMOTED, record.append_ms, signed)
            if said is None:
                fault = "unexplained"
            elif fault is None and self.promoted and said.at_ms < self.promoted.at_ms:
                fault = "older"
            if fault is not None:
                self._refused(fault)
                rarely.warning("a promotion in %s is not believed: %s", self._topic, fault)
                if self._trust.is_strict:
                    return
        self.promoted = said

    async def fetch(self, version: str) -> memoryview | None:
        """Return the bytes of a version, None where they are not there, or not whole.

        Errors: BusUnavailable.
        """
        held = self.held.get(version)
        if held is None or not 0 < held.bytes <= BASELINE_BYTES_MAX:
            return None
        start, end = await self._bounds(_PIECES)
        room = Room(held)
        for first in range(max(start, held.first_offset), end, READ_AT_ONCE):
            last = min(end, first + READ_AT_ONCE)
            records = await self._reader.read(self._topic, _PIECES, first, last)
            # To copy and hash hundreds of megabytes takes as long as a thousand events.
            await asyncio.to_thread(room.take, records)
        data = await asyncio.to_thread(room.whole)
        if data is None:
            rarely.warning("baseline %s in %s is not what its name says", version, self._topic)
        return data

    async def put(
        self, publisher: Publisher, data: bytes, at_ms: int, keep: Collection[str]
    ) -> str:
        """Have a baseline's bytes in the topic; return its version once they are acknowledged.

        `keep` are versions that stay. Requires: `look` before. Mutates: self.
        Errors: BusUnavailable; ConfigError when everything that is there is to be kept.
        """
        version = version_of(data)
        known = await self.fetch(version) if version in self.held else None
        if known is not None and known[-DIGEST_BYTES:] == data[-DIGEST_BYTES:]:
            return version
        old = [each for each in self.held if each not in keep and each != version]
        if len(self.held) >= KEPT and version not in self.held and not old:
            raise ConfigError(
                f"{KEPT} baselines are kept already, and each is in use or was a moment ago",
                hint="promote one of them everywhere first; `enforcer baseline list --live`",
            )
        offsets = []
        for place in range(0, len(data), PIECE_BYTES):
            key = _key(version, place // PIECE_BYTES)
            piece = data[place : place + PIECE_BYTES]
            offsets.append(await (await publisher.send(self._topic, key, piece, _PIECES)))
        held = Held(
            version=version,
            pieces=len(offsets),
            bytes=len(data),
            first_offset=offsets[0],
            at_ms=at_ms,
        )
        await self._tell(publisher, _key(version), msgspec.json.encode(held))
        self.held[version] = held
        for gone in old[: max(0, len(self.held) - KEPT)]:
            await self._forget(publisher, self.held.pop(gone))
        return version

    async def _forget(self, publisher: Publisher, held: Held) -> None:
        await self._tell(publisher, _key(held.version), None)
        for piece in range(held.pieces):
            key = _key(held.version, piece)
            await (await publisher.send(self._topic, key, None, _PIECES))

    async def promote(
        self, publisher: Publisher, promoted: Promoted, signer: Signer | None = None
    ) -> None:
        """Say which version is wanted; return once that is acknowledged.

        Requires: `signer`, if any, signs for this topic. Errors: BusUnavailable.
        """
        value = msgspec.json.encode(promoted)
        if signer is not None:
            value = signer.sign(_PROMOTED, value)
        await self._tell(publisher, _PROMOTED, value)
        self.promoted = promoted

    async def _tell(self, publisher: Publisher, key: bytes, value: bytes | None) -> None:
        await (await publisher.send(self._topic, key, value, _HEADS))


def _key(*parts: object) -> bytes:
    return msgspec.json.encode(("baseline", *parts))


class Room:
    """Where the pieces of a version are put together, each as it comes.

    An array, since what an array of this size gives back is gone at once: bytes, or a list of
    pieces, are unmapped page by page, while no other thread can go on.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        self._bytes: Any = np.empty(held.bytes, np.uint8)
        firsts = range(0, held.bytes, PIECE_BYTES)
        self._firsts = {_key(held.version, at // PIECE_BYTES): at for at in firsts}
        self._came: set[int] = set()

    def take(self, records: list[Record]) -> None:
        """Put pieces in their places, over earlier ones; let records go. Mutates: self, records."""
        rest = Resting()
        for record in records:
            first = self._firsts.get(record.key or b"")
            if first is not None and record.value is not None:
                part = self._bytes[first : first + PIECE_BYTES]
                if len(record.value) == len(part):
                    part[:] = np.frombuffer(record.value, np.uint8)
                    self._came.add(first)
                    rest()
        records.clear()

    def whole(self) -> memoryview | None:
        """Return the bytes, None where one is missing or they are not what their name says."""
        # The name is of the hash that they say of themselves, so they must be that, too.
        data = memoryview(self._bytes).toreadonly()
        is_whole = (
            len(self._came) == len(self._firsts)
            and version_of(data) == self._held.version
            and hashlib.sha256(data[:-DIGEST_BYTES]).digest() == data[-DIGEST_BYTES:]
        )
        return data if is_whole else None


def oldest_first(held: Collection[Held]) -> Sequence[Held]:
    """Return what is there in the order of time, for people."""
    return sorted(held, key=lambda each: (each.at_ms, each.version))
