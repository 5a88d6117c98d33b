"""Targets that answer on a wire: the metrics server over a real socket, the ASGI middleware."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from typing import Any, Final

from stream.events import decode_request
from stream.gateway import EnforcementMiddleware
from stream.metrics import Metrics, MetricsServer
from tests.unit.gateway.doors import Site

from .targets import Run, Target

ANSWER_S: Final = 5.0
STATUSES: Final = frozenset(b"100 200 400 404 408 414 431 501 503 505".split())
ANSWER_BYTES_MAX: Final = 4 << 20


def http() -> Run:
    """Bytes to the metrics server: it answers or hangs up, and goes on answering."""
    server = MetricsServer(Metrics(), ("127.0.0.1", 0), list, lambda: True)
    server.start()
    count = 0

    def run(data: bytes) -> object:
        nonlocal count
        count += 1
        with socket.create_connection(("127.0.0.1", server.port), ANSWER_S) as client:
            answer = b""
            try:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                while part := client.recv(65_536):
                    answer += part
                    assert len(answer) <= ANSWER_BYTES_MAX
            except (ConnectionError, OSError):
                pass
        # What is no request of HTTP/1 is answered as HTTP/0.9 was: without a head.
        if answer.startswith(b"HTTP/"):
            head = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
            assert head[0].split(b" ")[1] in STATUSES, head[0]
            assert all(b":" in line for line in head[1:]), head
        if count % 100 == 1:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=9) as ok:
                assert ok.status == 200
        return answer[:12]

    run.close = server.stop  # type: ignore[attr-defined] # what the loop calls at the end
    return run


def asgi() -> Run:
    """A request with hostile path and headers: served, refused or reported, never broken."""
    loop = asyncio.new_event_loop()
    site = Site()
    loop.run_until_complete(site.make_topics("enforcement", "requests"))
    gateway = site.gateway()
    loop.run_until_complete(gateway.__aenter__())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    middleware = EnforcementMiddleware(app, gateway)
    seen = 0

    def run(data: bytes) -> object:
        nonlocal seen
        scope = _scope(data)
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        async def serve() -> None:
            await middleware(scope, receive, send)
            await asyncio.sleep(0)

        loop.run_until_complete(serve())
        assert sent
        for message in sent:
            for name, value in message.get("headers", ()):
                assert b"\r" not in name + value and b"\n" not in name + value
        records = site.log.partitions("requests")[0].records
        for record in records[seen:]:
            decode_request(record.value or b"")
        del records[:]
        seen = 0
        return sent[0]["type"]

    def close() -> None:
        loop.run_until_complete(gateway.__aexit__(None, None, None))
        loop.close()

    run.close = close  # type: ignore[attr-defined] # what the loop calls at the end
    return run


def _scope(data: bytes) -> dict[str, Any]:
    """A scope as a server makes it of the bytes: `METHOD path`, then a header a line."""
    first, *lines = data.split(b"\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.partition(b"?")
    headers = [
        tuple(part.strip() for part in line.split(b":", 1)) for line in lines if b":" in line
    ]
    return {
        "type": "websocket" if method == b"websocket" else "http",
        "method": method.decode("latin-1"),
        "path": path.decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in headers],
        "extensions": {},
    }


ENDPOINTS: Final[dict[str, Target]] = {
    "http": Target(http, "http", 4),
    "asgi": Target(asgi, "asgi", 12),
}
