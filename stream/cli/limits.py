"""The settings of a worker as rows to print: every limit is said at start, no secret ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from stream.config import Config
from stream.kernel import HashKey
from stream.policy import Policy
from stream.profiles import CACHE_MAX, CACHED_CHARACTERS_MAX, LEDGER, OPERATIONS_MAX
from stream.runtime import KEPT, OPERATORS_MAX, RECORDS_MAX, ZONES_MAX
from stream.store import DOMAINS_MAX, NAMES_MAX

SECRET_WORDS: Final = ("password", "passphrase", "secret", "token")
HIDDEN: Final = "(hidden)"


def settings_of(config: Config) -> dict[str, Any]:
    """Return all settings by room, with what must not be printed replaced."""
    settings: dict[str, Any] = msgspec.to_builtins(config)
    # The url may hold a password; the Spec knows what of it may be seen.
    settings["redis"]["url"] = dict(config.redis.__rich_repr__())["url"]
    return {name: _clean(name, value) for name, value in settings.items()}


def setting_rows(settings: dict[str, Any], under: str = "") -> Iterator[tuple[str, str]]:
    """Yield each setting by its path, `worker.slots_max`, and its value."""
    for name, value in settings.items():
        path = f"{under}{name}"
        if isinstance(value, dict) and value:
            yield from setting_rows(value, f"{path}.")
        elif name != "kind":
            yield path, f"{value:,}" if isinstance(value, int) else str(value)


def policy_rows(policy: Policy, key: HashKey, slots_max: int) -> list[tuple[str, str]]:
    """Return what a worker's policy and key come to: versions, sizes, memory at most."""
    row_bytes = policy.layout.dtype.itemsize
    on = [each for each in policy.rules if each.mode]
    return [
        ("policy in file", f"{policy.spec.name} {policy.hash}"),
        ("policy.rules", f"{len(policy.rules)}, of which {len(on)} are on"),
        ("policy.windows", f"{len(policy.pairs)}"),
        ("row bytes", f"{row_bytes:,}"),
        ("rows in memory, bytes at most", f"{row_bytes * slots_max:,}"),
        ("hash key id", f"{key.id}"),
    ]


def bound_rows(slots_max: int) -> list[tuple[str, str]]:
    """Return the bounds that nobody sets: what a worker and its store hold at most."""
    return [
        (name, f"{most:,}")
        for name, most in (
            ("commands in force, a workload", LEDGER),
            ("commands in force, in memory", LEDGER * slots_max),
            ("records in force, a partition", RECORDS_MAX),
            ("names of operations, a partition", NAMES_MAX),
            ("trust domains counted one by one, a partition", DOMAINS_MAX),
            ("operations known, a policy", OPERATIONS_MAX),
            ("texts known by their hash, a kind", CACHE_MAX),
            ("texts known, characters", CACHED_CHARACTERS_MAX),
            ("workloads with operators' acts", OPERATORS_MAX),
            ("zones", ZONES_MAX),
            ("baselines kept for workers", KEPT),
        )
    ]


def _clean(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {each: _clean(each, inner) for each, inner in value.items()}
    is_secret = any(word in name for word in SECRET_WORDS)
    # Where a secret is kept may be said; the secret itself may not.
    if is_secret and not name.endswith(("_file", "_env")) and value:
        return HIDDEN
    return value
