"""Where baselines are kept: whole or not at all, as many as there may be, whoever else writes."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from stream.baselines import decode_baseline, encode_baseline, version_of
from stream.bus import MemoryLog, MemoryPublisher, MemoryReader
from stream.errors import ConfigError
from stream.runtime import Library
from stream.runtime.library import KEPT, PIECE_BYTES, Held
from tests.estate import TOPICS, Estate
from tests.models.tasks import baseline, history

POLICY = "{name: none, rules: []}"


def made(tasks: int) -> bytes:
    """The bytes of a baseline of so many tasks."""
    return encode_baseline(baseline(history(tasks, agents=12)))


ONE, TWO = made(60), made(48)


async def shelf() -> tuple[MemoryLog, MemoryPublisher, Library]:
    """A log that has the topics, who may write to it, and the library that it holds."""
    estate = Estate(POLICY)
    await estate.topics()
    library = Library(MemoryReader(estate.log), TOPICS.baselines)
    return estate.log, MemoryPublisher(estate.log), library


def test_a_library_is_bounded_and_keeps_what_is_in_use() -> None:
    """The oldest goes, unless it is to be kept; where all are, a put is refused."""

    async def told() -> None:
        log, publisher, library = await shelf()
        versions = []
        for number in range(KEPT + 2):
            await library.look()
            keep = versions[:1]
            versions.append(await library.put(publisher, made(20 + number), number, keep))
        again = Library(MemoryReader(log), TOPICS.baselines)
        await again.look()
        assert set(again.held) == {versions[0], *versions[3:]} == set(library.held)
        assert await again.fetch(versions[0]) == made(20)
        assert await again.fetch(versions[1]) is None
        with pytest.raises(ConfigError, match="kept already"):
            await again.put(publisher, ONE, 99, set(again.held))

    asyncio.run(told())


def test_a_large_one_comes_in_pieces() -> None:
    """What is longer than a piece is put together again, whatever lies between."""

    async def told() -> None:
        _, publisher, library = await shelf()
        await library.look()
        plain = decode_baseline(ONE, "file")
        names = {f"{each:016x}": "n" * 60 for each in range(20_000)}
        facts = msgspec.structs.replace(plain.facts, names=names)
        large = encode_baseline(plain._replace(facts=facts))
        assert len(large) > 2 * PIECE_BYTES
        version = await library.put(publisher, large, 1, ())
        await library.put(publisher, TWO, 2, ())
        assert await library.fetch(version) == large
        assert await library.put(publisher, large, 3, ()) == version

        async def write(number: int, piece: bytes) -> None:
            key = msgspec.json.encode(("baseline", version, number))
            await (await publisher.send(TOPICS.baselines, key, piece, 1))

        # What has not the length of a piece is none; what has it takes the place of the one before.
        for piece in (b"", b"x", b"x" * (PIECE_BYTES + 1)):
            await write(1, piece)
        await write(9, b"x" * PIECE_BYTES)
        assert await library.fetch(version) == large
        await write(1, b"x" * PIECE_BYTES)
        assert await library.fetch(version) is None
        await write(1, large[PIECE_BYTES : 2 * PIECE_BYTES])
        assert await library.fetch(version) == large

    asyncio.run(told())


def test_one_with_a_missing_piece_is_not_there() -> None:
    """A name is believed for all bytes or none."""

    async def told() -> None:
        _, publisher, library = await shelf()
        held = Held(version=version_of(ONE), pieces=1, bytes=len(ONE), first_offset=0, at_ms=1)
        key = msgspec.json.encode(("baseline", held.version))
        await (await publisher.send(TOPICS.baselines, key, msgspec.json.encode(held), 0))
        await library.look()
        assert await library.fetch(held.version) is None

    asyncio.run(told())


@pytest.mark.parametrize("record", [b"", b"{", b"[1]", b'{"version": "../x"}', b"\xff" * 9])
def test_what_is_none_of_ours_is_left_alone(record: bytes) -> None:
    """Whoever may write to the topic breaks nobody's session."""

    async def told() -> None:
        _, publisher, library = await shelf()
        for key in (b'["promoted"]', b'["baseline","x"]', b"?"):
            await (await publisher.send(TOPICS.baselines, key, record, 0))
        await library.look()
        assert (library.held, library.promoted) == ({}, None)

    asyncio.run(told())
