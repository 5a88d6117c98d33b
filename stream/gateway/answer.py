"""One answer under way: what is reported of it, and when.

An answer is one event, once its last part goes to the server: what the application does afterwards
neither delays nor changes it. Whoever reads slowly or streams could keep that end back, so an
answer that is streamed is reported as it begins where its length was announced, with that length;
elsewhere when it ends or has lasted LASTING_S, with the bytes so far. From then on each further
STEP_BYTES, and a rest of at least REST_BYTES_MIN, are one more event of the same outcome, which
counts as one more request on the wire: long streams weigh more than one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, MutableMapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeAlias

from stream.events import Outcome

Message: TypeAlias = MutableMapping[str, Any]
Tell: TypeAlias = Callable[[Outcome, int, int], None]
"""Reports an outcome, a status, and so many bytes."""

LASTING_S: Final = 1.0
STEP_BYTES: Final = 16 << 20
REST_BYTES_MIN: Final = 64 << 10

# Plain numbers: the hash of a member of an enumeration is that of its name, and computed each time.
DENIALS: Final = frozenset({HTTPStatus.UNAUTHORIZED.value, HTTPStatus.FORBIDDEN.value})
FAILURE_MIN: Final = HTTPStatus.BAD_REQUEST.value
DIGITS_MAX: Final = 20
NO_STATUS: Final = HTTPStatus.INTERNAL_SERVER_ERROR.value
"""What servers answer where the application did not."""

_REREADABLE: Final = (list, tuple)  # Other headers may be there to be read once.


class Answer:
    """What has been sent of one answer; `see` hears each message before it is sent.

    Every way ends in `close`.
    """

    # Defaults of the class: most answers change two of them.
    _status = 0
    _announced: int | None = None
    _begun_s = 0.0
    _size = 0  # Of what no event has told yet.
    _is_told = False
    _is_over = False

    def __init__(self, tell: Tell, lasting: Lasting) -> None:
        self._tell = tell
        self._lasting = lasting

    def see(self, message: Message) -> None:
        """Report what a message makes known."""
        kind = message["type"]
        if kind == "http.response.body":
            self._add(len(message.get("body", b"")), is_last=not message.get("more_body", False))
        elif kind == "http.response.start":
            self._begin(message)
        elif kind == "http.response.pathsend":
            size = self._announced
            self._add(_size_on_disk(message["path"]) if size is None else size, is_last=True)
        elif kind == "http.response.zerocopysend":
            size = message.get("count")
            is_last = not message.get("more_body", False)
            self._add((self._announced or 0) if size is None else size, is_last=is_last)

    def close(self, *, has_failed: bool = False) -> None:
        """Report what is left to say, unless it is over; nothing is reported from here on."""
        if self._is_over:
            return
        self._is_over = True
        if not self._is_told:
            outcome = "failed" if has_failed else outcome_of(self._status)
            self._tell(outcome, self._status or NO_STATUS, self._size)
        elif self._size >= REST_BYTES_MIN:
            self._tell_so_far()

    def look(self, now_s: float) -> float:
        """Report what was sent if it has lasted; return when to look again, 0 for never."""
        if self._is_told or self._is_over:
            return 0.0
        if now_s < self._begun_s + LASTING_S:
            return self._begun_s + LASTING_S
        self._tell_so_far()
        return 0.0

    def _begin(self, message: Message) -> None:
        self._status = message["status"]
        headers = message.get("headers", ())
        if isinstance(headers, _REREADABLE):
            for name, value in headers:
                if name == b"content-length" and value.isdigit() and len(value) <= DIGITS_MAX:
                    self._announced = int(value)
                    return
        self._begun_s = self._lasting.watch(self)

    def _add(self, size: int, *, is_last: bool) -> None:
        """Count a part, and report it when that is due."""
        if self._is_over:
            return
        self._size += size
        if is_last:
            self.close()
        elif self._announced is not None:
            self._size = self._announced
            self.close()
        elif self._is_told:
            if self._size >= STEP_BYTES:
                self._tell_so_far()
        else:
            self.look(asyncio.get_running_loop().time())

    def _tell_so_far(self) -> None:
        """Report what no event has told yet."""
        size, self._size = self._size, 0
        self._is_told = True
        self._tell(outcome_of(self._status), self._status or NO_STATUS, size)


class Lasting:
    """Looks at the answers under way when they have lasted: one timer for all.

    A timer for each would cost more than the rest of an answer. Belongs to one event loop at a
    time.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answers: deque[Answer] = deque()  # As they began; the timer is for the first.

    def watch(self, answer: Answer) -> float:
        """Look at an answer when it has lasted; return the loop's time now."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._answers.clear()
        if not self._answers:
            loop.call_later(LASTING_S, self._look)
        self._answers.append(answer)
        return loop.time()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        while self._answers:
            again_s = self._answers[0].look(now_s)
            if again_s:
                loop.call_at(again_s, self._look)
                return
            self._answers.popleft()


def outcome_of(status: int) -> Outcome:
    """Return what became of a request that the application answered; 0 where it did not."""
    if status in DENIALS:
        return "denied"
    return "failed" if status >= FAILURE_MIN or not status else "served"


def _size_on_disk(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
