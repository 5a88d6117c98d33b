"""Dead letters in memory: which are meant, which may be tried again, and each only once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import pytest

from stream.bus import MemoryLog, MemoryReader, MemoryTogether, MemoryTopics, Sending, TopicSpec
from stream.cli.dlq import ORIGIN
from stream.cli.dlq_retry import spelled
from stream.cli.letters import (
    Choice,
    Found,
    Retrier,
    Target,
    Tried,
    find,
    judged,
    newest,
    read_markers,
    workload_of,
)
from stream.errors import OwnershipLost
from stream.events import (
    DeadLetter,
    Origin,
    Reject,
    RejectCode,
    Request,
    dead_letter,
    encode_request,
    encode_request_msgpack,
    marker_key,
    origin_of_marker,
)
from stream.identity import home_partition
from tests.buses import WallClock

AGENT = "spiffe://Test.example/agents/a"
KEY = b"spiffe://test.example/agents/a"
NOW_MS = 1_700_000_000_000
TARGET = Target("requests", {"requests": 6}, "dead", "me@here")
GOOD = encode_request(Request(at_ms=NOW_MS, workload=AGENT, operation="GET /a"))


def letter(offset: int, raw: bytes = GOOD, **changes: Any) -> DeadLetter:
    """The letter of a record."""
    values = {
        "code": RejectCode.WRONG_TYPE,
        "message": "no",
        "topic": "requests",
        "partition": offset % 3,
        "append_ms": NOW_MS + offset,
    }
    return dead_letter(Reject(offset=offset, raw=raw, **(values | changes)))


class Desk:
    """A dead-letter topic and a topic of requests in memory."""

    def __init__(self, name: str = "dead") -> None:
        self.name = name
        self.clock = WallClock()
        self.log = MemoryLog(self.clock)

    async def make(self, letters: Iterable[DeadLetter] = ()) -> None:
        specs = [TopicSpec(name=self.name, partitions=3), TopicSpec(name="requests", partitions=6)]
        await MemoryTopics(self.log).ensure(specs)
        for each in letters:
            self.log.append(self.name, each.partition % 3, None, msgspec.json.encode(each))

    async def found(self, choice: Choice | None = None) -> list[Found]:
        reader = MemoryReader(self.log)
        markers = await read_markers(reader, "dead")
        return [each async for each in find(reader, "dead", markers, choice or Choice())]

    async def retrier(self, publisher: MemoryTogether) -> Retrier:
        return Retrier(
            publisher, await read_markers(MemoryReader(self.log), "dead"), TARGET, self.clock
        )

    def sent(self) -> list[bytes | None]:
        return [each.value for part in self.log.partitions("requests") for each in part.records]


def at_desk(scene: Callable[[Desk], Awaitable[None]], *letters: DeadLetter) -> None:
    """Play a scene over some letters."""

    async def play() -> None:
        desk = Desk()
        await desk.make(letters)
        await scene(desk)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("choice", "offsets"),
    [
        (Choice(), {0, 1, 2, 3}),
        (Choice(codes=frozenset({"malformed"})), {1}),
        (Choice(partition=0), {0, 3}),
        (Choice(topic="requests.zone"), {2}),
        (Choice(first_offset=1, last_offset=2), {1, 2}),
        (Choice(since_ms=NOW_MS + 1, until_ms=NOW_MS + 3), {1, 2}),
        (Choice(workload="agents/a"), {0, 2, 3}),
        (Choice(origins=frozenset({Origin("requests", 0, 3)})), {3}),
        (Choice(state="retried"), set()),
    ],
)
def test_each_filter(choice: Choice, offsets: set[int]) -> None:
    """A choice takes exactly the letters that pass all its filters, each origin once."""
    letters = [
        letter(0),
        letter(1, b"{", code=RejectCode.MALFORMED),
        letter(2, topic="requests.zone"),
        letter(3),
        letter(3),
    ]

    async def scene(desk: Desk) -> None:
        found = await desk.found(choice)
        assert sorted(each.letter.offset for each in found) == sorted(offsets)

    at_desk(scene, *letters)


def test_retry_marks_and_counts_once() -> None:
    """Event and marker are there together; twice in one group, or again, it is sent once."""

    async def scene(desk: Desk) -> None:
        publisher = MemoryTogether(desk.log, "retry")
        await publisher.start()
        retrier = await desk.retrier(publisher)
        found = await desk.found()
        tried = await retrier.retry([*found, *found], as_is=False)
        assert sorted(each.outcome for each in tried) == ["already retried", "retried"]
        assert desk.sent() == [GOOD]
        home = home_partition(KEY, 6)
        assert desk.log.partitions("requests")[home].records[0].key == KEY
        again = await (await desk.retrier(publisher)).retry(await desk.found(), as_is=False)
        assert [each.outcome for each in again] == ["already retried"]
        other = MemoryTogether(desk.log, "retry")
        await other.start()
        with pytest.raises(OwnershipLost):
            await publisher.send_all([Sending("requests", 0, b"k", b"v")])

    at_desk(scene, letter(4))


def test_one_event_of_a_record_is_retried_alone() -> None:
    """Letters of one record are told apart; the one that is meant goes, and is marked, alone."""

    async def scene(desk: Desk) -> None:
        publisher = MemoryTogether(desk.log, "retry")
        await publisher.start()
        retrier = await desk.retrier(publisher)
        assert len(await desk.found()) == 3
        second = ORIGIN.convert("requests/1/4/2", None, None)
        assert str(second) == "requests/1/4/2"
        [found] = await desk.found(Choice(origins=frozenset({second})))
        assert found.letter.payload() == others[1]
        await retrier.retry([found], as_is=False)
        assert desk.sent() == [others[1]]
        states = {each.letter.ordinal: each.state for each in await desk.found()}
        assert states == {0: "new", 1: "new", 2: "retried"}

    others = [GOOD.replace(b"GET /a", b"GET /%d" % each) for each in (1, 2)]
    parts = [letter(4, others[each - 1], ordinal=each) for each in (1, 2)]
    at_desk(scene, letter(4), *parts)


def test_a_letter_whose_marker_may_be_gone_is_refused() -> None:
    """Where the topic lost its head, only letters of records younger than what is left are sure."""

    async def scene(desk: Desk) -> None:
        desk.clock.at_ms = NOW_MS + 100
        for each in (letter(3), letter(300)):
            desk.log.append("dead", 0, None, msgspec.json.encode(each))
        assert all(each.is_sure for each in await desk.found())
        desk.log.cut("dead", 0, 1)
        assert [each.is_sure for each in await desk.found()] == [False, True]
        tried = [judged(each, TARGET, as_is=True) for each in await desk.found()]
        assert isinstance(tried[0], Tried)
        assert (tried[0].outcome, isinstance(tried[1], Sending)) == ("too old", True)

    at_desk(scene, letter(0))


@pytest.mark.parametrize(
    ("raw", "changes", "outcome"),
    [
        (b"{", {}, "not an event"),
        (b'{"at_ms":1,"workload":"spiffe://a/../b","operation":"x"}', {}, "not an event"),
        (b'{"x":' + b"[" * 9_000, {}, "not an event"),
        (b"x" * 20_000, {}, "cut"),
        (GOOD, {"topic": "enforcement"}, "foreign topic"),
    ],
)
def test_what_is_not_sent(raw: bytes, changes: dict[str, Any], outcome: str) -> None:
    """Each refusal by its name; as it is, only what is still no event may go, to its partition."""
    found = Found(letter(4, raw, **changes), 0, 0, NOW_MS, "new", is_sure=True)
    tried = judged(found, TARGET, as_is=False)
    assert isinstance(tried, Tried)
    assert (tried.outcome, bool(tried.message)) == (outcome, True)
    as_is = judged(found, TARGET, as_is=True)
    if outcome == "not an event":
        assert as_is == Sending("requests", 1, None, raw)
    else:
        assert as_is == tried


def test_newest_letters_of_all_partitions() -> None:
    """The list is the last by time over all partitions, and says how many there were."""

    async def scene(desk: Desk) -> None:
        reader = MemoryReader(desk.log)
        letters = find(reader, "dead", await read_markers(reader, "dead"), Choice())
        found, count = await newest(letters, 4)
        assert ([each.letter.offset for each in found], count) == ([6, 7, 8, 9], 10)

    at_desk(scene, *(letter(each) for each in range(10)))


def test_hostile_records_of_the_topic() -> None:
    """What is no letter or marker is counted, a newer one as such; no key makes a false marker."""

    async def scene(desk: Desk) -> None:
        newer = msgspec.json.encode(letter(1)).replace(b'"code"', b'"format":3,"code"', 1)
        for key, value in [
            (None, b""), (None, b"[" * 5_000), (None, newer), (None, b"\xff"),
            (b"retried", b"{}"), (b'["retried","requests",0]', b"{}"), (b"[" * 9_000, b""),
            (b'["other","requests",0,4]', b"{}"), (b'["retried","requests",0,"4"]', b"{}"),
        ]:  # fmt: skip
            desk.log.append("dead", 0, key, value)
        reader = MemoryReader(desk.log)
        markers = await read_markers(reader, "dead")
        found = [each async for each in find(reader, "dead", markers, Choice())]
        assert [each.state for each in found] == ["new"]
        assert markers.unreadable == {"malformed": 3, "newer": 1}

    at_desk(scene, letter(4))


def test_workload_of_what_is_no_event() -> None:
    """A name is read from JSON and msgpack as far as it can be, else there is none."""
    assert workload_of(letter(1)) == AGENT
    request = Request(at_ms=1, workload=AGENT, operation="x")
    assert workload_of(letter(1, encode_request_msgpack(request))) == AGENT
    assert workload_of(letter(1, b'{"workload":"a\xff"}')) == ""
    assert workload_of(letter(1, b'{"workload":7}')) == ""
    assert workload_of(msgspec.structs.replace(letter(1), raw="not base64!")) == ""


def test_a_marker_key_is_its_origin() -> None:
    """Key and origin are one to one, whatever stands in a topic's name."""
    origins = [Origin("requests", 0, 4), Origin('a","b', 3, 2**62), Origin("", -1, 0)]
    for origin in [*origins, Origin("requests", 0, 4, 7)]:
        assert origin_of_marker(marker_key(origin)) == origin


def test_a_dry_run_has_retried_nothing() -> None:
    """What was retried before is no part of what would be."""
    counts = {"retried": 5, "already retried": 3}
    assert spelled(counts, dry_run=True) == "3 already retried, 5 would be retried"
    assert spelled(counts, dry_run=False) == "3 already retried, 5 retried"
