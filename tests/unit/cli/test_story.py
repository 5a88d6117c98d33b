"""How the demo judges itself: its exit code is worth something."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stream.bus import MemoryLog, MemoryPublisher, MemoryReader, MemoryTopics, TopicSpec
from stream.cli.fleet import HARVEST, Call, Step
from stream.cli.screen import Screen
from stream.cli.story import Story
from stream.cli.theatre import PlainTheatre, show_outcome
from stream.events import Subject
from stream.gateway import Gateway, GatewaySpec
from tests.buses import WallClock, until
from tests.models.owner import Owner, command

READ = Call(HARVEST, "read", 100)
CALM = Step(0.0, READ, 10, "t")
BAD = Step(0.0, READ, 10, "t", is_bad=True)
Scene = Callable[[Story, "Stage"], Awaitable[None]]


class Stage:
    """A gateway on a log in memory, and what was said."""

    def __init__(self) -> None:
        self.clock = WallClock()
        self.log = MemoryLog(self.clock)
        self.owner = Owner()
        self.said: list[str] = []

    def bind(self, workload: str, action: str, **changes: Any) -> None:
        """Put a command in force on a workload."""
        subject = Subject(workload=workload)
        self.log.append(
            "enforcement", 0, *self.owner.put(subject, command(subject, action, **changes))
        )


def on_stage(scene: Scene) -> None:
    """Play a scene with a gateway that follows the log."""

    async def play() -> None:
        stage = Stage()
        await MemoryTopics(stage.log).ensure(
            [TopicSpec(name=name, partitions=1) for name in ("requests", "enforcement")]
        )
        doors = MemoryReader(stage.log), MemoryPublisher(stage.log)
        async with Gateway(*doors, stage.clock, GatewaySpec()) as gateway:
            story = Story(gateway, 1, 0.0, lambda text, style: stage.said.append(text))
            await scene(story, stage)

    asyncio.run(play())


def held(story: Story, count: int) -> Callable[[], bool]:
    """Whether the gateway knows of so many commands."""
    return lambda: sum(1 for _ in story._gateway.in_force()) == count


def test_a_bad_agent_that_is_stopped_is_success() -> None:
    """Throttled, then revoked: numbers, rule and reason are those of the verdicts."""

    async def scene(story: Story, stage: Stage) -> None:
        assert all(story._call(story.bad, BAD) for _ in range(3))
        stage.bind(story.bad.workload, "throttle", text="too many")
        await until(held(story, 1))
        while story._call(story.bad, BAD):
            pass
        stage.clock.at_ms += 40
        stage.bind(story.bad.workload, "revoke", text="the reason", rule="the-rule", offset=2)
        await until(lambda: next(story._gateway.in_force()).body.action == "revoke")
        assert not story._call(story.bad, BAD)
        outcome = story.outcome()
        assert outcome.problems == ()
        assert outcome.throttled_after_events == outcome.stopped_after_events == 5
        assert (outcome.rule, outcome.reason) == ("the-rule", "the reason")
        assert outcome.reaction_ms == 0
        assert outcome.refused == 2
        assert any("is stopped: the reason" in each for each in stage.said)

    on_stage(scene)


def test_a_bad_agent_that_goes_on_is_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """Not stopped at all, or only throttled: the demo has failed and says so."""

    async def scene(story: Story, stage: Stage) -> None:
        story._call(story.bad, BAD)
        assert story.outcome().problems == (f"{story.bad.name} was not stopped",)
        show_outcome(Screen(is_json=False), story.outcome())

    on_stage(scene)
    assert "failed: " in capsys.readouterr().out


def test_a_benign_agent_that_is_touched_is_failure() -> None:
    """Refused once, or with a command in force that was not even felt yet."""

    async def scene(story: Story, stage: Stage) -> None:
        one, other, shadowed, *_ = [each for each in story.agents if each is not story.bad]
        stage.bind(one.workload, "revoke")
        stage.bind(other.workload, "revoke", offset=2)
        stage.bind(shadowed.workload, "revoke", offset=3, mode="shadow")
        await until(held(story, 3))
        assert not story._call(one, CALM)
        assert story._call(shadowed, CALM)
        assert story.outcome().benign_touched == tuple(sorted((one.name, other.name)))

    on_stage(scene)


def test_lines_tell_how_things_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody draws, a line now and then says calls and agents."""

    async def scene(story: Story, stage: Stage) -> None:
        theatre = PlainTheatre(Screen(is_json=True))
        with theatre.stage():
            theatre.show(story)
            theatre.show(story)

    on_stage(scene)
    (line,) = capsys.readouterr().err.splitlines()
    assert "0 calls of 40 agents" in line
