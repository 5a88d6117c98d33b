"""Recorded events, read by a thread of their own: stdin may be silent for hours, the loop may not.

The thread decodes each line only to know its key and time; what is sent is the line itself, unless
times are shifted.
"""

from __future__ import annotations

import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

import msgspec

from stream.events import (
    PAYLOAD_BYTES_MAX,
    TIME_MS_MAX,
    Request,
    decode_request,
    encode_request,
    fault_of,
    split_requests,
)
from stream.identity import InvalidIdentity, canonical_workload

from .failure import NotSo
from .faults import FaultNotes
from .reading import STDIN, is_read_once, read_lines

WAITING_MAX: Final = 20_000


class Recorded(NamedTuple):
    """One event to send: its record's key, its payload, its own time."""

    key: bytes
    payload: bytes
    at_ms: int


class EventFeed:
    """The events of files, in order; `take` never blocks.

    Lines that are no events go to `faults`; `on_bytes` is told how far the reading is.
    """

    WAIT: ClassVar[Recorded] = Recorded(b"", b"", 0)
    """What `take` returns while nothing has come yet."""

    def __init__(
        self,
        files: Sequence[str],
        faults: FaultNotes,
        on_bytes: Callable[[int], None],
        *,
        is_now: bool,
    ) -> None:
        self._files = files
        self._faults = faults
        self._on_bytes = on_bytes
        self._is_now = is_now
        self._waiting: queue.Queue[Recorded | NotSo | None] = queue.Queue(WAITING_MAX)
        # Not waited for at the end: it may sit in a read of stdin that never returns.
        self._thread = threading.Thread(target=self._fill, name="recorded-events", daemon=True)
        self._thread.start()

    def take(self) -> Recorded | None:
        """Return the next event, WAIT while there is none yet, None at the end.

        Errors: NotSo when a file cannot be read.
        """
        try:
            found = self._waiting.get_nowait()
        except queue.Empty:
            assert self._thread.is_alive() or self._waiting.qsize(), "the reading thread broke"
            return self.WAIT
        if isinstance(found, NotSo):
            raise found
        return found

    def _fill(self) -> None:
        try:
            files, shift_ms = self._files, 0
            if self._is_now:
                files = [_kept(each) for each in files]
                last_ms = max((each.at_ms for each, _ in _events_of(files, None)), default=0)
                shift_ms = time.time_ns() // 1_000_000 - last_ms
            for request, line in _events_of(files, self._faults, self._on_bytes):
                payload = encode_request(shifted(request, shift_ms)) if shift_ms else line
                key = canonical_workload(request.workload).encode()
                self._waiting.put(Recorded(key, payload, request.at_ms))
            self._waiting.put(None)
        except NotSo as error:
            self._waiting.put(error)


def _events_of(
    files: Sequence[str],
    faults: FaultNotes | None,
    on_bytes: Callable[[int], None] = lambda position: None,
) -> Iterator[tuple[Request, bytes]]:
    """Yield each event with its line; what is none is told to `faults`, if somebody listens.

    Errors: NotSo when a file cannot be read.
    """
    for line in read_lines(files, PAYLOAD_BYTES_MAX, on_bytes):
        if not line.data.strip():
            continue
        for request, data in _read(line.data):
            if isinstance(request, Request):
                yield request, data
            elif faults is not None:
                faults.add(f"{line.file}:{line.number}", *request)


def _read(line: bytes) -> Iterator[tuple[Request | tuple[str, str], bytes]]:
    """Yield each event of a line with its bytes, or what is wrong with it."""
    try:
        payloads = split_requests(line)
    except (ValueError, RecursionError) as error:
        yield fault_of(line, error), line
        return
    for payload in payloads:
        try:
            request = decode_request(payload)
            canonical_workload(request.workload)
            yield request, payload
        except InvalidIdentity as error:
            yield ("bad_identity", error.message), payload
        except (ValueError, RecursionError) as error:
            yield fault_of(payload, error), payload


def shifted(request: Request, by_ms: int) -> Request:
    """Return a request at another time, its token's life shifted with it; times stay in bounds."""
    token = request.token
    if token is not None:
        token = msgspec.structs.replace(
            token,
            issued_at_ms=token.issued_at_ms and _bounded(token.issued_at_ms + by_ms),
            expires_at_ms=token.expires_at_ms and _bounded(token.expires_at_ms + by_ms),
        )
    return msgspec.structs.replace(request, at_ms=_bounded(request.at_ms + by_ms), token=token)


def _bounded(at_ms: int) -> int:
    return min(max(at_ms, 0), TIME_MS_MAX)


def _kept(file: str) -> str:
    """Return a file that can be read twice; what can not is copied into one.

    That goes with the process. Errors: NotSo.
    """
    if not is_read_once(file):
        return file
    copy = tempfile.NamedTemporaryFile(prefix="enforcer-send-")  # noqa: SIM115 - kept below
    try:
        if file == STDIN:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        else:
            with Path(file).open("rb") as source:
                shutil.copyfileobj(source, copy)
        copy.flush()
    except OSError as error:
        raise NotSo(f"{file} cannot be read: {error}") from error
    _copies.append(copy)
    return copy.name


_copies: list[tempfile._TemporaryFileWrapper[bytes]] = []
