"""What is reported of an answer, and when: at once when it ends, and while it does not end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, PlainTextResponse

from stream.events import decode_request
from stream.gateway import EnforcementMiddleware, Gateway
from tests.buses import run, until
from tests.models.owner import AGENT
from tests.unit.gateway.doors import Site

MIB = 1 << 20
Event = tuple[str, int, int]
"""Outcome, status, bytes."""


def begin(length: int | None = None, status: int = 200) -> dict[str, Any]:
    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    return {"type": "http.response.start", "status": status, "headers": headers}


def part(size: int, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": bytes(size), "more_body": more}


def pathsend(path: str) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": path}


def events_of(gateway: Gateway) -> list[Event]:
    found = [decode_request(each.payload) for each in gateway._reporter._waiting]
    return [(each.outcome, each.status, each.bytes) for each in found]


async def _serve(app: Any, gateway: Gateway, **changes: Any) -> None:
    headers = [(b"x-spiffe-id", AGENT.encode())]
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": headers} | changes

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()  # The caller sends no more, and stays.
        return {}

    async def send(_: Any) -> None:
        return None

    await EnforcementMiddleware(app, gateway)(scope, receive, send)


def reported(*messages: dict[str, Any], error: Exception | None = None) -> list[list[Event]]:
    """Return what was reported after each message of an application, and after its end."""
    after: list[list[Event]] = []

    async def scene() -> None:
        gateway = Site().gateway()

        async def app(_: Any, __: Any, send: Any) -> None:
            for message in messages:
                await send(message)
                after.append(events_of(gateway))
            if error is not None:
                raise error

        with contextlib.suppress(LookupError):
            await _serve(app, gateway)
        after.append(events_of(gateway))

    run(scene())
    return after


def test_an_answer_is_over_with_its_last_part() -> None:
    """What an application does after the answer neither delays the event nor changes it."""
    served = [("served", 200, 2)]
    assert reported(begin(), part(2, more=False)) == [[], served, served]
    assert reported(begin(2), part(2, more=False), error=LookupError()) == [[], served, served]


def test_background_tasks_come_after_the_event() -> None:
    """A background task of Starlette's that fails makes no failure of what was served."""
    gateway = Site().gateway()
    seen: list[list[Event]] = []

    def fail() -> None:
        seen.append(events_of(gateway))
        raise LookupError

    async def scene() -> None:
        answer = PlainTextResponse("ok", background=BackgroundTask(fail))
        with pytest.raises(LookupError):
            await _serve(answer, gateway)
        assert [events_of(gateway), *seen] == [[("served", 200, 2)]] * 2

    run(scene())


def test_an_answer_that_breaks_off_has_failed() -> None:
    """What an application raises before its answer is complete is a failure of what was sent."""
    assert reported(begin(), part(7), error=LookupError())[-1] == [("failed", 200, 7)]
    assert reported(begin(), error=LookupError())[-1] == [("failed", 200, 0)]
    assert reported(error=LookupError())[-1] == [("failed", 500, 0)]
    assert reported()[-1] == [("failed", 500, 0)]


def test_bytes_of_files_are_counted(tmp_path: Path) -> None:
    """A file that the server sends counts as announced, else by its size on disk."""
    file = tmp_path / "file"
    file.write_bytes(bytes(5_000))
    assert reported(begin(700), pathsend(str(file)))[1] == [("served", 200, 700)]
    assert reported(begin(), pathsend(str(file)))[1] == [("served", 200, 5_000)]
    assert reported(begin(), pathsend(str(file) + "-none"))[1] == [("served", 200, 0)]
    zero = {"type": "http.response.zerocopysend", "file": None}
    assert reported(begin(700), zero | {"count": 300})[1] == [("served", 200, 300)]
    assert reported(begin(700), zero)[1] == [("served", 200, 700)]
    assert reported(begin(), zero | {"count": 300, "more_body": True}, part(9, more=False))[2] == [
        ("served", 200, 309)
    ]


def test_a_file_response_is_counted(tmp_path: Path) -> None:
    """Starlette's own answers with files have their size, with the extension and without."""
    (tmp_path / "file").write_bytes(bytes(300_000))
    gateway = Site().gateway()

    async def scene() -> None:
        await _serve(FileResponse(tmp_path / "file"), gateway)
        pathsend = {"http.response.pathsend": {}}
        await _serve(FileResponse(tmp_path / "file"), gateway, extensions=pathsend)
        assert events_of(gateway) == [("served", 200, 300_000)] * 2

    run(scene())


def test_an_announced_stream_is_reported_as_it_begins() -> None:
    """Who reads slowly what was announced is counted at the first part, with all of it, once."""
    event = [("served", 200, 9 * MIB)]
    steps = reported(begin(9 * MIB), part(MIB), part(8 * MIB), part(0, more=False))
    assert steps == [[], event, event, event, event]
    assert reported(begin(9 * MIB), part(MIB), error=LookupError())[-1] == event


@pytest.mark.parametrize("length", [b"", b"-1", b"x", b"9" * 5_000])
def test_what_is_no_length_announces_nothing(length: bytes) -> None:
    """An odd header costs the announcement, not the answer."""
    odd = begin() | {"headers": [(b"content-length", length)]}
    assert reported(odd, part(3), part(4, more=False))[-1] == [("served", 200, 7)]


def test_a_short_stream_is_one_event() -> None:
    """What ends within the time is reported when it ends, however many its parts are."""
    parts = [part(MIB) for _ in range(40)]
    steps = reported(begin(), *parts, part(1, more=False))
    assert steps[-3:] == [[], *[[("served", 200, 40 * MIB + 1)]] * 2]


def test_a_long_stream_is_reported_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time the request is reported, then each further step, and a rest that is large."""
    monkeypatch.setattr("stream.gateway.answer.LASTING_S", 0.0)
    first, step = ("served", 200, MIB), ("served", 200, 16 * MIB)
    parts = [part(MIB) for _ in range(34)]
    steps = reported(begin(), *parts, part(1 << 16, more=False))
    assert [len(each) for each in steps[:18]] == [0, *[1] * 16, 2]
    assert steps[-1] == [first, step, step, ("served", 200, MIB + (1 << 16))]
    small = reported(begin(), part(MIB), part((1 << 16) - 1, more=False))
    assert small[-1] == [first]
    broken = reported(begin(), part(MIB), part(1 << 16), error=LookupError())
    assert broken[-1] == [first, ("served", 200, 1 << 16)]


@pytest.mark.parametrize("messages", [[begin()], [begin(), part(7)]])
def test_a_stream_that_stalls_is_reported(
    messages: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that goes on without a word is reported after the time, and once."""
    monkeypatch.setattr("stream.gateway.answer.LASTING_S", 0.01)
    event = [("served", 200, sum(len(each.get("body", b"")) for each in messages))]

    @contextlib.asynccontextmanager
    async def stalled(gateway: Gateway) -> AsyncIterator[asyncio.Task[None]]:
        async def app(_: Any, __: Any, send: Any) -> None:
            for message in messages:
                await send(message)
            await asyncio.Event().wait()

        task = asyncio.create_task(_serve(app, gateway))
        yield task
        task.cancel()
        await asyncio.wait([task])

    async def scene() -> None:
        gateway = Site().gateway()
        async with stalled(gateway):
            await until(lambda: events_of(gateway) == event)
        assert events_of(gateway) == event

    run(scene())


def test_a_slow_reader_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that the server cannot get rid of does not keep its event back."""
    monkeypatch.setattr("stream.gateway.answer.LASTING_S", 0.0)

    async def scene() -> None:
        gateway = Site().gateway()

        async def app(_: Any, __: Any, send: Any) -> None:
            await send(begin())
            await send(part(5))

        async def stuck(message: Any) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        headers = [(b"x-spiffe-id", AGENT.encode())]
        scope = {"type": "http", "method": "GET", "path": "/x", "headers": headers}
        middleware: Any = EnforcementMiddleware(app, gateway)
        task = asyncio.create_task(middleware(scope, None, stuck))
        await until(lambda: events_of(gateway) == [("served", 200, 5)])
        task.cancel()
        await asyncio.wait([task])

    run(scene())


def test_streams_begun_apart_are_each_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """One timer serves all that stall, whenever they began, and on whichever loop they run."""
    monkeypatch.setattr("stream.gateway.answer.LASTING_S", 0.02)
    gateway = Site().gateway()

    async def app(_: Any, __: Any, send: Any) -> None:
        await send(begin())
        await asyncio.Event().wait()

    async def send(_: Any) -> None:
        return None

    headers = [(b"x-spiffe-id", AGENT.encode())]
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": headers}
    middleware: Any = EnforcementMiddleware(app, gateway)

    async def scene(told: int) -> None:
        loop, tasks = asyncio.get_running_loop(), []
        began_s = loop.time()
        for place in range(1, 4):
            tasks.append(asyncio.create_task(middleware(scope, None, send)))
            await until(lambda: loop.time() > began_s + place * 0.01)  # noqa: B023  # awaited here
        await until(lambda: len(events_of(gateway)) == told + 3)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert events_of(gateway) == [("served", 200, 0)] * (told + 3)

    run(scene(0))
    run(scene(3))


def test_no_timer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is over, in whatever way, is not heard of again."""
    monkeypatch.setattr("stream.gateway.answer.LASTING_S", 0.01)

    async def scene() -> None:
        gateway = Site().gateway()

        async def whole(_: Any, __: Any, send: Any) -> None:
            await send(begin())
            await send(part(3, more=False))

        async def broken(_: Any, __: Any, send: Any) -> None:
            await send(begin())
            raise LookupError

        await _serve(whole, gateway)
        with pytest.raises(LookupError):
            await _serve(broken, gateway)
        past_s = asyncio.get_running_loop().time() + 0.02
        await until(lambda: asyncio.get_running_loop().time() > past_s)
        assert events_of(gateway) == [("served", 200, 3), ("failed", 200, 0)]

    run(scene())
