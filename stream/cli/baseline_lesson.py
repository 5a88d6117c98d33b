"""What the topic of requests holds, as tasks: for `--live` of `baseline learn` and of `drift`.

Each partition is read once, from one offset to another, as its owner reads it: events at home,
forwarded ones once. To be learned from they are judged first: what the policy and the baseline in
force would answer with a command is held aside, in a file that an operator may read, and give back
with what is to be learned all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final, NamedTuple

import msgspec

from stream.baselines import Aside, decode_baseline, run_name
from stream.bus import Bounds, KafkaReader, LogReader, Record
from stream.config import Config
from stream.enforcement import NOTHING_EXPECTED, Expectation
from stream.events import Conditions
from stream.kernel import HashKey
from stream.policy import Policy, PolicySpec, compile_policy, load_policy
from stream.replay import History, Lesson
from stream.runtime import Library, conditions_in
from stream.signing import trust_of

from .doors import opened
from .failure import NotSo
from .reading import read_lines
from .screen import Screen

READ_OFFSETS: Final = 5_000
LOOK_OFFSETS: Final = 64
JOURNAL_OFFSETS: Final = 1_000
LINE_BYTES_MAX: Final = 32 * 1024
RELEASED_MAX: Final = 100_000

_Text = Annotated[str, msgspec.Meta(max_length=4_096)]
_Time = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class AsideLine(msgspec.Struct, frozen=True, kw_only=True):
    """A task that is held aside, a line of JSON; `task` is empty for calls without one.

    `run_ms` is when its run began, where a part of it had taught before `began_ms`.
    """

    workload: _Text
    task: _Text
    began_ms: _Time
    purpose: _Text = ""
    ended_ms: _Time = 0
    run_ms: _Time = 0
    calls: int = 0
    rules: tuple[str, ...] = ()


class Range(msgspec.Struct, frozen=True):
    """What is read of a partition: the offsets in [from_offset, to_offset)."""

    partition: int
    from_offset: int
    to_offset: int


Counts = dict[int, list[tuple[int, int]]]
"""By partition, how many partitions there were, each number with the first offset it held at."""


class Judge(NamedTuple):
    """Under what events are judged, and which of them lie at home."""

    policy: Policy
    expectation: Expectation
    counts: Counts


class InForce(NamedTuple):
    """What the journals say: the policy's text, the baseline's version, the partitions."""

    policy_text: str
    version: str
    counts: Counts


class Wanted(NamedTuple):
    """What is to be learned from: how old, under which policy, and what of it in any case.

    Units: `since_ms` Unix milliseconds. Without a policy the one that the journal names holds.
    """

    since_ms: int = 0
    policy: Policy | None = None
    released: frozenset[tuple[int, int]] = frozenset()


class Learned(NamedTuple):
    """What the topic of requests teaches, and under what it was judged."""

    history: History
    ranges: list[Range]
    policy: Policy
    baseline: str


_NO_RULES: Final = compile_policy(PolicySpec(name="no-rules", rules=()))
_lines = msgspec.json.Decoder(AsideLine)
_encoder = msgspec.json.Encoder()


def aside_line(each: Aside) -> bytes:
    """Return a task that is held aside as a line of JSON."""
    workload, task, purpose = each.texts
    return _encoder.encode(
        AsideLine(
            workload=workload,
            task=task,
            purpose=purpose,
            began_ms=each.first_ms,
            run_ms=each.run_ms,
            ended_ms=each.ended_ms,
            calls=each.calls,
            rules=each.rules,
        )
    )


def released_in(file: str, key: HashKey) -> frozenset[tuple[int, int]]:
    """Return the tasks of a file of `AsideLine`, by workload and name. Errors: NotSo."""
    found: set[tuple[int, int]] = set()
    for line in read_lines([file], LINE_BYTES_MAX):
        if not line.data.strip():
            continue
        try:
            said = _lines.decode(line.data)
        except (ValueError, RecursionError) as error:
            raise NotSo(
                f"{file}:{line.number} is no task: {error}",
                hint="write the file with --aside, and leave the lines of what may be learned",
            ) from error
        name = said.began_ms + 1
        if said.task:
            name = run_name(key.hash(said.task), said.run_ms or said.began_ms)
        found.add((key.hash(said.workload), name))
        if len(found) > RELEASED_MAX:
            raise NotSo(f"{file} releases more than {RELEASED_MAX:,} tasks")
    return frozenset(found)


async def learn_live(config: Config, key: HashKey, wanted: Wanted, screen: Screen) -> Learned:
    """Return what the topic of requests teaches, as far as it goes now.

    Errors: NotSo, BusUnavailable, ConfigError, PolicyError.
    """
    async with opened(KafkaReader(config.kafka)) as reader:
        held = await _in_force(reader, config)
        policy = wanted.policy or load_policy(held.policy_text, "journal")
        expectation, data = NOTHING_EXPECTED, await _baseline(reader, config, held.version)
        if data is not None:
            expectation = Expectation(decode_baseline(data, held.version), held.version, key)
        elif held.version:
            said = f"baseline {held.version} is in force and not kept: nothing is compared"
            screen.note(said, "yellow")
        judge = Judge(policy, expectation, held.counts)
        history, ranges = await _read(reader, config, (key, wanted, judge), screen)
    return Learned(history, ranges, policy, expectation.version)


async def sample_live(
    config: Config, key: HashKey, since_ms: int, screen: Screen
) -> tuple[History, list[Range], memoryview | None]:
    """Return all tasks that the topic of requests holds, and the bytes of the baseline in force.

    Errors: NotSo, BusUnavailable, ConfigError.
    """
    async with opened(KafkaReader(config.kafka)) as reader:
        held = await _in_force(reader, config)
        data = await _baseline(reader, config, held.version)
        judge = Judge(_NO_RULES, NOTHING_EXPECTED, held.counts)
        under = key, Wanted(since_ms=since_ms), judge
        history, ranges = await _read(reader, config, under, screen)
    return history, ranges, data


async def _read(
    reader: LogReader, config: Config, under: tuple[HashKey, Wanted, Judge], screen: Screen
) -> tuple[History, list[Range]]:
    """Read what the log holds, and show how far it is."""
    ranges = await _ranges(reader, config.topics.requests, under[1].since_ms)
    total = sum(each.to_offset - each.from_offset for each in ranges)
    with screen.progress("reading", total) as advance:
        return await lessons(reader, config, under, ranges, advance), ranges


async def lessons(
    reader: LogReader,
    config: Config,
    under: tuple[HashKey, Wanted, Judge],
    ranges: Sequence[Range],
    advance: Callable[[int], None],
) -> History:
    """Return what these ranges of the topic of requests teach. Errors: BusUnavailable."""
    key, wanted, judge = under
    history, topic, done = History(key, wanted.released), config.topics.requests, 0
    for part in ranges:
        lesson = Lesson(history, key, (judge.policy, judge.expectation), (topic, part.partition))
        for start, end, count in _pieces(part, judge.counts[part.partition]):
            lesson.divide(count)
            records = await reader.read(topic, part.partition, start, end)
            _teach(lesson, [each for each in records if each.append_ms >= wanted.since_ms])
            done += end - start
            advance(done)
    return history


def _teach(lesson: Lesson, records: Sequence[Record]) -> None:
    lesson.take(
        [each.offset for each in records],
        [each.append_ms for each in records],
        [each.value for each in records],
    )


def _pieces(part: Range, counts: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return a range in pieces of at most READ_OFFSETS, each with its number of partitions."""
    pieces = []
    ends = [*(min(offset, part.to_offset) for offset, _ in counts[1:]), part.to_offset]
    start = part.from_offset
    for (_, count), until in zip(counts, ends, strict=True):
        while start < until:
            end = min(start + READ_OFFSETS, until)
            pieces.append((start, end, count))
            start = end
    return pieces


async def _in_force(reader: LogReader, config: Config) -> InForce:
    """Return what the journals say is in force. Errors: NotSo, and those of reading."""
    held = {
        partition: await _conditions(reader, config.topics.journal, partition, bounds)
        for partition, bounds in sorted((await reader.bounds(config.topics.journal)).items())
    }
    lasts = [each[-1] for each in held.values() if each]
    if not lasts:
        raise NotSo(
            "the journals name no policy: no worker has ever owned a partition here",
            hint="is ENFORCER_PREFIX that of the installation? files need no --live",
        )
    latest = max(lasts, key=lambda each: each.baseline.at_ms if each.baseline else 0)
    grown = max((each.growth.counts for each in lasts if each.growth), key=len, default=())
    first = grown[0] if grown else len(held)
    counts = {partition: _counts(some, first) for partition, some in held.items()}
    return InForce(latest.policy_text, latest.baseline_version, counts)


def _counts(held: Sequence[Conditions], first: int) -> list[tuple[int, int]]:
    """Return the numbers of partitions that an owner judged by, each with its first offset.

    Where owners were not of one mind, by the larger: what lies at home by the smaller only was
    forwarded by some of them, and nothing may be learned twice.
    """
    starts: dict[int, int] = {}
    for each in held:
        count = each.growth.counts[-1] if each.growth else first
        starts[count] = min(starts.get(count, each.from_offset), each.from_offset)
    return [(offset, count) for count, offset in sorted(starts.items())] or [(0, first)]


async def _conditions(
    reader: LogReader, topic: str, partition: int, bounds: Bounds
) -> list[Conditions]:
    """Return the conditions of a partition's log in the order in which they hold."""
    records: list[Record] = []
    for start in range(bounds.start, bounds.end, JOURNAL_OFFSETS):
        end = min(start + JOURNAL_OFFSETS, bounds.end)
        records += await reader.read(topic, partition, start, end)
    return conditions_in(records)


async def _baseline(reader: LogReader, config: Config, version: str) -> memoryview | None:
    """Return the bytes of a version, None where they are not kept. Errors: BusUnavailable."""
    topic = config.topics.baselines
    library = Library(reader, topic, trust_of(config.signing, topic))
    await library.look()
    return await library.fetch(version) if version else None


async def _ranges(reader: LogReader, topic: str, since_ms: int) -> list[Range]:
    """Return what the log holds of each partition from a time on."""
    ranges = []
    for partition, bounds in sorted((await reader.bounds(topic)).items()):
        start = await _first_since(reader, (topic, partition), bounds, since_ms)
        ranges.append(Range(partition, start, bounds.end))
    return ranges


async def _first_since(
    reader: LogReader, place: tuple[str, int], bounds: Bounds, since_ms: int
) -> int:
    """Return an offset before which nothing is as young, found by halving what is in doubt."""
    low, high = bounds
    while since_ms and high - low > LOOK_OFFSETS:
        middle = (low + high) // 2
        some = await reader.read(*place, middle, min(high, middle + LOOK_OFFSETS))
        if some and some[0].append_ms < since_ms:
            low = some[0].offset + 1
        else:
            high = middle
    return low
