"""A table is kept true: through outages, repeats, logs made anew, and doubts."""

from typing import Any

import msgspec

from stream.bus import Bounds, MemoryReader, Record
from stream.events import Rate, Subject
from stream.gateway import ALLOW, GatewaySpec
from stream.gateway.follower import Follower
from tests.buses import run, until
from tests.models.owner import AGENT, OTHER, Owner, Topic, command
from tests.unit.gateway.doors import Site, beat, opened, soon

SUBJECT = Subject(workload=AGENT)


def test_a_silent_log_goes_stale_and_a_heartbeat_heals_it() -> None:
    """Heartbeats that stop make the state `stale`; the first that comes ends that."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner, table={"kind": "table", "mode": "closed"}) as gateway:
            assert gateway.check(AGENT, "GET /x") is ALLOW
            site.clock.at_ms += 60_000
            assert gateway.state().state == "stale"
            assert gateway.check(AGENT, "GET /x").status == 503
            beat(site, owner)
            await until(lambda: gateway.state().ready)
            assert gateway.check(AGENT, "GET /x") is ALLOW

    run(scene())


def test_an_outage_is_survived() -> None:
    """While Kafka is away the gateway obeys what it knows; afterwards it goes on from there."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner) as gateway:
            site.publish(*owner.put(SUBJECT, command(SUBJECT, **soon(site))))
            await until(lambda: gateway.check(AGENT, "GET /x").decision == "deny")
            site.bus_is_down = True
            await until(lambda: gateway.state().fault != "")
            assert "away" in gateway.state().fault
            assert gateway.check(AGENT, "GET /x").decision == "deny"
            other = Subject(workload=OTHER)
            site.publish(*owner.put(other, command(other, offset=2, **soon(site))))
            site.bus_is_down = False
            await until(lambda: gateway.check(OTHER, "GET /x").decision == "deny")
            assert gateway.state().fault == ""
            assert gateway.tallies()["log.loads"] == 1

    run(scene())


def test_a_topic_made_anew_is_read_anew() -> None:
    """After the log was recreated nothing of the old one is obeyed."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner) as gateway:
            site.publish(*owner.put(SUBJECT, command(SUBJECT, **soon(site))))
            await until(lambda: gateway.check(AGENT, "GET /x").decision == "deny")
            site.log.remake("enforcement")
            await until(lambda: gateway.check(AGENT, "GET /x") is ALLOW)
            beat(site, Owner())
            assert await gateway.wait_ready(10)

    run(scene())


def test_a_log_cut_before_our_place_goes_on() -> None:
    """Retention behind the place we read at changes nothing."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner) as gateway:
            site.log.cut("enforcement", 0, 1)
            site.publish(*owner.put(SUBJECT, command(SUBJECT, **soon(site))))
            await until(lambda: gateway.check(AGENT, "GET /x").decision == "deny")

    run(scene())


def test_a_lasting_mismatch_is_read_again_beside_the_table_in_use() -> None:
    """A table that its heartbeats contradict for long is rebuilt, and serves until that is done."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner, reload_s=5.0) as gateway:
            site.publish(*owner.put(SUBJECT, command(SUBJECT, **soon(site))))
            await until(lambda: gateway.check(AGENT, "GET /x").decision == "deny")
            # The table loses what the log still has.
            gateway._follower.table._holdings._held.clear()
            gateway._follower.table._homes._homes.clear()
            beat(site, owner)
            await until(lambda: gateway.state().state == "mismatch")
            site.clock.at_ms += 4_000
            beat(site, owner)
            await until(lambda: gateway.tallies()["records.heartbeat"] == 3)
            assert gateway.tallies()["log.reloads"] == 0
            assert gateway.check(AGENT, "GET /x").decision == "deny"
            site.clock.at_ms += 4_000
            beat(site, owner)
            await until(lambda: gateway.tallies()["log.reloads"] == 1)
            await until(lambda: gateway.state().ready)
            assert gateway.check(AGENT, "GET /x").decision == "deny"

    run(scene())


def test_loading_reads_records_and_no_gaps() -> None:
    """A compacted log of a year is a few records between gaps, and a few reads."""
    span, last = 31_536_000, 10
    reads: list[tuple[int, int]] = []

    class Gaps(MemoryReader):
        async def bounds(self, topic: str) -> dict[int, Bounds]:
            return {0: Bounds(0, span)}

        async def read(self, topic: str, partition: int, start: int, end: int) -> list[Record]:
            reads.append((start, end))
            held = range(max(start, span - last), end)
            return [Record(partition, offset, 1, b"key", b"rubbish") for offset in held]

        async def read_some(
            self, topic: str, partition: int, start: int, end: int, records_max: int
        ) -> tuple[list[Record], int]:
            records = (await self.read(topic, partition, start, end))[:3]
            return records, records[-1].offset + 1 if records else end

    async def scene() -> None:
        site = Site()
        follower = Follower(Gaps(site.log), site.clock, GatewaySpec(), None)
        await follower._load()
        assert follower.table.counts["malformed"] == last
        assert len(reads) < 20
        assert follower._next == {0: span}

    run(scene())


def test_what_comes_twice_is_applied_once() -> None:
    """A record that is delivered again after its tombstone does not return."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner) as gateway:
            pair = owner.put(SUBJECT, command(SUBJECT, **soon(site)))
            site.publish(*pair)
            site.publish(*owner.drop(pair[0]))
            await until(lambda: gateway.tallies()["records.removed"] == 1)
            site.repeats = site.log.partitions("enforcement")[0].records[1:2]
            await until(lambda: not site.repeats)
            site.publish(b"rubbish", b"rubbish")
            await until(lambda: gateway.tallies()["records.malformed"] == 1)
            assert gateway.check(AGENT, "GET /x") is ALLOW

    run(scene())


def test_doubt_must_last_and_reading_again_is_tried_less_often() -> None:
    """A mismatch that ends is forgotten; one that reading again did not end doubles the wait."""

    async def scene() -> None:
        site, topic = Site(), Topic()
        spec = msgspec.convert({"kind": "gateway", "reload_s": 5.0}, GatewaySpec)
        follower = Follower(MemoryReader(site.log), site.clock, spec, None)
        follower.table.finish_loading()

        def doubt_after(span_ms: int, **changes: Any) -> bool:
            site.clock.at_ms += span_ms
            pair = Owner().heartbeat(site.clock.at_ms, **changes)
            follower.table.apply(topic.record(pair, 0, site.clock.at_ms))
            return follower._note_doubt()

        wrong = {"records": 1}
        assert [doubt_after(4_000, **wrong) for _ in range(3)] == [False, False, True]
        assert [doubt_after(6_000, **wrong) for _ in range(3)] == [False, False, True]
        assert not doubt_after(1_000)
        assert [doubt_after(4_000, **wrong) for _ in range(2)] == [False, False]
        assert not doubt_after(1_000)
        assert [doubt_after(4_000, **wrong) for _ in range(3)] == [False, False, True]

    run(scene())


def test_a_table_read_again_keeps_its_buckets() -> None:
    """Reading the log again gives nobody a new burst."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner, reload_s=5.0) as gateway:
            throttle = command(SUBJECT, "throttle", rate=Rate(1, 3_600_000), **soon(site))
            site.publish(*owner.put(SUBJECT, throttle))
            await until(lambda: len(list(gateway.in_force())) == 1)
            assert gateway.check(AGENT, "GET /x") is ALLOW
            beat(site, owner, records=9)
            await until(lambda: gateway.state().state == "mismatch")
            site.clock.at_ms += 6_000
            await until(lambda: gateway.tallies()["log.reloads"] == 1)
            await until(lambda: gateway.tallies()["log.loads"] == 2)
            assert gateway.check(AGENT, "GET /x").decision == "throttle"

    run(scene())
