"""A whole installation in a folder of this machine: servers, topics, a hash key, its variables."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from stream.config import SIGNING, Config, load_config, make_hash_key
from stream.local import LocalServers

from .doors import wait_for
from .topics import make_topics

EXPORTED: Final = (
    "ENFORCER_KAFKA",
    "ENFORCER_REDIS",
    "ENFORCER_HASH_KEY_FILE",
    "ENFORCER_PREFIX",
    "ENFORCER_CONFIG",
    *SIGNING.values(),
)
OURS: Final = (
    "kafka", "valkey", "lock", "ports.json", "ports.json.new", "hash.key", "environment",
    "worker.log",
)  # fmt: skip
"""What an installation writes below its folder."""


class Installation(NamedTuple):
    """What runs, and how to reach it."""

    folder: Path
    environment: dict[str, str]
    config: Config
    servers: LocalServers

    def exports(self) -> list[str]:
        """Return the lines that let a shell reach it."""
        return [
            f"export {name}={shlex.quote(self.environment[name])}"
            for name in EXPORTED
            if self.environment.get(name)
        ]

    @property
    def environment_file(self) -> Path:
        """Return the file to be sourced by a shell; it is there while all is ready."""
        return self.folder / "environment"

    def announce(self) -> None:
        """Write the file that lets a shell reach it: everything is ready now."""
        self.environment_file.write_text("\n".join([*self.exports(), ""]), "utf-8")


@contextlib.contextmanager
def installed(
    folder: Path, environment: Mapping[str, str], say: Callable[[str], None], *, keeps_data: bool
) -> Iterator[Installation]:
    """Have servers and topics for as long as the block lasts.

    The folder also gets the hash key, and once it is announced a file for shells.
    Errors: ConfigError with what to do; BusUnavailable.
    """
    folder, is_ours = folder.expanduser().resolve(), False
    try:
        with LocalServers(folder, on_progress=say) as servers:
            is_ours = True
            key_file = folder / "hash.key"
            make_hash_key(key_file)
            addresses = servers.addresses
            ours = {
                **environment,
                "ENFORCER_KAFKA": addresses.kafka,
                "ENFORCER_REDIS": addresses.redis,
                "ENFORCER_HASH_KEY_FILE": str(key_file),
            }
            ours.pop("ENFORCER_HASH_KEY", None)
            config = load_config("", ours)
            found = Installation(folder, ours, config, servers)
            # One that a crash left behind names servers of another time.
            found.environment_file.unlink(missing_ok=True)
            try:
                wait_for(make_topics(config))
                yield found
            finally:
                found.environment_file.unlink(missing_ok=True)
    finally:
        # Of a folder whose servers did not start here, all may belong to a process that runs.
        if is_ours and not keeps_data:
            remove_data(folder)


def remove_data(folder: Path) -> None:
    """Remove what an installation wrote, and the folder if nothing else is in it."""
    for name in OURS:
        place = folder / name
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def end_by_signals() -> None:
    """Let SIGTERM and SIGINT end this process as Ctrl-C does, through every block that cleans up.

    SIGINT too, because what a script starts in the background inherits that it is ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
