"""Reporting never waits, loses nothing in silence, and counts nothing twice."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from stream.events import Request, Token, encode_request
from stream.gateway.fitting import COUNT_MAX
from stream.gateway.reporter import Reporter
from stream.gateway.sums import Sums
from tests.buses import run, until
from tests.models.owner import AGENT, NOW_MS, OTHER
from tests.unit.gateway.doors import ShakyPublisher, Site, SlowPublisher, report_spec


def event(workload: str = AGENT, operation: str = "GET /x", **fields: Any) -> Request:
    return Request(NOW_MS, workload, operation, **fields)


def reporter_of(site: Site, **settings: Any) -> Reporter:
    return Reporter("requests", site.clock, report_spec(**settings), 5.0)


@contextlib.asynccontextmanager
async def running(
    site: Site, reporter: Reporter, lost_answers: int = 0
) -> AsyncIterator[ShakyPublisher]:
    await site.make_topics("requests")
    publisher = ShakyPublisher(site, lost_answers)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reporter.run(publisher))
        yield publisher
        reporter.close()


def test_events_arrive_in_order_under_their_workload() -> None:
    """What is offered is sent as offered, keyed by the workload."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site)
        offered = [event(operation=f"GET /{at}") for at in range(500)]
        async with running(site, reporter):
            for each in offered:
                reporter.offer(each)
            await until(lambda: reporter.counts["sent"] == 500)
        assert site.reported() == offered
        assert {record.key for record in site.log.partitions("requests")[0].records} == {
            AGENT.encode()
        }
        assert reporter.counts == Counter(offered=500, sent=500)

    run(scene())


def test_a_flood_beyond_the_buffer_shows_in_full() -> None:
    """What finds no room is summed up: the counts, bytes and cost reported are those offered."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site, events_max=10)
        for at in range(1_000):
            workload = AGENT if at % 2 else OTHER
            reporter.offer(event(workload, bytes=3, cost=2, count=2))
        async with running(site, reporter):
            await until(lambda: not len(reporter))
        reported = site.reported()
        assert len(reported) == 12
        for workload in (AGENT, OTHER):
            mine = [each for each in reported if each.workload == workload]
            assert sum(each.count for each in mine) == 1_000
            assert sum(each.bytes for each in mine) == 1_500
            assert sum(each.cost for each in mine) == 1_000
        assert reporter.counts["summed"] == 1_980
        assert reporter.counts["lost"] == 0

    run(scene())


def test_the_buffer_is_bounded_in_bytes_too() -> None:
    """A few large events fill it as many small ones do."""
    site = Site()

    async def scene() -> None:
        reporter = reporter_of(site, bytes_max=4_096)
        for at in range(100):
            reporter.offer(event(resources=(f"document:{'x' * 900}{at}",)))
        assert len(reporter) < 10
        assert reporter.counts["summed"] > 90

    run(scene())


def test_what_cannot_even_be_summed_up_is_counted() -> None:
    """Beyond the groups there is one number."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site, events_max=1, sums_max=3)
        for at in range(10):
            reporter.offer(event(operation=f"GET /{at}", count=5))
        assert reporter.counts["summed"] == 15
        assert reporter.counts["lost"] == 30

    run(scene())


def test_grants_and_completions_have_room_of_their_own() -> None:
    """The start and end of a task are not crowded out by a flood of requests."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site, events_max=8)
        for _ in range(50):
            reporter.offer(event())
        reporter.offer(event(operation="grant", kind="grant", task="t-1"))
        reporter.offer(event(operation="done", kind="completion", task="t-1"))
        for _ in range(50):
            reporter.offer(event(operation="more", kind="grant", task="t-2"))
        async with running(site, reporter):
            await until(lambda: not len(reporter))
        kinds = [each.kind for each in site.reported()]
        assert kinds.count("grant") == kinds.count("completion") == 1
        assert reporter.counts["lost"] == 50

    run(scene())


def test_grants_have_room_of_their_own_in_bytes_too() -> None:
    """Large requests that fill the buffer leave the start of a task its eighth of the bytes."""

    async def scene() -> None:
        reporter = reporter_of(Site(), bytes_max=4_096)
        for _ in range(50):
            reporter.offer(event(purpose="p" * 200))
        waiting = len(reporter._waiting)
        for _ in range(50):
            reporter.offer(event(operation="grant", kind="grant", task="t-1"))
        assert len(reporter._waiting) > waiting
        assert reporter._waiting_bytes < 4_096 * 9 // 8 + 1_000
        reporter.close()
        waiting = len(reporter._waiting)
        reporter.offer(event(operation="grant", kind="grant", task="t-1"))
        assert len(reporter._waiting) == waiting

    run(scene())


def test_an_outage_loses_nothing() -> None:
    """While Kafka is away events wait and are summed up; afterwards all of it is reported once."""

    async def scene() -> None:
        site = Site()
        site.bus_is_down = True
        reporter = reporter_of(site, events_max=5)
        async with running(site, reporter):
            for _ in range(100):
                reporter.offer(event())
            await until(lambda: reporter.counts["pauses"] >= 2)
            site.bus_is_down = False
            await until(lambda: not len(reporter))
        assert sum(each.count for each in site.reported()) == 100
        assert len(site.reported()) == 6

    run(scene())


def test_a_lost_answer_is_not_sent_again() -> None:
    """An event that Kafka had taken is never counted twice; that nobody knows is counted."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site)
        async with running(site, reporter, lost_answers=3):
            for _ in range(10):
                reporter.offer(event())
        assert len(site.reported()) == 10
        assert reporter.counts["unconfirmed"] == 3

    run(scene())


def test_an_event_that_kafka_will_not_have_holds_up_no_other() -> None:
    """A record refused for good is lost and counted, and those behind it are sent."""

    async def scene() -> None:
        site = Site()
        site.refuses = True
        reporter = reporter_of(site)
        async with running(site, reporter):
            reporter.offer(event(operation="first"))
            reporter.offer(event(operation="second"))
            await until(lambda: reporter.counts["lost"] == 1)
            site.refuses = False
            await until(lambda: not len(reporter))
        assert [each.operation for each in site.reported()] == ["second"]

    run(scene())


def test_sums_go_out_during_a_flood_that_does_not_end() -> None:
    """A buffer that is never empty does not keep the sums back for longer than their time."""

    async def scene() -> None:
        site = Site()
        await site.make_topics("requests")
        publisher, reporter = ShakyPublisher(site), reporter_of(site, events_max=1_000)
        for _ in range(1_500):
            reporter.offer(event())
        await reporter._send_round(publisher)
        reporter._take_up_sums()
        assert (len(reporter._waiting), len(reporter._sums)) == (800, 1)
        site.clock.at_ms += 1_000
        await reporter._send_round(publisher)
        reporter._take_up_sums()
        assert (len(reporter._waiting), len(reporter._sums)) == (601, 0)

    run(scene())


def test_sums_find_room_before_they_wait() -> None:
    """Sums that outnumber the room stay sums: what waits is bounded, in events and in bytes."""

    async def scene(**settings: Any) -> None:
        site = Site()
        await site.make_topics("requests")
        publisher, reporter = ShakyPublisher(site), reporter_of(site, sums_max=2_000, **settings)
        spec, made = reporter._spec, 0
        for count in (3_000, *[2_000] * 4):
            for _ in range(count):
                made += 1
                reporter.offer(event(operation=f"GET /{made}"))
            await reporter._send_round(publisher)
            site.clock.at_ms += 1_000
            reporter._take_up_sums()
            assert len(reporter._waiting) <= spec.events_max
            assert reporter._waiting_bytes < spec.bytes_max + 1_000
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reporter.run(publisher))
            reporter.close()
        assert sum(each.count for each in site.reported()) == made - reporter.counts["lost"]

    run(scene(events_max=1_000))
    run(scene(bytes_max=100_000))


def test_sums_that_find_no_room_are_next() -> None:
    """The groups that were there when it was time go first, as soon as there is room."""

    async def scene() -> None:
        site = Site()
        await site.make_topics("requests")
        publisher, reporter = ShakyPublisher(site), reporter_of(site, events_max=300)
        for at in range(800):
            reporter.offer(event(operation=f"GET /{at}"))
        site.clock.at_ms += 1_000
        for _ in range(3):
            await reporter._send_round(publisher)
            reporter._take_up_sums()
        assert (len(reporter._waiting), len(reporter._sums)) == (200, 0)
        await reporter._send_round(publisher)
        assert [each.operation for each in site.reported()] == [f"GET /{n}" for n in range(800)]

    run(scene())


def test_abandoned_events_are_counted() -> None:
    """What still waits when the time for sending is over is lost, and said to be."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site, events_max=2)
        for _ in range(10):
            reporter.offer(event())
        reporter.abandon()
        assert reporter.counts["lost"] == 10
        assert len(reporter) == 0

    run(scene())


def test_an_event_of_a_wrong_type_is_counted() -> None:
    """A caller's mistake costs its event, not the caller."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site)
        reporter.offer(event(status="200"))
        assert reporter.counts["unreportable"] == 1
        full = reporter_of(site, events_max=1)
        async with running(site, full):
            for wrong in ({}, {"status": "200"}, {"bytes": None, "task": "t"}, {"operation": 7}):
                full.offer(event(**wrong))
            full.offer(event(operation="last"))
        assert [each.operation for each in site.reported()] == ["GET /x", "last"]

    run(scene())


def test_what_is_in_flight_is_bounded() -> None:
    """Sending waits for answers when as many as allowed are open, and goes on with the first."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site, in_flight_max=3)
        await site.make_topics("requests")
        publisher = SlowPublisher(site)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reporter.run(publisher))
            for _ in range(10):
                reporter.offer(event())
            await until(lambda: reporter.counts["sent"] == 3)
            for answered in range(10):
                await until(lambda: len(publisher.answers) > answered)  # noqa: B023  # awaited here
                assert len(publisher.answers) - answered <= 3
                publisher.answers[answered].set_result(0)
            reporter.close()
        assert reporter.counts["sent"] == 10

    run(scene())


def test_sums_keep_apart_what_must_not_mix() -> None:
    """Outcomes, effects, tasks, failed authentication, workloads each have their own sum."""
    sums = Sums(100)
    fields: list[dict[str, Any]] = [
        {},
        {"outcome": "refused"},
        {"task": "t"},
        {"authenticated": False},
        {"workload": OTHER},
        {"operation": "GET /y"},
        {"effect": "change"},
    ]
    for each in fields * 3:
        assert sums.add(event(**each))
    drained = sums.drain()
    assert [each.count for each in drained] == [3] * len(fields)
    assert len(sums) == 0


def test_sums_hold_no_long_texts() -> None:
    """What a sum keeps of a request is bounded, however long its names were."""
    sums = Sums(10)
    assert sums.add(
        event(operation="/x" * 40_000, task="t" * 90_000, resources=("a:" + "b" * 900,))
    )
    (group,) = sums._sums
    assert max(len(part) for part in group if isinstance(part, str)) <= 256
    (drained,) = sums.drain()
    assert len(encode_request(drained)) < 1_500


def test_sums_claim_only_what_holds_for_all() -> None:
    """A token or purpose is kept if all had it; resources and ids never."""
    sums = Sums(100)
    token, other = Token(id="1"), Token(id="2")
    for task, tokens in (("same", (token, token)), ("differs", (token, other))):
        for each in tokens:
            sums.add(event(task=task, token=each, purpose="p", resources=("a:b",), id="x"))
    same, differs = sums.drain()
    assert (same.token, differs.token) == (token, None)
    assert (same.purpose, same.resources, same.id) == ("p", (), "")


def test_a_sum_has_the_status_of_all_or_none() -> None:
    """Denials by 401 and 403 are one sum, which claims neither."""
    sums = Sums(100)
    for task, statuses in (("same", (403, 403)), ("differs", (401, 403))):
        for status in statuses:
            sums.add(event(task=task, outcome="denied", status=status))
    assert [(each.count, each.status) for each in sums.drain()] == [(2, 403), (2, 0)]


def test_a_sum_is_dated_by_its_latest() -> None:
    """The sum of a flood counts in the windows of its end, in whatever order it was offered."""
    sums = Sums(1)
    for at_ms in (NOW_MS, NOW_MS + 5, NOW_MS + 2):
        sums.add(Request(at_ms, AGENT, "GET /x"))
    assert [each.at_ms for each in sums.drain()] == [NOW_MS + 5]


def test_large_sums_become_several_events() -> None:
    """No event stands for more requests than a worker accepts."""
    sums = Sums(1)
    for _ in range(5):
        sums.add(event(count=COUNT_MAX // 2, bytes=1))
    drained = sums.drain()
    assert [each.count for each in drained] == [COUNT_MAX, COUNT_MAX, COUNT_MAX // 2]
    assert sum(each.bytes for each in drained) == 5
