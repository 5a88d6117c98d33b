"""The least that a user of Redis must be allowed: derived from what the store sends.

Commands inside scripts are checked by the server against the same user, so they are read out of
the scripts. A user that only reads has the same keys and no command that writes.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Final, NamedTuple

from .redis_link import RedisSpec, parse_address

# A script names a command as a word in capitals between quotes, also where it passes it on.
_IN_SCRIPT: Final = re.compile(r"'([A-Z]{3,})'")
# What is sent as it is, beside scripts: at start; by `scan`; by `checkpoint`, `owner` and `names`.
_ANY: Final = frozenset({"INFO", "EVAL", "EVALSHA"})
_SWEEP: Final = frozenset({"HGETALL"})
_LOOK: Final = frozenset({"HGET", "HMGET"})
# What finds the server to ask: behind Sentinels each says its role, in a cluster who has what.
_TO_FIND: Final[dict[str, frozenset[str]]] = {
    "standalone": frozenset(),
    "sentinel": frozenset({"ROLE"}),
    "cluster": frozenset({"CLUSTER|SLOTS"}),
}


class _Use(NamedTuple):
    """What one kind of user needs: commands sent, scripts run, keys."""

    sent: frozenset[str]
    scripts: tuple[str, ...]
    keys: tuple[str, ...]


_WORKER: Final = _Use(
    _ANY | _SWEEP | _LOOK,
    ("bequeath", "claim", "load", "save"),
    ("state", "state:*", "names", "records", "records:*", "rows:*", "domains", "members"),
)
_READER: Final = _Use(_ANY | _LOOK, ("load",), ("state", "state:*", "names", "rows:*"))


def redis_rules(spec: RedisSpec, *, writes: bool) -> list[str]:
    """Return the rules of `ACL SETUSER` for a worker, or for whoever only reads (`explain`).

    They take nothing for granted and say nothing of passwords: set again, they change nothing.
    """
    use = _WORKER if writes else _READER
    commands = set(use.sent)
    for name in use.scripts:
        text = resources.files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8")
        commands |= set(_IN_SCRIPT.findall(text))
    address = parse_address(spec.url)
    if address.db:
        commands.add("SELECT")
    commands |= _TO_FIND[address.mode]
    return [
        "on",
        "clearselectors",
        "resetkeys",
        "resetchannels",
        "-@all",
        *(f"~{spec.prefix}:{{*}}:{key}" for key in use.keys),
        *(f"+{command.lower()}" for command in sorted(commands)),
    ]
