"""`dlq`: the dead letters, one by one or by filter, and another try for them that counts once."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import click
import msgspec

from stream.bus import KafkaReader
from stream.config import load_config
from stream.errors import BusUnavailable
from stream.events import Origin

from .dlq_retry import TOLD_MAX, Plan, Tally, retry_letters, spelled
from .doors import opened, wait_for
from .failure import NOT_SO, NotSo
from .letters import Choice, Found, find, newest, read_markers, workload_of
from .options import SpanType, configured, examples, json_option
from .plain import escaped
from .screen import Cell, Screen
from .times import ago, moment

LIMIT_MAX: Final = 10_000
RETRY_MAX: Final = 1_000_000
SPAN: Final = SpanType(1_000, 366 * 86_400_000)


class OriginType(click.ParamType[Origin]):
    """Where a record stood: TOPIC/PARTITION/OFFSET, as `dlq list` prints it.

    Of a record with several events /ORDINAL says which, where it is not the first.
    """

    name = "topic/partition/offset"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Origin:
        """Return the origin. Errors: BadParameter."""
        if isinstance(value, Origin):
            return value
        topic, *place = str(value).split("/")
        is_place = all(each.isdecimal() and len(each) < 19 for each in place)
        if not topic or not is_place or not 2 <= len(place) <= 3:
            self.fail(f"{value!r:.80} is not like requests/3/1234, see `enforcer dlq list`")
        return Origin(topic, *map(int, place))


ORIGIN: Final = OriginType()
_FILTERS: Final = (
    click.option("--code", "codes", multiple=True, metavar="CODE", help="With this reject code."),
    click.option("--topic", default="", help="From this topic."),
    click.option("--partition", type=click.IntRange(0), help="From this partition."),
    click.option("--from-offset", type=click.IntRange(0), help="From this offset on."),
    click.option("--to-offset", type=click.IntRange(0), help="Up to this offset, with it."),
    click.option("--since", "since_ms", type=SPAN, help="Not older than this: 90s, 24h, 7d."),
    click.option("--until", "until_ms", type=SPAN, help="Older than this."),
    click.option("--workload", default="", help="Whose workload, where one can be read, has this."),
)


def filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose letters; the command gets `choice`."""

    @functools.wraps(command)
    def with_choice(**given: Any) -> Any:
        now_ms = time.time_ns() // 1_000_000
        since_ms, until_ms = given.pop("since_ms"), given.pop("until_ms")
        choice = Choice(
            codes=frozenset(given.pop("codes")),
            topic=given.pop("topic"),
            partition=given.pop("partition"),
            first_offset=given.pop("from_offset"),
            last_offset=given.pop("to_offset"),
            since_ms=None if since_ms is None else now_ms - since_ms,
            until_ms=None if until_ms is None else now_ms - until_ms,
            workload=given.pop("workload"),
        )
        return command(choice=choice, **given)

    for each in reversed(_FILTERS):
        with_choice = each(with_choice)
    return with_choice


_reaching = configured("config", "kafka", "prefix")


@click.group(
    "dlq",
    epilog=examples(
        "enforcer dlq list --since 1h",
        "enforcer dlq show requests/3/1234 --json",
        "enforcer dlq retry --code wrong_type",
    ),
)
def dlq() -> None:
    """List, show and retry what was no event.

    A record of `requests`, or of a zone, that is no event goes to the dead-letter topic with a
    code, a sentence and its bytes. A letter is named by where its record stood:
    TOPIC/PARTITION/OFFSET, and /ORDINAL for any but the first event of a record that has several.
    """


@dlq.command(
    "list",
    epilog=examples(
        "enforcer dlq list",
        "enforcer dlq list --code wrong_type --since 1h --workload spiffe://prod/",
        "enforcer dlq list --json | jq -r '.letters[].origin'",
    ),
)
@filtered
@click.option("--new", "is_new", is_flag=True, help="Only those that nobody has retried.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=100,
    show_default=True,
    help="At most so many, the newest.",
)
@_reaching
@json_option
def list_letters(
    *, choice: Choice, is_new: bool, limit: int, environment: dict[str, str], is_json: bool
) -> None:
    """List dead letters, the newest last.

    Times are those of the records, as the broker had them.
    """
    config, screen = load_config("", environment), Screen(is_json=is_json)
    if is_new:
        choice = msgspec.structs.replace(choice, state="new")

    async def read() -> tuple[list[Found], int, Counter[str]]:
        async with opened(KafkaReader(config.kafka)) as reader:
            markers = await read_markers(reader, config.topics.dead_letters)
            letters = find(reader, config.topics.dead_letters, markers, choice)
            return *(await newest(letters, limit)), markers.unreadable

    found, count, unreadable = wait_for(read())
    shown = [_values(each) for each in found]
    screen.emit({"letters": shown, "found": count, "unreadable": dict(unreadable)})
    now_ms = time.time_ns() // 1_000_000
    columns = ("origin", "when", "code", "state", "bytes", "workload", "message")
    screen.table("", columns, [_row(each, now_ms) for each in found], "no dead letters")
    if count > len(found):
        screen.line(f"the newest {len(found):,} of {count:,}; --limit shows more", "dim")
    _note_unreadable(screen, unreadable)


@dlq.command("show", epilog=examples("enforcer dlq show requests/3/1234"))
@click.argument("origin", type=ORIGIN)
@_reaching
@json_option
def show(*, origin: Origin, environment: dict[str, str], is_json: bool) -> None:
    """Show one dead letter with its bytes.

    Whatever is not printable is shown as its escape; `--json` has the bytes as base64.
    """
    config, screen = load_config("", environment), Screen(is_json=is_json)

    async def read() -> list[Found]:
        async with opened(KafkaReader(config.kafka)) as reader:
            markers = await read_markers(reader, config.topics.dead_letters)
            choice = Choice(origins=frozenset({origin}))
            letters = find(reader, config.topics.dead_letters, markers, choice)
            return [each async for each in letters]

    found = wait_for(read())
    if not found:
        raise NotSo(f"there is no dead letter of {origin}", hint="see `enforcer dlq list`")
    each = found[0]
    screen.emit(_values(each) | {"raw": each.letter.raw})
    try:
        raw = each.letter.payload().decode("utf-8", "backslashreplace")
    except ValueError as error:
        raw = f"({error})"
    letter = each.letter
    screen.facts(
        str(origin),
        [
            ("code", letter.code),
            ("message", letter.message),
            ("when", moment(each.at_ms)),
            ("state", each.state),
            ("workload", workload_of(letter) or "-"),
            ("bytes", f"{letter.raw_bytes:,}{', cut' if letter.truncated else ''}"),
            ("raw", raw),
        ],
    )


@dlq.command(
    "retry",
    epilog=examples(
        "enforcer dlq retry requests/3/1234",
        "enforcer dlq retry --code wrong_type --since 1h --dry-run",
        "enforcer dlq retry --all",
    ),
)
@click.argument("origins", nargs=-1, type=ORIGIN, metavar="[ORIGIN...]")
@filtered
@click.option("--all", "is_all", is_flag=True, help="Every letter, where nothing else is said.")
@click.option("--as-is", is_flag=True, help="Send also what is still no event.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option(
    "--limit",
    type=click.IntRange(1, RETRY_MAX),
    default=10_000,
    show_default=True,
    help="Send at most so many.",
)
@_reaching
@json_option
def retry(
    *,
    origins: tuple[Origin, ...],
    choice: Choice,
    is_all: bool,
    as_is: bool,
    dry_run: bool,
    limit: int,
    environment: dict[str, str],
    is_json: bool,
) -> int:
    """Send the records of dead letters again, each at most once.

    They go to the home partitions of their workloads (those of a zone to the zone's topic, where
    they are screened again), in transactions that also mark the letters:
    a letter that is marked is never sent again, whoever asks and whatever crashed. A second `retry`
    ends the first. What is still no event is refused without --as-is, and what was cut to a bound
    always. Exit code 1 if nothing was sent, or an ORIGIN has no letter.
    """
    if not (origins or is_all or choice != Choice()):
        raise click.UsageError("say which: an ORIGIN, a filter, or --all")
    config, screen = load_config("", environment), Screen(is_json=is_json)
    choice = msgspec.structs.replace(choice, origins=frozenset(origins))
    plan = Plan(choice, limit, as_is=as_is, dry_run=dry_run)
    tally = Tally(screen)
    try:
        wait_for(retry_letters(config, plan, tally))
    except BusUnavailable as error:
        raise BusUnavailable(
            f"{error.message}; {tally.counts['retried']:,} were sent before",
            hint="repeat it: what was sent is marked, and is not sent again",
        ) from error
    missing = sorted(map(str, tally.missing))
    screen.emit(
        {
            "outcomes": dict(tally.counts),
            "letters": tally.kept,
            "is_dry_run": dry_run,
            "left": tally.left,
            "missing": missing,
            "unreadable": dict(tally.unreadable),
        }
    )
    screen.line(spelled(tally.counts, dry_run=dry_run) or "no letter is meant by that")
    if tally.left:
        screen.line(f"{tally.left:,} more are left to be sent: --limit is {limit:,}", "yellow")
    for each in missing[:TOLD_MAX]:
        screen.note(f"{each}: there is no dead letter of it that is meant", "yellow")
    if len(missing) > TOLD_MAX:
        screen.note(f"... {len(missing):,} in all have no letter", "yellow")
    _note_unreadable(screen, tally.unreadable)
    return 0 if tally.counts["retried"] and not missing else NOT_SO


def _values(each: Found) -> dict[str, Any]:
    letter = each.letter
    return {
        "origin": str(letter.origin),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "ordinal": letter.ordinal,
        "at_ms": each.at_ms,
        "code": letter.code,
        "message": letter.message,
        "state": each.state,
        "workload": workload_of(letter),
        "raw_bytes": letter.raw_bytes,
        "truncated": letter.truncated,
    }


def _row(each: Found, now_ms: int) -> tuple[Cell, ...]:
    letter = each.letter
    return (
        str(letter.origin),
        ago(each.at_ms, now_ms),
        letter.code,
        (each.state, "dim" if each.state == "retried" else ""),
        letter.raw_bytes,
        escaped(workload_of(letter), 80) or "-",
        escaped(letter.message, 160),
    )


def _note_unreadable(screen: Screen, unreadable: Counter[str]) -> None:
    if unreadable["newer"]:
        screen.note(f"{unreadable['newer']:,} letters are of a newer version: upgrade this one")
    if unreadable["malformed"]:
        screen.note(f"{unreadable['malformed']:,} records are no letters")
