"""`baseline promote`, `rollback`, `list --live`: which baseline is in force, and another one.

The words go to the topic of baselines, which every worker follows: its owner journals the version
in each partition, from its next event on, once it has the bytes. What is in force is read where it
is decided, in the journals.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

import click

from stream.baselines import BASELINE_BYTES_MAX, decode_baseline, version_of
from stream.bus import KafkaPublisher, KafkaReader, LogReader, read_through
from stream.config import Config, hash_key, load_config
from stream.errors import ConfigError
from stream.events import InForce
from stream.runtime import Library, Promoted, SystemClock, conditions_in, oldest_first
from stream.signing import trust_of

from .baseline_file import read_bytes
from .doors import opened, operator_keys, wait_for
from .failure import NotSo
from .operating import operator_name
from .options import SENTENCE, WHOLE_INPUT, examples, json_option, reaching
from .screen import Screen
from .times import moment

WAIT_S: Final = 10
WAIT_MAX_S: Final = 3_600
LOOK_S: Final = 0.2
NONE: Final = "none"

_reason = click.option(
    "--reason", required=True, type=SENTENCE, help="Why, for whoever reads `list --live`."
)
_wait = click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(0, WAIT_MAX_S),
    default=WAIT_S,
    show_default=True,
    help="So many seconds for every partition to journal it.",
)


class Live(NamedTuple):
    """What is in force by partition, None where nobody has said, and what the library holds."""

    held: dict[int, InForce | None]
    library: Library

    @property
    def latest(self) -> InForce | None:
        """Return what was said last in any partition."""
        said = [each for each in self.held.values() if each is not None]
        return max(said, key=lambda each: each.at_ms, default=None)

    def next_ms(self, now_ms: int) -> int:
        """Return a time after all that was said: clocks of others may be ahead."""
        said = [each.at_ms for each in self.held.values() if each is not None]
        if self.library.promoted is not None:
            said.append(self.library.promoted.at_ms)
        return max([now_ms, *(each + 1 for each in said)])

    def kept(self) -> set[str]:
        """Return the versions that must stay: in force, or before that."""
        said = [each for each in self.held.values() if each is not None]
        return {each.version for each in said} | {each.previous for each in said}


@click.command(
    "promote",
    epilog=examples('enforcer baseline promote learned.baseline --reason "June, reviewed"'),
)
@click.argument("file", type=WHOLE_INPUT)
@_reason
@_wait
@reaching
@json_option
def promote_file(
    *, file: str, reason: str, wait_s: int, environment: dict[str, str], is_json: bool
) -> None:
    """Let a baseline take effect everywhere.

    Each owner journals it and compares with it from its next event on. The one before is kept:
    `rollback` goes back. Exit code 1 if not every partition had it in time.
    """
    data = read_bytes(file, BASELINE_BYTES_MAX)
    made = decode_baseline(data, file)
    if environment.get("ENFORCER_HASH_KEY") or environment.get("ENFORCER_HASH_KEY_FILE"):
        key = hash_key(environment)
        if made.facts.key_id != key.id:
            raise ConfigError(
                f"{file} was learned under hash key {made.facts.key_id}, and {key.id} is in use",
                hint="learn it again with the installation's key",
            )
    version = version_of(data)
    screen = Screen(is_json=is_json)
    wait_for(_say(load_config("", environment), (version, data, reason), wait_s, screen))


@click.command("rollback", epilog=examples('enforcer baseline rollback --reason "too many alarms"'))
@_reason
@_wait
@reaching
@json_option
def rollback(*, reason: str, wait_s: int, environment: dict[str, str], is_json: bool) -> None:
    """Go back to the baseline that was in force before.

    Where there was none, nothing is compared any more. Exit code 1 where there is none to go back
    from, or if not every partition had it in time.
    """
    screen = Screen(is_json=is_json)
    wait_for(_say(load_config("", environment), (None, b"", reason), wait_s, screen))


async def tell_live(config: Config, screen: Screen) -> None:
    """Say which baseline is in force in each partition, and what the library holds."""
    async with _reading(config) as reader:
        found = await _live(config, reader)
    promoted = found.library.promoted
    held = oldest_first(found.library.held.values())
    screen.emit(
        {
            "partitions": [
                {
                    "partition": partition,
                    "version": each.version if each else "",
                    "previous": each.previous if each else "",
                    "since_ms": each.at_ms if each else 0,
                    "shed": each.shed if each else "",
                }
                for partition, each in sorted(found.held.items())
            ],
            "promoted": promoted,
            "kept": held,
        }
    )
    rows = [
        (partition, each.version or NONE, each.previous or NONE, each.shed or "-")
        for partition, each in sorted(found.held.items())
        if each is not None
    ]
    columns = ("partition", "in force", "before", "shed")
    screen.table("", columns, rows, "no partition has a baseline in force")
    kept = [(each.version, f"{each.bytes:,}", moment(each.at_ms)) for each in held]
    screen.table("kept for workers", ("version", "bytes", "since"), kept, "none is kept")
    if promoted is not None:
        screen.line(
            f"promoted last: {promoted.version or NONE}, {moment(promoted.at_ms)}"
            f" by {promoted.by or 'a worker'}: {promoted.reason or 'no reason given'}"
        )


async def _say(
    config: Config, what: tuple[str | None, bytes, str], wait_s: int, screen: Screen
) -> None:
    """Say which version is wanted, None for the one before, and wait until it is journalled."""
    version, data, reason = what
    now_ms = SystemClock().wall_ms()
    signer = operator_keys(config, config.topics.baselines).signer
    async with _reading(config) as reader, opened(KafkaPublisher(config.kafka)) as publisher:
        found = await _live(config, reader)
        if version is None:
            version = _before(found)
        if data:
            await found.library.put(publisher, data, now_ms, found.kept())
        promoted = Promoted(
            version=version, at_ms=found.next_ms(now_ms), by=operator_name(), reason=reason
        )
        await found.library.promote(publisher, promoted, signer)
        held = await _followed(config, reader, version, wait_s)
    there = sum(each is not None and each.version == version for each in held.values())
    screen.emit({"promoted": promoted, "in_force": there, "partitions": len(held)})
    name = f"baseline {version}" if version else "no baseline"
    if there < len(held):
        raise NotSo(
            f"{name} is promoted, and in force in {there} of {len(held)} partitions so far",
            hint="does a worker run? `enforcer baseline list --live` shows how far it is",
        )
    screen.line(f"{name} is in force in all {there} partitions", "green")


def _before(found: Live) -> str:
    """Return the version to go back to, empty for none. Errors: NotSo."""
    latest, asked = found.latest, found.library.promoted
    if asked is not None and (latest is None or asked.at_ms > latest.at_ms):
        # Not in force anywhere yet: what is taken back is that it was asked for.
        there = latest.version if latest is not None else ""
        if asked.version != there:
            return there
    if latest is None:
        raise NotSo("no baseline was ever in force", hint="`enforcer baseline promote` has one")
    if latest.previous and latest.previous not in found.library.held:
        raise NotSo(
            f"baseline {latest.previous}, the one before, is not kept any more",
            hint="promote its file again",
        )
    return latest.previous


@contextlib.asynccontextmanager
async def _reading(config: Config) -> AsyncIterator[LogReader]:
    async with opened(KafkaReader(config.kafka)) as reader:
        yield reader


async def _live(config: Config, reader: LogReader) -> Live:
    trust = trust_of(config.signing, config.topics.baselines)
    library = Library(reader, config.topics.baselines, trust)
    await library.look()
    return Live(await _held(config, reader), library)


async def _followed(
    config: Config, reader: LogReader, version: str, wait_s: int
) -> Mapping[int, InForce | None]:
    """Return what is in force once that is a version everywhere, or after a while."""
    loop = asyncio.get_running_loop()
    limit_s = loop.time() + wait_s
    while True:
        held = await _held(config, reader)
        is_there = all(each is not None and each.version == version for each in held.values())
        if is_there or loop.time() >= limit_s:
            return held
        await asyncio.sleep(LOOK_S)


async def _held(config: Config, reader: LogReader) -> dict[int, InForce | None]:
    """Return what the journals say is in force, for any event that comes from now on."""
    topic, held = config.topics.journal, {}
    ends = await reader.bounds(config.topics.requests)
    for partition, span in sorted((await reader.bounds(topic)).items()):
        records = [
            each async for some in read_through(reader, topic, partition, span) for each in some
        ]
        # An owner may have journalled it for an offset that is yet to come.
        end = ends[partition].end if partition in ends else 0
        said = [each for each in conditions_in(records) if each.from_offset <= end]
        held[partition] = said[-1].baseline or None if said else None
    return held
