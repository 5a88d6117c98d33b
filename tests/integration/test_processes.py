"""Several workers of one command on real servers: they die, stop and join, and nothing is lost."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.local import Addresses
from tests.faults.kafka import Scene, told
from tests.faults.story import Result, Story
from tests.together import Crew, crew, runs

EVENTS = 3_000


@pytest.fixture
def scene(servers: Addresses, fresh_name: str, tmp_path: Path) -> Scene:
    """A scenario on the session's servers."""
    return Scene(servers, fresh_name, tmp_path)


def environment_of(story: Story, **kafka: Any) -> dict[str, str]:
    """The variables of an installation for the command."""
    config = story.installation.config
    settings = {
        "kafka": {"bootstrap": config.kafka.bootstrap, "linger_ms": 0} | kafka,
        "worker": msgspec.to_builtins(config.worker),
        "processes": {"restart_wait_ms": 100},
    }
    (story.folder / "policy.yaml").write_text(story.installation.policy_text)
    file = story.folder / "settings.yaml"
    file.write_bytes(msgspec.json.encode(settings))
    kept = {name: value for name, value in os.environ.items() if "ENFORCER" not in name}
    return kept | {
        "ENFORCER_CONFIG": str(file),
        "ENFORCER_HASH_KEY": b"a test key, 16 b".hex(),
        "ENFORCER_METRICS": "127.0.0.1:0",
        "ENFORCER_POLICY": str(story.folder / "policy.yaml"),
        "ENFORCER_PREFIX": config.topics.requests.removesuffix(".requests"),
        "ENFORCER_REDIS": config.redis.url,
    }


async def seen(made: Crew, is_so: Any) -> None:
    """Wait until something is so, while the load goes on."""
    await asyncio.to_thread(made.wait, is_so)


def taken(made: Crew, words: str = "took partitions") -> dict[Any, int]:
    """How often each process said that it took partitions."""
    counts: dict[Any, int] = {}
    for each in made.said(words):
        counts[each["process"]] = counts.get(each["process"], 0) + 1
    return counts


@pytest.mark.timeout(300)
def test_three_count_as_one_and_stop_together(scene: Scene) -> None:
    """Their one page has the sums of all, rows and commands are a replay's, SIGTERM ends all."""
    story = Story(*scene)

    async def playing() -> Result:
        await story.installation.topics()
        with crew(3, environment_of(story), story.folder / "log", "--name", "trio") as three:
            await seen(three, lambda: three.page("/readyz")[0] == 200)
            await story.feed(3, EVENTS)
            await story.settled(await story.log())
            await seen(three, lambda: three.value("enforcer_events_total", what="events") >= EVENTS)
            assert three.value("enforcer_events_total", what="events") == EVENTS
            assert three.value("enforcer_partitions_owned") == 6
            commands = len(await story.installation.commands())
            assert three.value("enforcer_commands_total") == commands
            # Counted when the broker acknowledges, which may be after others can read it.
            delay = "enforcer_detection_delay_seconds_count"
            await seen(three, lambda: three.value(delay) >= commands)
            assert three.value(delay) == commands
            assert three.value("enforcer_process_up") == 3
            assert three.page("/healthz")[0] == 200
            children = three.children()
            three.parent.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(three.ended) == 0
            assert not any(map(runs, children.values()))
        return await story.verdict("three", {})

    assert told(story, playing()).is_right


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_one_of_three_is_killed(scene: Scene) -> None:
    """It has its partitions back, under its name, without a rebalance; nothing counts twice."""
    story = Story(*scene)
    # Longer than a start takes on a busy machine: within it the group keeps its partitions.
    environment = environment_of(story, session_ms=30_000)

    async def playing() -> Result:
        await story.installation.topics()
        with crew(3, environment, story.folder / "log", "--name", "trio") as three:
            await seen(three, lambda: three.page("/readyz")[0] == 200)
            before = taken(three)
            async with story.feeding(5):
                await story.more(800)
                os.kill(three.children()[1], signal.SIGKILL)
                await seen(three, lambda: three.page("/readyz")[0] != 200)
                recovery_s = {"killed": await story.recovery()}
                await seen(three, lambda: three.page("/readyz")[0] == 200)
            assert three.value("enforcer_process_restarts_total", process="1", how="signal") == 1
            assert taken(three) == before | {1: before[1] + 1}
            result = await story.verdict("one of three", recovery_s)
            three.parent.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(three.ended) == 0
        return result

    result = told(story, playing())
    assert result.is_right, result


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_one_joins(scene: Scene) -> None:
    """What the others keep is read from no store, and they stand still for a short while."""
    story = Story(*scene)
    environment = environment_of(story)

    async def playing() -> Result:
        await story.installation.topics()
        with crew(2, environment, story.folder / "log", "--name", "duo") as two:
            await seen(two, lambda: two.page("/readyz")[0] == 200)
            # The first of them joined alone, and gave up some when the other came.
            await seen(two, lambda: two.value("enforcer_partitions_owned") == 6)
            async with story.feeding(9):
                await story.more(2_000)
                counts = (
                    "enforcer_rows_loaded_total", "enforcer_rebalance_seconds_sum",
                    "enforcer_rebalance_seconds_count",
                )  # fmt: skip
                before = {name: two.value(name) for name in counts}
                kept = two.value("enforcer_partitions_given_total", what="kept")
                taken_before = two.value("enforcer_partitions_given_total", what="taken")
                story.start("third")
                await seen(two, lambda: two.value("enforcer_partitions_owned") == 4)
                await story.wait_ready("third")
                recovery_s = {"joined": await story.recovery()}
                await story.more(1_000)
                after = {name: two.value(name) for name in counts}
                change = {name: after[name] - before[name] for name in counts}
                came = two.value("enforcer_partitions_given_total", what="kept") - kept
                anew = two.value("enforcer_partitions_given_total", what="taken") - taken_before
            two.parent.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(two.ended) == 0
            notes = {"change": change, "came": came, "anew": anew}
        return await story.verdict("joined", recovery_s, notes)

    result = told(story, playing())
    assert result.is_right, result
    change = result.notes["change"]
    assert (result.notes["came"], result.notes["anew"]) == (4, 0), result
    assert change["enforcer_rebalance_seconds_count"] == 2, result
    assert change["enforcer_rows_loaded_total"] == 0, result
    # A second is what an idle machine must keep to; this one may be busy with other tests.
    pause_s = change["enforcer_rebalance_seconds_sum"] / 2
    sys.stderr.write(f"pause of a rebalance: {pause_s:.2f} s, of two members\n")
    assert pause_s < 5.0, result
