"""The server of metrics: it answers probes whatever else connects, and holds nobody for long."""

import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

from stream.metrics import CONNECTIONS_MAX, Metrics, MetricsServer
from stream.metrics import server as module

PATIENCE_S = 30


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    """A server that has started."""
    made = MetricsServer(Metrics(), ("127.0.0.1", 0), lambda: ["partition 3"], lambda: True)
    made.start()
    yield made
    made.stop()


def asked(server: MetricsServer, path: str) -> bytes:
    """The answer to a path, whatever its status."""
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as client,
    ):
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(65_536), b""))
    return b""


def test_paths(server: MetricsServer) -> None:
    """Metrics in Prometheus' format, health, readiness with what is missing; else a hint."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=9) as answer:
        assert b"enforcer_events_total" in answer.read() or answer.status == 200
    assert b" 200 OK" in asked(server, "/healthz")
    assert b" 503 " in asked(server, "/readyz") and b"partition 3" in asked(server, "/readyz")
    noting = MetricsServer(
        Metrics(), ("127.0.0.1", 0), list, lambda: True, lambda: ["braked for 3 s: why"]
    )
    noting.start()
    answer = asked(noting, "/readyz")
    noting.stop()
    assert b" 200 OK" in answer and answer.endswith(b"ok\nbraked for 3 s: why\n")
    assert b" 404 " in asked(server, "/x%0d%0aSet-Cookie:a")


def test_idle_connections_are_bounded_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects and says nothing takes one of a few places, and not for long."""
    monkeypatch.setattr(module._Quiet, "timeout", 1.0)
    server = MetricsServer(Metrics(), ("127.0.0.1", 0), list, lambda: True)
    server.start()
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        for _ in range(3 * CONNECTIONS_MAX):
            client = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
            stack.enter_context(client)
            assert threading.active_count() <= before + CONNECTIONS_MAX
        deadline = time.monotonic() + PATIENCE_S
        while b" 200 OK" not in asked(server, "/healthz"):
            assert time.monotonic() < deadline, "idle connections keep the server busy"
            time.sleep(0.05)
