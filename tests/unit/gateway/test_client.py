"""The client: opens before everything else, checks, reports, leaves."""

import asyncio
import json

import msgspec
import pytest

from stream.events import Request, Subject, Token, TokenRef
from stream.gateway import ALLOW
from tests.buses import run, until
from tests.models.owner import AGENT, OTHER, Owner, act, command, operator_record, revoked
from tests.unit.gateway.doors import Site, beat, opened, soon

SUBJECT = Subject(workload=AGENT)


def test_table_is_rebuilt_then_followed() -> None:
    """What was published before the gateway came binds at once; what comes later too."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        await site.make_topics("enforcement", "requests")
        site.publish(*owner.put(SUBJECT, command(SUBJECT, **soon(site))))
        async with opened(site, owner) as gateway:
            assert gateway.check(AGENT, "GET /x").decision == "deny"
            assert gateway.check(OTHER, "GET /x") is ALLOW
            other = Subject(workload=OTHER)
            site.publish(*owner.put(other, command(other, offset=2, **soon(site))))
            await until(lambda: gateway.check(OTHER, "GET /x").decision == "deny")
            assert {each.body.subject.workload for each in gateway.in_force()} == {AGENT, OTHER}

    run(scene())


def test_a_gateway_of_a_zone_reports_to_its_topic() -> None:
    """And to nothing else; what binds it is what binds all."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        await site.make_topics("enforcement", "requests", "requests.eu")
        async with opened(site, owner, zone="eu") as gateway:
            gateway.report(Request(site.clock.wall_ms(), AGENT, "GET /x"))
            await until(lambda: bool(site.log.partitions("requests.eu")[0].records))
            site.publish(*owner.put(SUBJECT, command(SUBJECT, **soon(site))))
            await until(lambda: gateway.check(AGENT, "GET /x").decision == "deny")
        assert site.reported() == []

    run(scene())


def test_state_is_fit_for_readyz() -> None:
    """The state is a value that encodes, names what is missing, and becomes ready."""

    async def scene() -> None:
        site, owner = Site(), Owner(partition=0, partitions=2)
        async with opened(site) as gateway:
            await until(lambda: gateway.state().state == "stale")
            beat(site, owner)
            await until(lambda: len(gateway.state().homes) == 2)
            state = json.loads(msgspec.json.encode(gateway.state()))
            assert not state["ready"]
            assert [home["state"] for home in state["homes"]] == ["ready", "unseen"]
            assert not await gateway.wait_ready(0.01)
            beat(site, Owner(partition=1, partitions=2))
            assert await gateway.wait_ready(10)

    run(scene())


def test_a_gateway_may_start_before_everything_else() -> None:
    """Without Kafka, then without topics, it waits in state `loading`, and opens nothing."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        site.bus_is_down = True
        closed = {"kind": "table", "mode": "closed"}
        async with site.gateway(table=closed) as gateway:
            await until(lambda: gateway.state().fault != "")
            assert gateway.state().state == "loading"
            site.bus_is_down = False
            await until(lambda: "does not exist" in gateway.state().fault)
            assert gateway.check(AGENT, "GET /x").action == "loading"
            await site.make_topics("enforcement", "requests")
            beat(site, owner)
            assert await gateway.wait_ready(20)

    run(scene())


def test_long_names_are_asked_for_as_they_are_reported() -> None:
    """A task, token or operation beyond its bound is bound under the name that its event has."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner) as gateway:
            long = "é" * 1_000
            token = Token(issuer=long, id=long)
            gateway.observe(Request(gateway.now_ms(), AGENT, long, task=long, token=token))
            await until(lambda: len(site.reported()) == 1)
            (event,) = site.reported()
            assert event.token is not None
            named = TokenRef(event.token.issuer, event.token.id)
            subjects = [
                Subject(workload=AGENT, task=event.task),
                Subject(workload=AGENT, token=named),
                Subject(workload=AGENT, operation=event.operation),
            ]
            for offset, subject in enumerate(subjects, 1):
                site.publish(*owner.put(subject, command(subject, **soon(site, offset=offset))))
            await until(lambda: len(list(gateway.in_force())) == 3)
            assert gateway.check(AGENT, "GET /x", long).decision == "deny"
            assert gateway.check(AGENT, "GET /x", "", TokenRef(long, long)).decision == "deny"
            assert gateway.check(AGENT, long).decision == "deny"
            assert gateway.check(AGENT, "GET /x") is ALLOW

    run(scene())


def test_observe_reports_what_it_decides() -> None:
    """A request that may pass is reported as it is, one that may not as refused."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner) as gateway:
            subject = Subject(workload=AGENT, task="t-1")
            site.publish(*owner.put(subject, command(subject, **soon(site))))
            await until(lambda: len(list(gateway.in_force())) == 1)
            token = Token(issuer="i", id="1")
            request = Request(gateway.now_ms(), AGENT, "tool:export", task="t-1", token=token)
            assert gateway.observe(request).decision == "deny"
            assert gateway.observe(msgspec.structs.replace(request, task="t-2")).is_allowed
        refused, served = site.reported()
        assert (refused.outcome, refused.status, refused.task) == ("refused", 403, "t-1")
        assert (served.outcome, served.task, served.token) == ("served", "t-2", token)
        assert (refused.gateway, served.gateway) == ("edge-1", "edge-1")

    run(scene())


def test_an_event_keeps_the_gateway_that_it_names() -> None:
    """Who reports for others says for whom; only an event without a name gets this one's."""

    async def scene() -> None:
        site = Site()
        async with opened(site) as gateway:
            gateway.report(Request(gateway.now_ms(), AGENT, "GET /x", gateway="another"))
            gateway.report(Request(gateway.now_ms(), AGENT, "GET /x"))
        assert [each.gateway for each in site.reported()] == ["another", "edge-1"]

    run(scene())


def test_leaving_sends_what_still_waits() -> None:
    """Events offered just before the end are sent."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner) as gateway:
            for at in range(1_000):
                gateway.report(Request(site.clock.at_ms, AGENT, f"GET /{at}"))
        assert len(site.reported()) == 1_000

    run(scene())


def test_leaving_does_not_wait_for_ever() -> None:
    """Without Kafka the end comes after its deadline, and what waited is counted as lost."""

    async def scene() -> None:
        site = Site()
        site.bus_is_down = True
        gateway = site.gateway(close_s=0.05)
        async with gateway:
            gateway.report(Request(site.clock.at_ms, AGENT, "GET /x", count=7))
        assert gateway.tallies()["report.lost"] == 7

    run(scene())


def test_tallies_count_verdicts_and_records() -> None:
    """Counters say what was decided, what was read, what was reported."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner) as gateway:
            site.publish(*owner.put(SUBJECT, command(SUBJECT, **soon(site))))
            site.publish(b"rubbish", b"rubbish")
            await until(lambda: gateway.tallies()["records.malformed"] == 1)
            gateway.check(AGENT, "GET /x")
            gateway.check(OTHER, "GET /x")
            site.publish(*operator_record("", act("stop", site.clock.at_ms + 9)))
            await until(lambda: len(list(gateway.operators())) == 1)
            gateway.check(AGENT, "GET /x")
            tallies = gateway.tallies()
            assert tallies["check.revoke"] == 1
            assert tallies["check.stop"] == 1
            assert tallies["records.applied"] == 2
            assert tallies["log.loads"] == 1

    run(scene())


def test_a_broken_invariant_is_not_swallowed() -> None:
    """A fault of our own in a task ends the gateway, and whoever runs it hears of it."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        heard: list[BaseException] = []
        try:
            async with opened(site, owner) as gateway:
                gateway._follower.table.apply = None
                site.publish(*revoked())
                await asyncio.Event().wait()
        except* TypeError as group:
            heard.extend(group.exceptions)
        assert heard

    run(scene())


def test_an_error_of_the_block_stays_itself() -> None:
    """What the host raises inside leaves as it was raised."""

    async def scene() -> None:
        site = Site()
        async with opened(site):
            raise LookupError("of the host")

    with pytest.raises(LookupError, match="of the host"):
        run(scene())


def test_cancelling_the_host_ends_the_gateway() -> None:
    """A host that is cancelled leaves with nothing running, still cancelled."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        inside = asyncio.Event()

        async def host() -> None:
            async with opened(site, owner):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(host())
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scene())
