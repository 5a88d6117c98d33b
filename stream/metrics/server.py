"""The small HTTP server that shows metrics beside /healthz and /readyz.

It answers probes whatever else connects: connections are few, and none may be idle for long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client.exposition import CONTENT_TYPE_LATEST, ThreadingWSGIServer

CONNECTIONS_MAX: Final = 64
CONNECTION_S: Final = 10.0


class Shown(Protocol):
    """Metrics of one process, or of several."""

    def text(self) -> bytes:
        """Return them in Prometheus' text format; from any thread."""
        ...


class _Quiet(WSGIRequestHandler):
    """A handler that logs no request, and waits for nobody for long."""

    timeout = CONNECTION_S

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: probes come every second."""


class _Server(ThreadingWSGIServer):
    """A thread a connection, and at most CONNECTIONS_MAX of them; what is beyond is hung up on."""

    request_queue_size = CONNECTIONS_MAX

    def __init__(self, *given: Any, **named: Any) -> None:
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(*given, **named)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, if there is room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, then make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: whoever hangs up or sends nonsense must not fill the log."""


class MetricsServer:
    """Serves /metrics, /healthz and /readyz from a thread of its own.

    `ready` returns what is missing, nothing when ready; `healthy` tells whether the loop lives;
    `notes` are lines that /readyz says besides, ready or not.
    """

    def __init__(
        self,
        metrics: Shown,
        address: tuple[str, int],
        ready: Callable[[], list[str]],
        healthy: Callable[[], bool],
        notes: Callable[[], list[str]] = list,
    ) -> None:
        self._metrics = metrics
        self._notes = notes
        self._ready = ready
        self._healthy = healthy
        self._server = make_server(
            address[0], address[1], self._answer, _Server, handler_class=_Quiet
        )
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, status, body, kind = environ["PATH_INFO"], "200 OK", b"ok\n", "text/plain"
        if path == "/metrics":
            body, kind = self._metrics.text(), CONTENT_TYPE_LATEST
        elif path == "/readyz":
            missing, notes = self._ready(), self._notes()
            body = "\n".join([*(missing or ["ok"]), *notes, ""]).encode()
            if missing:
                status = "503 Service Unavailable"
        elif path == "/healthz":
            if not self._healthy():
                status, body = "503 Service Unavailable", b"the event loop does not turn\n"
        else:
            status, body = "404 Not Found", b"try /metrics, /healthz or /readyz\n"
        start(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]
