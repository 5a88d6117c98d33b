"""A connection to Redis by TLS that trusts whom the settings name, and nobody else.

The client's own adds `ca_file` to what the machine trusts, so any public authority could vouch for
a server as well; and for an encrypted key without a passphrase OpenSSL would ask at the terminal.
"""

from __future__ import annotations

from typing import Any

import redis.asyncio as client

from stream.transport import TlsFiles, tls_context


class TlsConnection(client.SSLConnection):
    """The client's connection, with a context of ours; files are read anew for each.

    Errors: ConfigError when a file is not what it must be.
    """

    def __init__(self, **settings: Any) -> None:
        names = (settings.get(f"ssl_{name}") or "" for name in ("ca_certs", "certfile", "keyfile"))
        self._context = tls_context(TlsFiles(*names), settings.get("ssl_password") or "")
        super().__init__(**settings)

    def _connection_arguments(self) -> Any:
        return {**super()._connection_arguments(), "ssl": self._context}
