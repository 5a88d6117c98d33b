"""What a group does with two processes under one static name."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stream.bus import KafkaSource, KafkaSpec, KafkaTopics, StaticNames, TopicSpec
from stream.bus.kafka_static import StaticName
from stream.errors import BusUnavailable, ConfigError
from tests.buses import Member, kafka_spec, run, until
from tests.live import opened


@contextlib.asynccontextmanager
async def member_of(spec: KafkaSpec, names: StaticNames | None = None) -> AsyncIterator[Member]:
    """A member of a group that reads a topic of the same name."""
    source = KafkaSource(spec, spec.group, names)
    member = Member(source, {})
    await source.start(member)
    try:
        yield member
    finally:
        await source.stop()


def test_two_processes_with_one_name(servers: Any, fresh_name: str) -> None:
    """The one that was there first is told who took its place, and does not take it back."""
    spec = kafka_spec(servers.kafka, fresh_name, member_id="same", rebalance_ms=3_000)
    names = StaticNames()

    async def scene() -> None:
        async with opened(KafkaTopics(spec)) as topics:
            await topics.ensure([TopicSpec(name=spec.group, partitions=2)])
        async with member_of(spec, names) as first:
            await until(lambda: len(first.held) == 2)
            async with member_of(spec) as second:
                await until(lambda: len(second.held) == 2)
                with pytest.raises(BusUnavailable, match="has another member as same"):
                    await first.read(lambda: False)
                # So its session ends; the next one does not join before it knows who that is.
                with pytest.raises(ConfigError, match=r"another process joined .* as same"):
                    async with member_of(spec, names):
                        pytest.fail("it joined")
                calls = list(second.calls)
                # Many heartbeats long, nothing moves; a name that is taken back moves at the next.
                for _ in range(20):
                    await second.step(wait_s=spec.heartbeat_ms / 1_000)
                assert second.calls == calls == [("assigned", [0, 1])]

    run(scene())


def test_name_that_a_ghost_took(servers: Any, fresh_name: str) -> None:
    """A join of our own that came late takes the name and is never heard of again: we go on."""
    spec = kafka_spec(
        servers.kafka, fresh_name, member_id="same", session_ms=2_000, rebalance_ms=2_000
    )
    names = StaticNames()

    async def scene() -> None:
        async with opened(KafkaTopics(spec)) as topics:
            await topics.ensure([TopicSpec(name=spec.group, partitions=2)])
        async with member_of(spec, names) as first:
            await until(lambda: len(first.held) == 2)
            async with member_of(spec) as ghost:
                await until(lambda: len(ghost.held) == 2)
            with pytest.raises(BusUnavailable, match="has another member as same"):
                await first.read(lambda: False)
        async with member_of(spec, names) as again:
            await until(lambda: len(again.held) == 2)

    run(scene())


def test_name_that_nobody_took_is_ours_again(servers: Any, fresh_name: str) -> None:
    """A static member that the group forgot (its session was over) joins again as itself."""
    spec = kafka_spec(servers.kafka, fresh_name, member_id="same", session_ms=1_000)

    async def scene() -> None:
        async with opened(KafkaTopics(spec)) as topics:
            await topics.ensure([TopicSpec(name=spec.group, partitions=2)])
        async with member_of(spec) as member:
            await until(lambda: len(member.held) == 2)
            coordinator = member.source._consumer._coordinator
            beat = coordinator._do_heartbeat
            silence = asyncio.Event()

            async def silent() -> bool:
                await silence.wait()
                return await beat()

            coordinator._do_heartbeat = silent
            before = coordinator.member_id
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 2.0)
            silence.set()
            async with asyncio.timeout(30):
                while coordinator.member_id in (before, "") or len(member.held) < 2:
                    await member.step()

    run(scene())


def _static(servers: Any, fresh_name: str) -> KafkaSpec:
    """One whom the group keeps while it is away."""
    return kafka_spec(servers.kafka, fresh_name, member_id="same", session_ms=30_000)


async def _grown_while_away(spec: KafkaSpec) -> None:
    """A member ends, its topic grows, and it is back; it must come to have all of it."""
    async with opened(KafkaTopics(spec)) as topics:
        await topics.ensure([TopicSpec(name=spec.group, partitions=2)])
        async with member_of(spec) as member:
            await until(lambda: len(member.held) == 2)
        await topics.grow(spec.group, 4)
    async with member_of(spec) as member:
        await until(lambda: len(member.held) == 4)


def test_topic_grew_while_the_only_member_was_away(servers: Any, fresh_name: str) -> None:
    """The broker gives a static member what it had; what came since is its own all the same."""
    run(_grown_while_away(_static(servers, fresh_name)))


def test_topic_grows_under_a_member_that_was_away(servers: Any, fresh_name: str) -> None:
    """Back in the group by its name, it does not know that it leads; it must see growth as one."""
    spec = _static(servers, fresh_name)

    async def scene() -> None:
        async with opened(KafkaTopics(spec)) as topics:
            await topics.ensure([TopicSpec(name=spec.group, partitions=2)])
            async with member_of(spec) as member:
                await until(lambda: len(member.held) == 2)
            async with member_of(spec) as member:
                await until(lambda: len(member.held) == 2)
                await topics.grow(spec.group, 4)
                await until(lambda: len(member.held) == 4)

    run(scene())


def test_topic_made_anew_between_two_lives(servers: Any, fresh_name: str) -> None:
    """A member that last had nothing, for want of the topic, has all of it when it is back."""
    spec = _static(servers, fresh_name)

    async def scene() -> None:
        wanted = [TopicSpec(name=spec.group, partitions=2)]
        async with opened(KafkaTopics(spec)) as topics:
            await topics.ensure(wanted)
            async with member_of(spec) as member:
                await until(lambda: len(member.held) == 2)
                await topics._started().delete_topics([spec.group])
                coordinator = member.source._consumer._coordinator
                await until(lambda: not member.held and coordinator.generation > 1)
            await topics.ensure(wanted)
        async with member_of(spec) as member:
            await until(lambda: len(member.held) == 2)

    run(scene())


def test_what_the_group_dealt_out_cannot_be_asked(
    servers: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a member that led joins once more in any case, and all there is is dealt out."""
    spec = _static(servers, fresh_name)

    async def refused(self: StaticName) -> int:
        raise ConfigError("not allowed")

    monkeypatch.setattr(StaticName, "_dealt", refused)

    run(_grown_while_away(spec))


def test_quick_restart_moves_nothing(servers: Any, fresh_name: str) -> None:
    """Nobody of the group hears of a leader that was away, if no partition came meanwhile."""
    spec, other = _static(servers, fresh_name), kafka_spec(servers.kafka, fresh_name)

    async def scene() -> None:
        async with opened(KafkaTopics(spec)) as topics:
            await topics.ensure([TopicSpec(name=spec.group, partitions=4)])
        async with contextlib.AsyncExitStack() as undo:
            async with member_of(spec) as member:
                await until(lambda: len(member.held) == 4)
                beside = await undo.enter_async_context(member_of(other))
                await until(lambda: len(member.held) == len(beside.held) == 2)
                had, calls = set(member.held), list(beside.calls)
            async with member_of(spec) as member:
                await until(lambda: member.held == had)
                for _ in range(20):
                    await member.step(wait_s=spec.heartbeat_ms / 1_000)
                assert member.calls == [("assigned", sorted(had))]
                assert beside.calls == calls

    run(scene())
