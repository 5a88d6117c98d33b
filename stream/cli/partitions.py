"""`partitions grow`: have more partitions, while everything goes on.

Nothing here decides anything: partitions are added, `journal` first, and the workers do the rest,
each parent in its own time (`stream.runtime.growth`). So the verb may be ended and run again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, NamedTuple

import click
import msgspec

from stream.bus import KafkaReader, KafkaTopics
from stream.config import Config, load_config
from stream.errors import ConfigError
from stream.runtime import Counts, extended, known_counts, parent_of
from stream.store import Checkpoint, RedisStore

from .doors import opened, wait_for
from .failure import NotSo
from .options import SpanType, examples, json_option, reaching
from .screen import Screen

LOOK_EVERY_S: Final = 0.2
SPAN: Final = SpanType(1_000, 86_400_000)


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: the numbers of partitions there have been, and how long the last step took."""

    requests: str
    counts: tuple[int, ...]
    was: int
    to: int
    is_dry_run: bool
    took_s: float


class _Standing(NamedTuple):
    """How far partitions are: which have not handed over, and which new ones do not run yet."""

    uncut: list[int]
    unborn: list[int]
    idle: list[int]

    @property
    def is_done(self) -> bool:
        return not (self.uncut or self.unborn or self.idle)

    def __str__(self) -> str:
        parts = (
            (self.uncut, "still to hand over"),
            (self.unborn, "not born yet"),
            (self.idle, "born, and not taken by a worker yet"),
        )
        return "; ".join(f"{_listed(which)} {what}" for which, what in parts if which)


@click.group(
    "partitions",
    epilog=examples(
        "enforcer partitions grow --to 12 --dry-run",
        "enforcer partitions grow --to 12 --json",
    ),
)
def partitions() -> None:
    """Have more partitions while events come."""


@partitions.command(
    "grow",
    epilog=examples(
        "enforcer partitions grow --to 12 --dry-run",
        "enforcer partitions grow --to 12",
    ),
)
@click.option("--to", "to", type=click.IntRange(2, 4_096), required=True, help="How many.")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Check everything, change nothing.")
@click.option(
    "--wait", "wait_ms", type=SPAN, default="10m", show_default=True, help="How long to watch."
)
@reaching
@json_option
def grow(
    *, to: int, is_dry_run: bool, wait_ms: int, environment: dict[str, str], is_json: bool
) -> None:
    """Multiply the partitions of `requests`, with `journal` and `dead-letters`.

    To a multiple of what there is. No profile is lost and nothing counts twice; workers need no
    restart. It waits until every partition has handed over to the new ones; ended early, it is run
    again and goes on. Partitions cannot be taken away again. Exit code 1 where not all is done in
    time, 78 where it may not be done.
    """
    config, screen = load_config("", environment), Screen(is_json=is_json)
    done = wait_for(_grow(config, to, screen, wait_s=0 if is_dry_run else wait_ms / 1_000))
    screen.emit(done)
    if is_dry_run:
        screen.line(f"{done.requests} can grow from {done.was} to {to} partitions")
        return
    screen.line(f"{done.requests} has {to} partitions, all at work after {done.took_s:.1f} s")
    screen.line(f"say so in the settings of workers: topics: {{partitions: {to}}}", "dim")


async def _grow(config: Config, to: int, screen: Screen, *, wait_s: float) -> Grown:
    """Check, add partitions and watch; with nothing to wait for, only check.

    Errors: ConfigError, NotSo, BusUnavailable, StoreUnavailable.
    """
    topics, began_s = config.topics, time.monotonic()
    async with (
        opened(KafkaTopics(config.kafka)) as admin,
        opened(KafkaReader(config.kafka)) as reader,
        opened(RedisStore(config.redis)) as store,
    ):
        found = await _counted(admin, config)
        counts = await known_counts(store, reader, topics, found[topics.requests])
        store.first_partitions = counts[0]
        wanted = extended(counts, to, found[topics.enforcement])
        standing = await _standing(store, counts)
        # Once more for the same number goes on watching; a second growth waits for the first.
        if to != counts[-1]:
            _check_ready(standing, counts)
        for name in (topics.journal, topics.dead_letters):
            if found[name] > to:
                raise ConfigError(
                    f"topic {name} has {found[name]} partitions, more than {to}",
                    hint=f"grow to {found[name]} or a multiple of it",
                )
        if wait_s:
            for name in (topics.journal, topics.dead_letters, topics.requests):
                if found[name] < to:
                    await admin.grow(name, to)
                    screen.note(f"{name} has {to} partitions, {found[name]} before")
            await _watch(store, wanted, screen, wait_s)
    return Grown(
        requests=topics.requests,
        counts=wanted,
        was=found[topics.requests],
        to=to,
        is_dry_run=not wait_s,
        took_s=round(time.monotonic() - began_s, 1),
    )


async def _counted(admin: KafkaTopics, config: Config) -> dict[str, int]:
    """Return how many partitions each topic has. Errors: ConfigError where one is missing."""
    topics = config.topics
    names = [topics.requests, topics.journal, topics.dead_letters, topics.enforcement]
    found = {each.name: each.partitions for each in await admin.describe(names)}
    for name in names:
        if name not in found:
            raise ConfigError(
                f"topic {name} does not exist", hint="`enforcer topics` creates what is missing"
            )
    return found


def _check_ready(standing: _Standing, counts: Counts) -> None:
    """Refuse to grow what is not at work. Errors: ConfigError."""
    if not standing.is_done:
        raise ConfigError(
            f"not every one of {counts[-1]} partitions is at work: {standing}",
            hint="start workers of this version, all of them, and wait until they are ready; an"
            f" earlier growth is watched by `enforcer partitions grow --to {counts[-1]}`",
        )


async def _watch(store: RedisStore, counts: Counts, screen: Screen, wait_s: float) -> None:
    """Wait until every partition counts by the last number. Errors: NotSo."""
    until_s, total = time.monotonic() + wait_s, 2 * counts[-1]
    with screen.progress("partitions", total) as show:
        while True:
            standing = await _standing(store, counts)
            left = len(standing.uncut) + 2 * len(standing.unborn) + len(standing.idle)
            show(total - left)
            if standing.is_done:
                return
            if time.monotonic() > until_s:
                raise NotSo(
                    f"not done after {wait_s:g} s: {standing}",
                    hint="nothing is lost: see that workers run and are ready, then run this again",
                )
            await asyncio.sleep(LOOK_EVERY_S)


async def _standing(store: RedisStore, counts: Counts) -> _Standing:
    """Return how far each partition is on its way to the last number of partitions."""
    found = await asyncio.gather(*(store.checkpoint(each) for each in range(counts[-1])))
    standing = _Standing([], [], [])
    for partition, checkpoint in enumerate(found):
        if checkpoint is None:
            is_new = parent_of(counts, partition) is not None
            (standing.unborn if is_new else standing.uncut).append(partition)
        elif checkpoint.birth is not None:
            standing.idle.append(partition)
        elif not _counts_by(checkpoint, counts):
            standing.uncut.append(partition)
    return standing


def _counts_by(checkpoint: Checkpoint, counts: Counts) -> bool:
    return checkpoint.counts == counts


def _listed(which: list[int]) -> str:
    few = ", ".join(map(str, which[:8]))
    return f"partition {few}" if len(which) <= 8 else f"{len(which)} partitions ({few}, ...)"
