"""Frames of a broker: the same ones however the socket cuts them, views where they are large."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Any

import msgspec
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from stream.bus import KafkaSpec
from stream.bus.kafka_frames import FRAME_BYTES_MAX, SMALL_BYTES, Cursor, Frames


class Connection:
    """What `Frames` needs of aiokafka's connection, which notes what it is told."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed: list[Exception] = []
        self.is_closed = asyncio.Event()
        self.breaks_at = -1
        self._writer = self
        self.transport = self

    def connected(self) -> bool:
        """Tell whether it was not closed."""
        return not self.closed

    def abort(self) -> None:
        """Be a transport that ends."""

    def close(self, reason: Any, exc: Exception) -> None:
        """Note why it was closed."""
        self.closed.append(exc)
        self.is_closed.set()

    def _handle_frame(self, frame: Any) -> None:
        if len(self.frames) == self.breaks_at:
            raise ValueError("not an answer")
        self.frames.append(bytes(frame))


class Before:
    """aiokafka's own protocol, which notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.heard.append(name)


def opened() -> tuple[Connection, Before, Frames]:
    """A connection that was taken over."""
    connection, before = Connection(), Before()
    return connection, before, Frames(connection, before)


def send(frames: Frames, data: bytes, cuts: list[int]) -> None:
    """Let bytes come as a socket gives them: at most what there is room for."""
    turn = 0
    while data:
        room = frames.get_buffer(-1)
        count = min(len(room), len(data), cuts[turn % len(cuts)])
        turn += 1
        room[:count] = data[:count]
        data = data[count:]
        frames.buffer_updated(count)


def framed(bodies: list[bytes]) -> bytes:
    """These bodies as a broker sends them."""
    return b"".join(struct.pack(">i", len(body)) + body for body in bodies)


SIZES = st.one_of(
    st.integers(0, 40),
    st.sampled_from([each + SMALL_BYTES for each in (-5, -4, -3, -1, 0, 1)]),
    st.integers(SMALL_BYTES, 3 * SMALL_BYTES),
)


@given(st.lists(SIZES, max_size=6), st.lists(st.integers(1, 100_000), min_size=1, max_size=5))
def test_frames_are_the_same_however_they_come(sizes: list[int], cuts: list[int]) -> None:
    """Every frame comes once, whole, in order, whatever the socket cuts."""
    bodies = [bytes([number % 256]) * size for number, size in enumerate(sizes, 1)]
    if min(cuts) < 50:  # a byte at a time takes long
        bodies = [body[:300] for body in bodies]
    connection, _, frames = opened()
    send(frames, framed(bodies), cuts)
    assert connection.frames == bodies
    assert not connection.closed


def test_whatever_settings_ask_for_is_taken() -> None:
    """An answer as large as the largest `fetch_bytes_max`, and a batch beyond it, is no fault."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"bootstrap": "a:1", "fetch_bytes_max": FRAME_BYTES_MAX}, KafkaSpec)
    largest = msgspec.convert({"bootstrap": "a:1", "fetch_bytes_max": 1 << 30}, KafkaSpec)
    connection, _, frames = opened()
    send(frames, struct.pack(">i", largest.fetch_bytes_max + (1 << 26)) + b"x" * 10, [100])
    assert not connection.closed


@pytest.mark.parametrize("size", [-1, FRAME_BYTES_MAX + 1])
def test_a_size_that_no_broker_says_closes(size: int) -> None:
    """Nothing is made room for, and whoever waits for an answer is told."""
    connection, _, frames = opened()
    send(frames, struct.pack(">i", size) + b"x" * 10, [100])
    assert "bytes, at most" in str(connection.closed[0])


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("size", [10, 2 * SMALL_BYTES])
def test_an_answer_that_cannot_be_read_closes(size: int, new_loop: Any) -> None:
    """As aiokafka's own reader does; nothing behind it is handed on."""
    connection, _, frames = opened()
    connection.breaks_at = 1

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)

        over = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(framed([b"good", b"b" * size, b"behind"]))
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
            over.set()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            await loop.create_connection(lambda: frames, *address[:2])
            async with asyncio.timeout(10):
                await connection.is_closed.wait()
                await over.wait()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scene())
    assert [str(each) for each in connection.closed] == ["not an answer"]
    assert connection.frames == [b"good"]


def test_the_end_is_told() -> None:
    """Whoever waits for an answer hears of it, and so does aiokafka's own protocol."""
    connection, before, frames = opened()
    frames.pause_writing()
    frames.resume_writing()
    assert not frames.eof_received()
    frames.connection_lost(None)
    assert before.heard == ["pause_writing", "resume_writing", "eof_received", "connection_lost"]
    assert all(isinstance(each, EOFError) for each in connection.closed)


def test_a_cursor_reads_as_bytes_io_does() -> None:
    """Small parts are bytes; a large one is a view of the frame; nothing behind the end."""
    frame = bytes(range(256)) * 1_024
    cursor = Cursor(frame)
    assert (cursor.read(4), cursor.tell()) == (frame[:4], 4)
    large = cursor.read(SMALL_BYTES + 1)
    assert isinstance(large, memoryview)
    assert large.readonly
    assert large == frame[4 : SMALL_BYTES + 5]
    assert len(cursor.read()) == len(frame) - SMALL_BYTES - 5
    assert cursor.read(7) == b""
