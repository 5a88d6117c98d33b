"""How answers of a broker come from the socket: straight into the buffer they are read in.

aiokafka's own way copies each answer four times: the event loop's bytes, a stream's buffer, the
frame cut out of it, and the records cut out of the frame. With half a million records a second that
is a sixth of all work. Here the event loop writes a large frame into its own array (the transport's
buffered protocol does that), and records are views of it. All else stays aiokafka's: connecting,
authentication, requests and their order, decoding of answers, idleness, closing.

It takes over a connection that is established and waits for no answer. Where aiokafka's connection
is not the one known here, `take_over` leaves it alone, and all is as before.
"""

from __future__ import annotations

import asyncio
import io
import struct
import weakref
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any, Final

import numpy as np
from aiokafka.conn import AIOKafkaConnection, AIOKafkaProtocol, CloseReason

# A frame that fits is read with others at once; of a larger one the rest goes into its own array.
SMALL_BYTES: Final = 1 << 16
# More than settings may ask for (1 GiB), and the one batch that a broker sends beyond that.
FRAME_BYTES_MAX: Final = (1 << 30) + (1 << 27)
_SIZE: Final = struct.Struct(">i")


class Cursor:
    """Stands where aiokafka's decoding has `io.BytesIO`: what is large is a view, not a copy."""

    def __init__(self, frame: Any) -> None:
        self._view = memoryview(frame).toreadonly()
        self._at = 0

    def read(self, size: int = -1) -> bytes | memoryview:
        """Return the next bytes, fewer where there are no more, all of them for a negative size."""
        start = self._at
        end = len(self._view) if size < 0 else min(start + size, len(self._view))
        self._at = end
        part = self._view[start:end]
        return part if end - start > SMALL_BYTES else part.tobytes()

    def tell(self) -> int:
        """Return how far it was read."""
        return self._at


class Frames(asyncio.BufferedProtocol):
    """Cuts what comes from a broker into frames and hands each to its connection."""

    def __init__(self, connection: Any, before: Any) -> None:
        self._connection = weakref.ref(connection)
        self._before = before
        self._transport = connection._writer.transport
        self._small = bytearray(SMALL_BYTES)
        self._used = 0
        self._frame: Any = None
        self._filled = 0

    # What the transport calls.

    def get_buffer(self, sizehint: int) -> Any:
        """Return where the next bytes go."""
        if self._frame is not None:
            return memoryview(self._frame)[self._filled :]
        return memoryview(self._small)[self._used :]

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what is complete now.

        Errors: those of aiokafka's decoding: the transport ends, and `connection_lost` follows.
        """
        if self._frame is None:
            self._used += nbytes
            self._cut()
            return
        self._filled += nbytes
        if self._filled == len(self._frame):
            frame, self._frame = self._frame, None
            self._hand(frame)

    def eof_received(self) -> bool:
        """Close: a broker that says no more answers nothing."""
        self._before.eof_received()
        self._break(EOFError("the broker closed the connection"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for an answer, and aiokafka's own protocol."""
        self._before.connection_lost(exc)
        self._break(exc or EOFError("the connection is lost"))

    def pause_writing(self) -> None:
        """Hand on to aiokafka's own protocol, which its writer asks."""
        self._before.pause_writing()

    def resume_writing(self) -> None:
        """Hand on to aiokafka's own protocol, which its writer asks."""
        self._before.resume_writing()

    # What becomes of it.

    def _cut(self) -> None:
        """Hand on all frames that are whole, and make room for one that is not."""
        start = 0
        while self._used - start >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._small, start)
            if not 0 <= size <= FRAME_BYTES_MAX:
                self._transport.abort()
                self._break(ValueError(f"an answer of {size} bytes, at most {FRAME_BYTES_MAX}"))
                return
            body = start + _SIZE.size
            if self._used - body >= size:
                start = body + size
                self._hand(bytes(self._small[body:start]))
                continue
            if size + _SIZE.size > SMALL_BYTES:
                self._frame = np.empty(size, np.uint8)
                self._filled = self._used - body
                self._frame[: self._filled] = np.frombuffer(
                    self._small, np.uint8, self._filled, body
                )
                start = self._used
            break
        left = self._small[start : self._used]
        self._small[: len(left)] = left
        self._used = len(left)

    def _hand(self, frame: Any) -> None:
        connection = self._connection()
        if connection is None:
            self._transport.abort()
        elif connection.connected():
            connection._handle_frame(frame)

    def _break(self, error: Exception) -> None:
        connection = self._connection()
        if connection is not None:
            connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)


def take_over(connection: Any) -> bool:
    """Let frames of a connection come this way from now on, if it waits for nothing; tell if so.

    Once taken over, it is left as it is.
    """
    if isinstance(connection._writer.transport.get_protocol(), Frames):
        return True
    reader, task = connection._reader, connection._read_task
    if connection._requests or reader._buffer or reader.at_eof() or task.done():
        return False
    transport = connection._writer.transport
    # Nothing comes between: no answer is awaited, and the task waits for the first byte of one.
    task.cancel()
    frames = Frames(connection, connection._protocol)
    connection._handle_frame = MethodType(_handle_frame, weakref.proxy(connection))
    transport.pause_reading()
    transport.set_protocol(frames)
    transport.resume_reading()
    return True


def can_take_over(connection: Any) -> bool:
    """Tell whether a connection is the one known here."""
    known = ("_requests", "_read_task", "_handle_frame", "_reader", "_writer", "close", "connected")
    return (
        type(connection) is AIOKafkaConnection
        and all(hasattr(connection, each) for each in known)
        and type(connection._protocol) is AIOKafkaProtocol
        and "BytesIO" in AIOKafkaConnection._handle_frame.__code__.co_names
        and AIOKafkaConnection._handle_frame.__globals__.get("io") is io
        and hasattr(connection._reader, "_buffer")
    )


def _with_cursor() -> FunctionType:
    theirs = AIOKafkaConnection._handle_frame
    return FunctionType(
        theirs.__code__,
        {**theirs.__globals__, "io": SimpleNamespace(BytesIO=Cursor)},
        theirs.__name__,
        theirs.__defaults__,
        theirs.__closure__,
    )


_handle_frame: Final = _with_cursor()
