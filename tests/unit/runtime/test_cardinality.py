"""Names without end: what is held stays within its bounds, and nobody's profile suffers."""

import asyncio
import logging
import tracemalloc
from collections.abc import Iterator

import pytest

from stream.bus import Record
from stream.cli.limits import bound_rows
from stream.engine import State
from stream.events import Request, Subject, encode_request
from stream.gateway import CommandTable, ReportSpec, TableSpec
from stream.gateway.reporter import Reporter
from stream.profiles import Arrival, Decoder, decoder, operations
from stream.runtime import outbox
from tests.buses import WallClock
from tests.estate import KEY, TOPICS, Estate, stored
from tests.flood import ESTABLISHED, EVERY, NAMES, flood, profile, quiet_profiles
from tests.models.owner import NOW_MS, command, subject_record


def flooded_profiles(estate: Estate, rows: dict[int, bytes]) -> dict[str, object]:
    """The established workloads' stored profiles."""
    return {name: profile(KEY, estate.policy, name, rows[KEY.hash(name)], 6) for name in NAMES}


def flooding(count: int) -> None:
    """Let a worker with few slots live through a flood; check every bound, and the profiles."""
    estate = Estate()

    async def story() -> dict[int, bytes]:
        await estate.topics()
        async with estate.worker(slots_max=512, batch_events_max=200, sweep_every_ms=256) as worker:
            for start in range(0, count, 20_000):
                step = min(20_000, count - start)
                await estate.feed(flood(start, step))
                await stored(worker, (start + step) * (EVERY + 1) // EVERY)
                session = worker._session
                assert session is not None
                check(session.state, session.decoder)
                assert all(len(each.named) <= 65_536 for each in session.owned.values())
                for topic in (TOPICS.requests, TOPICS.enforcement):
                    for partition, part in enumerate(estate.log.partitions(topic)):
                        estate.log.cut(topic, partition, max(part.start, part.end - 1_000))
        text = estate.metrics.text().decode()
        assert "enforcer_rejects_total{" not in text
        return {
            row_id: row
            for part in estate.server.partitions.values()
            for row_id, row in part.rows.items()
        }

    rows = asyncio.run(story())
    assert len(rows) == count + ESTABLISHED
    assert flooded_profiles(estate, rows) == quiet_profiles(KEY, estate.policy, count // EVERY)


def check(state: State, decoding: Decoder) -> None:
    """What a worker holds is within what it says at start."""
    bounds = {name: int(most.replace(",", "")) for name, most in bound_rows(512)}
    assert len(state.table) <= 512
    assert len(state.held) <= 512
    most = bounds["operations known, a policy"]
    assert all(len(each.operations) <= most for each in state.bound.values())
    texts = bounds["texts known by their hash, a kind"]
    for cache in (decoding._workloads, decoding._texts, decoding._tokens):
        assert len(cache) <= texts + 2_000


def test_a_flood_of_names_changes_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cache is far too small, and is emptied many times: the profiles are as without it."""
    monkeypatch.setattr(decoder, "CACHE_MAX", 1_000)
    monkeypatch.setattr(operations, "OPERATIONS_MAX", 4_096)
    flooding(3_000)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_a_million_names_change_no_profile() -> None:
    """The same with a million of each, and the bounds as they are."""
    flooding(1_000_000)


def test_records_in_force_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound new subjects get no record, and are counted; what is there is renewed."""
    monkeypatch.setattr(outbox, "RECORDS_MAX", 5)
    policy = (
        "name: x\nrules:\n- {name: any, limit: {measure: requests, at_most: 1, per: 1h},"
        " action: revoke, for: 2h, mode: enforce}\n"
    )
    estate = Estate(policy)
    events = [
        encode_request(
            Request(at_ms=1_790_000_000_000 + n, workload=f"spiffe://h/{n % 60}", operation="x")
        )
        for n in range(240)
    ]

    async def story() -> None:
        await estate.topics()
        async with estate.worker() as worker:
            await estate.feed(events)
            await stored(worker, len(events))
            assert all(len(each.published) <= 5 for each in worker._session.owned.values())
        counted = estate.metrics.text().decode()
        unpublished = counted.partition("\nenforcer_records_unpublished_total ")[2].split("\n")[0]
        assert float(unpublished) >= 30

    asyncio.run(story())
    assert len(estate.table()) <= 30
    assert sum(len(each.records) for each in estate.server.partitions.values()) <= 30


def test_names_beyond_the_bound_are_counted_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of further operations no text is kept; that is counted, and said once."""
    monkeypatch.setattr(outbox, "NAMES_MAX", 5)
    monkeypatch.setattr(outbox.rarely, "_next_at", {})
    estate = Estate()
    events = [
        encode_request(
            Request(at_ms=1_790_000_000_000 + n, workload="spiffe://h/one", operation=f"x{n}")
        )
        for n in range(40)
    ]

    async def story() -> None:
        await estate.topics()
        async with estate.worker() as worker:
            await estate.feed(events)
            await stored(worker, len(events))

    asyncio.run(story())
    assert sum(len(each.names) for each in estate.server.partitions.values()) == 5
    assert "\nenforcer_names_unstored_total 35.0" in estate.metrics.text().decode()
    assert len([each for each in caplog.messages if "names of operations" in each]) == 1


class Lines(logging.Handler):
    """Counts log lines."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


@pytest.fixture
def lines() -> Iterator[Lines]:
    """All that `stream` logs."""
    handler = Lines()
    logger = logging.getLogger("stream")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_hostile_input_writes_few_log_lines(lines: Lines) -> None:
    """Thousands of non-events, corrupt rows, broken entries and acts: a line for each kind."""
    estate = Estate()

    async def story() -> None:
        await estate.topics()
        await estate.feed(flood(0, 600))
        async with estate.worker() as worker:
            await stored(worker, 600)
        for part in estate.server.partitions.values():
            part.rows = dict.fromkeys(part.rows, b"spoiled")
        for partition in range(TOPICS.partitions):
            for _ in range(200):
                estate.log.append(TOPICS.journal, partition, b"x", b"{")
                estate.log.append(TOPICS.enforcement, partition, b'["operator",""]', b"{")
                estate.log.append(TOPICS.requests, partition, b"x", b"{")
        before = lines.count
        await estate.feed(flood(0, 600))
        async with estate.worker() as worker:
            await stored(worker, 2_400)
        assert b'"malformed"' in estate.values(TOPICS.dead_letters)[0]
        assert len(estate.values(TOPICS.dead_letters)) == 1_200
        assert lines.count - before < 30

    asyncio.run(story())


def test_a_gateway_s_table_is_bounded() -> None:
    """A flood of subjects fills it up to what it states, a record costing no more than is said."""
    spec = TableSpec(records_max=1_000)
    table = CommandTable(spec, 1)
    tracemalloc.start()
    try:
        for each in range(4_000):
            subject = Subject(workload=f"spiffe://hostile.example/agents/h{each}")
            key, value = subject_record(subject, command(subject))
            table.apply(Record(0, each, NOW_MS, key, value))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    table.finish_loading()
    assert (len(table), table.counts["overflow"]) == (1_000, 3_000)
    assert table.state(NOW_MS) == "overflow"
    assert held < 1_000 * 4_096


def test_what_waits_at_a_gateway_is_bounded() -> None:
    """Reports of ever new names, with nobody to take them: kept, summed, then counted as lost."""
    spec = ReportSpec(events_max=500, sums_max=100)
    reporter = Reporter("requests", WallClock(), spec, 1.0)

    async def story() -> None:
        for each in range(5_000):
            reporter.offer(
                Request(at_ms=NOW_MS, workload=f"spiffe://h.example/a{each}", operation=f"x{each}")
            )

    asyncio.run(story())
    assert len(reporter) == 600
    assert reporter.counts["lost"] == 5_000 - 600


def test_decoding_forgets_names_and_not_events() -> None:
    """Caches are emptied when full: hashes come out as though nothing had been forgotten."""
    decoding, fresh = Decoder(KEY, 1), Decoder(KEY, 1)
    decoding_max = decoder.CACHE_MAX
    try:
        decoder.CACHE_MAX = 50
        for start in range(0, 1_000, 100):
            values = list(flood(start, 100))
            arrival = Arrival("r", 0, range(len(values)), [NOW_MS] * len(values), values)
            batch, rejects = decoding.decode([arrival])
            assert rejects == []
            assert batch.events.tobytes() == fresh.decode([arrival])[0].events.tobytes()
            assert len(decoding._workloads) <= 200
    finally:
        decoder.CACHE_MAX = decoding_max
