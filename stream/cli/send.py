"""`send`: recorded events to Kafka, as a gateway would have sent them, at a chosen pace."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final

import click
import msgspec

from stream.bus import KafkaPublisher
from stream.config import Config, load_config
from stream.errors import EnforcerError, PolicyError
from stream.policy import rate

from .doors import opened, wait_for
from .failure import INTERRUPTED, NOT_SO, NotSo
from .faults import FaultNotes
from .options import INPUT, examples, json_option, reaching
from .reading import total_bytes
from .recorded import EventFeed, Recorded
from .screen import Screen

IN_FLIGHT_MAX: Final = 5_000
LOOK_AGAIN_S: Final = 0.005


class PaceType(click.ParamType[float]):
    """So many events a second: `500`, `500/s`, `30/m`."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return events a second. Errors: BadParameter."""
        text = str(value)
        try:
            found = rate(text if "/" in text else f"{text}/s")
        except PolicyError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)
        return found.permits * 1_000 / found.per_ms


class Sent(msgspec.Struct):
    """How far a sending is."""

    events: int = 0
    acknowledged: int = 0
    seconds: float = 0.0


@click.command(
    "send",
    epilog=examples(
        "enforcer send events.jsonl.gz",
        "enforcer send events.jsonl --now --speed 60",
        "enforcer send events.jsonl --rate 500/s",
        "ENFORCER_ZONE=eu enforcer send events.jsonl     as a gateway of that zone",
        "tail -F access.log | enforcer convert --format nginx | enforcer send -",
    ),
)
@click.argument("files", nargs=-1, required=True, type=INPUT, metavar="FILE...")
@click.option("--rate", "per_s", type=PaceType(), help="So many events a second: 500/s, 30/m.")
@click.option(
    "--speed",
    type=click.FloatRange(0.001, 1_000_000),
    help="As recorded, but so many times as fast; 1 is as it was.",
)
@click.option("--now", "is_now", is_flag=True, help="Shift all times, so that the last is now.")
@reaching
@json_option
def send(
    *,
    files: tuple[str, ...],
    per_s: float | None,
    speed: float | None,
    is_now: bool,
    environment: dict[str, str],
    is_json: bool,
) -> int:
    """Send recorded events to Kafka.

    Each line of a FILE (`-` for stdin, gzip is recognised) is one event in JSON. Its key is its
    workload in canonical form. Without --rate or --speed they go as fast as Kafka takes them. Lines
    that are no events are told, counted and left out; exit code 1 if there was nothing to send.
    What ends it early says how many were sent before.
    """
    if per_s is not None and speed is not None:
        raise click.UsageError("choose one of --rate and --speed")
    config, screen = load_config("", environment), Screen(is_json=is_json)
    faults, sent = FaultNotes(screen), Sent()
    zone = config.gateway.zone
    topic = config.topics.zone_topic(zone) if zone else config.topics.requests
    interrupted = False
    with screen.progress("sending", total_bytes(files)) as advance:
        feed = EventFeed(files, faults, advance, is_now=is_now)
        try:
            wait_for(_send_all(config, topic, (feed, sent), per_s, speed))
        except KeyboardInterrupt:
            interrupted = True
        except EnforcerError as error:
            raise type(error)(f"{error.message}; {_so_far(sent)}", hint=error.hint) from error
    screen.emit({**msgspec.structs.asdict(sent), "faults": dict(faults.counts)})
    pace = sent.acknowledged / sent.seconds if sent.seconds else 0
    screen.line(
        f"{sent.acknowledged:,} events sent to {topic} in {sent.seconds:.1f} s "
        f"({pace:,.0f}/s), {faults.spelled()}"
    )
    if interrupted:
        return INTERRUPTED
    return 0 if sent.acknowledged else NOT_SO


def _so_far(sent: Sent) -> str:
    """Return what was sent before an error, in words."""
    unsure = sent.events - sent.acknowledged
    more = f", and {unsure:,} more may have been" if unsure else ""
    return f"{sent.acknowledged:,} events were sent before{more}"


async def _send_all(
    config: Config,
    topic: str,
    what: tuple[EventFeed, Sent],
    per_s: float | None,
    speed: float | None,
) -> None:
    """Send what a feed gives; everything sent is acknowledged at the end. Mutates: the Sent.

    Errors: BusUnavailable, ConfigError, NotSo.
    """
    waiting: deque[Awaitable[int]] = deque()
    feed, sent = what
    async with opened(KafkaPublisher(config.kafka)) as publisher:
        began_s = time.monotonic()
        try:
            async for event in _paced(feed, began_s, per_s, speed):
                waiting.append(await publisher.send(topic, event.key, event.payload))
                sent.events += 1
                await _acknowledged(waiting, IN_FLIGHT_MAX, sent)
            await _acknowledged(waiting, 0, sent)
        except NotSo:
            # A file that breaks off takes nothing back of what it gave before.
            await _acknowledged(waiting, 0, sent)
            raise
        finally:
            sent.seconds = round(time.monotonic() - began_s, 3)


async def _acknowledged(waiting: deque[Awaitable[int]], most: int, sent: Sent) -> None:
    """Wait until at most so many are not acknowledged. Mutates: waiting, sent."""
    while len(waiting) > most:
        await waiting.popleft()
        sent.acknowledged += 1


async def _paced(
    feed: EventFeed, began_s: float, per_s: float | None, speed: float | None
) -> AsyncIterator[Recorded]:
    """Yield the events of a feed, each when it is due."""
    first_ms: int | None = None
    number = 0
    while (event := feed.take()) is not None:
        if event is EventFeed.WAIT:
            await asyncio.sleep(LOOK_AGAIN_S)
            continue
        first_ms = event.at_ms if first_ms is None else first_ms
        due_s = 0.0
        if per_s is not None:
            due_s = number / per_s
        elif speed is not None:
            due_s = (event.at_ms - first_ms) / 1_000 / speed
        left_s = began_s + due_s - time.monotonic()
        if left_s > 0:
            await asyncio.sleep(left_s)
        number += 1
        yield event
