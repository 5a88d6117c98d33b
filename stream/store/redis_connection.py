"""Connections to Redis that end when they are left.

The client's own closes its side once all that was written is sent. A server that hangs takes
nothing, so the socket, and what waits in it, stayed for each call that timed out; and closing a
store failed at the first such connection, and left the others open. A pool of the client's that is
closed opens connections again for whoever asks, and forgets those that were just being made.

And its commands are put together here where they are long: the client copies what it has so far for
each argument, which for the rows of a save took as long as all else about it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import redis.asyncio as client
from redis import exceptions as vendor

from stream.transport import TlsFiles, tls_context

log = logging.getLogger(__name__)

LONG_COMMAND: Final = 64  # arguments


class Lease:
    """Whether the connections of one pool may be open: until it `is_over`."""

    is_over = False


class _Leaving(client.Connection):
    """Drops what cannot be closed in good order, and is not opened when its lease is over."""

    def __init__(self, *, lease: Lease, **settings: Any) -> None:
        self._lease = lease
        super().__init__(**settings)

    async def connect(self) -> None:
        """Connect and greet; what is cut short, or comes too late, leaves no socket.

        Errors: the client's.
        """
        is_whole = False
        try:
            if not self._lease.is_over:
                await super().connect()  # type: ignore[no-untyped-call]
                is_whole = not self._lease.is_over
        finally:
            if not is_whole:
                await self.disconnect(nowait=True)
        if not is_whole:
            raise vendor.ConnectionError("the connections to this server are closed")

    def pack_command(self, *args: Any) -> list[bytes]:
        """Return a command as it is sent: an array of bulk strings."""
        if len(args) < LONG_COMMAND or not isinstance(args[0], str) or " " in args[0]:
            return list(super().pack_command(*args))
        encode: Callable[[Any], bytes] = self.encoder.encode
        texts = [each if type(each) is bytes else bytes(encode(each)) for each in args]
        bulk = [b"$%d\r\n%b\r\n" % (len(each), each) for each in texts]
        return [b"".join((b"*%d\r\n" % len(bulk), *bulk))]

    async def disconnect(self, *args: Any, **why: Any) -> None:
        """End the connection; no answer is waited for any more, so nothing unsent matters."""
        transport = self._writer.transport if self._writer is not None else None
        try:
            await super().disconnect(*args, **why)
        except vendor.TimeoutError as error:
            log.debug("dropped a connection to Redis: %s", error)
        finally:
            if transport is not None:
                transport.abort()


class PlainConnection(_Leaving):
    """A connection without TLS."""


class TlsConnection(_Leaving, client.SSLConnection):
    """The client's connection by TLS that trusts whom the settings name, and nobody else.

    The client's own adds `ca_file` to what the machine trusts, so any public authority could vouch
    for a server as well; and for an encrypted key without a passphrase OpenSSL would ask at the
    terminal. Files are read anew for each connection.

    Errors: ConfigError when a file is not what it must be.
    """

    def __init__(self, **settings: Any) -> None:
        names = (settings.get(f"ssl_{name}") or "" for name in ("ca_certs", "certfile", "keyfile"))
        self._context = tls_context(TlsFiles(*names), settings.get("ssl_password") or "")
        super().__init__(**settings)

    def _connection_arguments(self) -> Any:
        return {**super()._connection_arguments(), "ssl": self._context}
