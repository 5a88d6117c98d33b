"""What benchmarks feed: events, record batches made ahead, and a load without end."""

import asyncio
from collections import Counter, defaultdict

import pytest
from aiokafka.record.memory_records import MemoryRecords

from benchmarks.belt import BATCH_BYTES, Belt, pieces
from benchmarks.events import (
    ALARM_EVERY,
    Load,
    draws,
    events,
    recent,
    with_alarms,
    with_clocks_apart,
    with_late,
    with_offenders,
    workload_of,
)
from benchmarks.rounds import POLICY
from benchmarks.tide import DIGITS, MARK, Tide
from stream.events import decode_request
from stream.identity import home_partition
from stream.kernel import HashKey, is_compiled
from stream.policy import load_policy
from stream.profiles import Arrival, Decoder
from stream.replay import Replay

KEY = HashKey(bytes(16))
PARTITIONS = 6
compiled = pytest.mark.skipif(
    not is_compiled(), reason="kernels as plain Python would take minutes for these events"
)


@pytest.mark.parametrize(("form", "least", "most"), [("S", 152, 152), ("M", 430, 470)])
def test_events_have_their_size(form, least, most):
    """Every event is as large as its form says, and belongs to the key it travels under."""
    for key, payload in events(Load(2_000, 300, form)):
        assert least <= len(payload) <= most
        assert decode_request(payload).workload.encode() == key


def test_medium_events_have_what_small_ones_lack():
    """An M event names a purpose, a task, a token, two resources and one actor."""
    for _, payload in events(Load(100, 30, "M")):
        request = decode_request(payload)
        assert request.purpose and request.task and request.token.id
        assert (len(request.resources), len(request.actors)) == (2, 1)


@pytest.mark.skipif(not is_compiled(), reason="without the compiler no payload is read by it")
@pytest.mark.parametrize("form", ["S", "M"])
def test_events_are_plain(form):
    """The kernel reads every event of both forms; else a benchmark would time something else."""
    payloads = [payload for _, payload in events(Load(1_000, 50, form))]
    arrival = Arrival("test", 0, range(1_000), [0] * 1_000, payloads)
    (read,) = Decoder(KEY, 1).read([arrival])
    assert read.is_plain.all()


@pytest.mark.parametrize("form", ["S", "M"])
def test_loads_are_the_same_bytes(form):
    """The same load gives the same events, another seed gives others."""
    load = Load(500, 100, form)
    assert list(events(load)) == list(events(load))
    assert list(events(load)) != list(events(load._replace(seed=2)))


def test_shares_are_kept():
    """One workload makes the share that it shall, all or half; by Zipf the first makes most."""
    assert {draw.name for draw in draws(Load(1_000, 100, share=1.0))} == {workload_of(0)}
    half = Counter(draw.name for draw in draws(Load(10_000, 100, share=0.5)))
    assert 4_800 < half[workload_of(0)] < 5_400
    skewed = Counter(draw.name for draw in draws(Load(20_000, 1_000, zipf=1.1)))
    assert [name for name, _ in skewed.most_common(2)] == [workload_of(0), workload_of(1)]
    assert skewed[workload_of(0)] / skewed[workload_of(1)] == pytest.approx(2**1.1, rel=0.1)


def test_recent_events_end_before_now():
    """The last event of a recent load lies close before the clock, none after it."""
    load = recent(Load(10_000, 10))
    last_ms = max(draw.at_ms for draw in draws(load))
    assert 0 < recent(load).start_ms + 10_000 // load.per_ms - last_ms < 60_000


def commands_of(load, drawn):
    """How many commands of which rule the benchmark's policy gives."""
    replay = Replay(load_policy(POLICY.read_text(), "test"), KEY, PARTITIONS, 20_000)
    payloads = [payload for _, payload in events(load, drawn)]
    return Counter(
        each.command.body.rule for result, _ in replay.run(payloads) for each in result.outgoing
    )


@compiled
def test_every_tenth_event_is_an_alarm():
    """A workload's first match is a command, and one event in ten is the end of a match."""
    load = Load(10_000, 1_000)
    assert commands_of(load, with_alarms(load)) == {"read-then-send": 10_000 // ALARM_EVERY}


@compiled
def test_offenders_break_two_rules_and_others_none():
    """The load of the throughput benchmark causes commands, by few workloads."""
    load = Load(50_000, 500)._replace(per_ms=20)
    found = commands_of(load, with_offenders(load))
    assert found.keys() == {"sustained", "read-then-send"}
    assert not commands_of(load, draws(load))


def test_clocks_and_lateness_move_every_second_event():
    """Every other event is ahead by as much as said, or behind; nothing else changes."""
    load = Load(1_000, 10)
    plain = list(draws(load))
    for moved, by_ms in ((with_clocks_apart(load, 100), 100), (with_late(load, 3_000), -3_000)):
        for number, (draw, before) in enumerate(zip(moved, plain, strict=True)):
            assert draw == before._replace(at_ms=before.at_ms + number % 2 * by_ms)


def records_of(some):
    """The records in pieces, by partition, in order; every checksum is right."""
    found = defaultdict(list)
    for piece in some:
        records = MemoryRecords(piece.data)
        while records.has_next():
            batch = records.next_batch()
            assert batch.validate_crc()
            found[piece.partition] += [(record.key, record.value) for record in batch]
    return found


def test_pieces_hold_every_event_at_its_home():
    """Pieces together are the events, in order within each partition, none larger than a batch."""
    some = list(events(Load(5_000, 200, "M")))
    made = list(pieces(some, PARTITIONS))
    assert sum(each.count for each in made) == len(some)
    assert all(len(each.data) <= BATCH_BYTES for each in made)
    wanted = defaultdict(list)
    for key, payload in some:
        wanted[home_partition(key, PARTITIONS)].append((key, payload))
    assert records_of(made) == wanted


class Slow(Belt):
    """A belt whose broker is a list, and takes its time."""

    def __init__(self):
        super().__init__(None, "test")
        self.requests = []

    async def _request(self, some):
        self.requests.append([each.partition for each in some])
        await asyncio.sleep(0.002)


def test_a_request_has_one_batch_a_partition():
    """What is sent together keeps the order of each partition, in as few requests as can be."""
    belt = Slow()
    made = list(pieces(events(Load(9_000, 200)), PARTITIONS))
    asyncio.run(belt.send(made))
    assert belt.sent == 9_000
    assert all(len(set(each)) == len(each) for each in belt.requests)
    assert len(belt.requests) == max(Counter(each.partition for each in made).values())


def test_a_belt_keeps_its_pace():
    """No more is sent than is due, whatever a request takes, and it ends when it shall."""

    async def played():
        belt, over = Slow(), asyncio.Event()
        tide = Tide(events(Load(20_000, 200)), PARTITIONS, 100)
        task = asyncio.create_task(belt.keep(tide.pieces(), 50_000, over))
        await asyncio.sleep(0.5)
        sent = belt.sent
        over.set()
        await task
        return sent, belt.sent, tide.counts()

    sent, total, counts = asyncio.run(played())
    # A batch may be ahead, and a busy machine may be behind.
    assert 5_000 < sent < 50_000
    assert sum(counts.values()) == total


def test_tide_moves_all_times_and_nothing_else():
    """Each round is the first with all times later by the pool's length, and counts are exact."""
    load = Load(4_000, 100)
    some, span_ms = list(events(load)), 20
    tide = Tide(some, PARTITIONS, span_ms)
    size = len(list(pieces(some, PARTITIONS)))
    source = tide.pieces()
    rounds = [[next(source) for _ in range(size)] for _ in range(3)]
    first = records_of(rounds[0])
    for number, each in enumerate(rounds):
        for partition, records in records_of(each).items():
            for (key, value), (key_before, before) in zip(records, first[partition], strict=True):
                at_ms = int(before[len(MARK) : len(MARK) + DIGITS]) + number * span_ms
                assert key == key_before
                assert value == MARK + str(at_ms).encode() + before[len(MARK) + DIGITS :]
    assert tide.counts() == {
        key: 3 * count for key, count in Counter(key for key, _ in some).items()
    }
