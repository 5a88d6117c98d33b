"""Events of one home may share a record: no other events, no other order, none lost or twice."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from stream.errors import BusUnavailable
from stream.events import PAYLOAD_BYTES_MAX, decode_request, split_requests
from stream.gateway.reporter import Reporter
from stream.identity import home_partition
from tests.buses import run, until
from tests.models.owner import AGENT
from tests.unit.gateway.doors import ShakyPublisher, Site, report_spec
from tests.unit.gateway.test_reporter import event, running


def reporter_of(site: Site, homes: int = 0, **settings: Any) -> Reporter:
    return Reporter("requests", site.clock, report_spec(**settings), 5.0, lambda: homes)


@pytest.mark.parametrize("homes", [0, 1, 6])
def test_events_of_one_home_go_together(homes: int) -> None:
    """In their order for each workload, none twice, and few records; by workload while unknown."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site, homes, together_max=50)
        names = [f"{AGENT}-{at % 20}" for at in range(400)]
        offered = [event(name, f"GET /{at}") for at, name in enumerate(names)]
        for each in offered:
            reporter.offer(each)
        async with running(site, reporter):
            await until(lambda: not len(reporter))
        records = site.log.partitions("requests")[0].records
        assert len(records) == {0: 40, 1: 8}.get(homes, len(records)) <= 40
        found = [decode_request(part) for each in records for part in split_requests(each.value)]
        for name in set(names):
            mine = [each for each in offered if each.workload == name]
            assert [each for each in found if each.workload == name] == mine
        for record in records:
            parts = [decode_request(part).workload for part in split_requests(record.value)]
            assert parts[0].encode() == record.key
            if homes:
                assert len({home_partition(each.encode(), homes) for each in parts}) == 1
            else:
                assert len(set(parts)) == 1
        assert reporter.counts == Counter(offered=400, sent=400)

    run(scene())


def test_a_record_holds_no_more_than_a_record_may() -> None:
    """Large events fill records by their bytes; all of them arrive."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site, 1, together_max=1_000)
        offered = [event(resources=(f"d:{'x' * 1_000}{at}",) * 8) for at in range(40)]
        for each in offered:
            reporter.offer(each)
        async with running(site, reporter):
            await until(lambda: not len(reporter))
        records = site.log.partitions("requests")[0].records
        assert all(len(each.value) <= PAYLOAD_BYTES_MAX for each in records)
        assert 5 <= len(records) < 8
        found = [decode_request(part) for each in records for part in split_requests(each.value)]
        assert found == offered

    run(scene())


@pytest.mark.parametrize("fails_at", range(5))
def test_together_nothing_is_lost_or_twice_when_kafka_goes_away(fails_at: int) -> None:
    """At whichever record of a round it does: what was not taken waits, in its order."""

    async def scene() -> None:
        site = Site()
        reporter = reporter_of(site, together_max=10, in_flight_max=20)
        offered = [event(f"{AGENT}-{at % 4}", f"GET /{at}") for at in range(60)]
        for each in offered:
            reporter.offer(each)
        await site.make_topics("requests")
        publisher = ShakyPublisher(site, lost_answers=1)
        taken = 0

        async def send(*record: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken - 1 == fails_at:
                raise BusUnavailable("gone")
            return await ShakyPublisher.send(publisher, *record)

        publisher.send = send  # type: ignore[method-assign]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reporter.run(publisher))
            await until(lambda: not len(reporter))
            reporter.close()
        records = site.log.partitions("requests")[0].records
        found = [decode_request(part) for each in records for part in split_requests(each.value)]
        for place in range(4):
            mine = [each for each in offered if each.workload == f"{AGENT}-{place}"]
            assert [each for each in found if each.workload == f"{AGENT}-{place}"] == mine
        assert reporter.counts["sent"] == 60
        assert 8 <= reporter.counts["unconfirmed"] <= 10
        assert reporter._waiting_bytes == reporter._events_in_flight == 0

    run(scene())
