"""What a worker finds out by asking, and how a mode is told."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

import pytest

from stream.bus import Bounds, MemoryLog, MemorySource
from stream.errors import BusUnavailable, ConfigError, StoreUnavailable
from stream.events import Conditions, Version
from stream.metrics import MODES, Metrics
from stream.runtime import SystemClock
from stream.runtime.looking import Looking
from stream.runtime.modes import SAID_EVERY_S, Modes
from stream.runtime.owned import Owned
from stream.runtime.published import Published
from stream.store import Checkpoint, MemoryServer, MemoryStore

BEHIND_EVENTS = 100


class Source(MemorySource):
    """A source that answers as it is told to."""

    ends: dict[int, int] = {}  # noqa: RUF012 - set by each test
    fault: Exception | None = None
    hangs = False

    async def bounds(self, partitions: Sequence[int]) -> dict[int, Bounds]:
        """Answer, fail, or wait for ever."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault
        return {each: Bounds(0, self.ends.get(each, 0)) for each in partitions}

    async def partition_count(self) -> int:
        """Answer as `bounds` does."""
        return len(await self.bounds([0]))


class Store(MemoryStore):
    """A store that answers as it is told to."""

    fault: Exception | None = None

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Answer or fail."""
        if self.fault is not None:
            raise self.fault
        return None


class Steered(SystemClock):
    """A clock that a test lets go on."""

    now_s = 1_000.0

    def monotonic_s(self) -> float:
        """Return what the test says."""
        return self.now_s


class Scene:
    """One who looks, and what can be seen of it."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.clock = Steered()
        self.modes = Modes(self.clock, self.metrics)
        self.source = Source(MemoryLog(SystemClock()), "requests")
        self.store = Store(MemoryServer())
        self.looking = Looking(self.source, self.store, self.modes, 50, BEHIND_EVENTS)

    def held(self) -> list[str]:
        """The modes that hold, by the gauge; the lines of /readyz name the same."""
        shown = self.metrics.text().decode()
        held = [each for each in MODES if f'enforcer_mode{{mode="{each}"}} 1.0' in shown]
        assert sorted(held) == [text.split()[0] for text in self.modes.texts()]
        return held


def owned(position: int, replay_until: int = 0, modes: tuple[str, ...] = ()) -> Owned:
    """Partition 0 at a position."""
    conditions = Conditions(nonce="n", era=0, from_offset=0, policy_hash="h", policy_text="t")
    return Owned(
        partition=0, nonce="n", epoch=1, number=0, position=position, replay_until=replay_until,
        topic_id="", conditions=conditions,
        journal_offset=0, published=Published({}), coming=deque(), version=Version(0, -1),
        began_in=modes,
    )  # fmt: skip


@pytest.mark.parametrize("has_partitions", [False, True])
def test_broker_that_does_not_answer_is_named(has_partitions: bool) -> None:
    """An error and a silence are broker_down, with or without partitions, until an answer comes."""
    scene = Scene()
    mine = {0: owned(5)} if has_partitions else {}

    async def story() -> None:
        for fault, hangs in ((BusUnavailable("gone"), False), (None, True)):
            scene.source.fault, scene.source.hangs = fault, hangs
            assert await scene.looking.look(mine) == {}
            assert scene.held() == ["broker_down"]
            scene.source.fault, scene.source.hangs = None, False
            assert await scene.looking.look(mine) == dict.fromkeys(mine, 0)
            assert scene.held() == []

    asyncio.run(story())


def test_topic_that_is_gone_ends_the_session() -> None:
    """A member whose topic was deleted has nothing to wait for: the next session makes it."""
    scene = Scene()
    scene.source.fault = ConfigError("topic requests does not exist")

    async def story() -> None:
        with pytest.raises(BusUnavailable, match="does not exist"):
            await scene.looking.look({})

    asyncio.run(story())
    assert scene.held() == []


def test_store_that_does_not_answer_is_named() -> None:
    """A store that is away is store_down, and says nothing about the broker."""
    scene = Scene()

    async def story() -> None:
        scene.store.fault = StoreUnavailable("gone")
        await scene.looking.look({0: owned(0)})
        assert scene.held() == ["store_down"]
        scene.store.fault = None
        await scene.looking.look({0: owned(0)})
        assert scene.held() == []

    asyncio.run(story())


def test_behind_begins_above_the_bound_and_ends_under_half() -> None:
    """A lag around the bound does not flicker; one that nobody can ask for changes nothing."""
    scene = Scene()

    async def story() -> list[bool]:
        seen = []
        for lag in (BEHIND_EVENTS, BEHIND_EVENTS + 1, BEHIND_EVENTS, BEHIND_EVENTS // 2):
            scene.source.ends = {0: 7 + lag}
            await scene.looking.look({0: owned(7)})
            seen.append("behind" in scene.held())
        return seen

    assert asyncio.run(story()) == [False, True, True, False]


def test_beginning_shows_until_the_partition_is_settled() -> None:
    """A partition that is rebuilt keeps its mode up until it has caught up, and not longer."""
    scene = Scene()

    async def story() -> None:
        scene.source.ends = {0: 9}
        await scene.looking.look({0: owned(3, 9, ("store_forgot",))})
        assert scene.held() == ["store_forgot"]
        await scene.looking.look({0: owned(9, 9, ("store_forgot",))})
        assert scene.held() == []

    asyncio.run(story())


def test_mode_is_logged_when_it_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is said, one line each, with the reason."""
    scene = Scene()

    async def story() -> None:
        for _ in range(3):
            scene.modes.begin("behind", "the reason")
        scene.modes.end("behind")
        scene.modes.end("behind")

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["mode behind begins: the reason", "mode behind ends after 0.0 s"]


def test_log_says_in_the_end_what_is_so(caplog: pytest.LogCaptureFixture) -> None:
    """A beginning or an end that came too soon after the last one is said when it may be."""
    scene = Scene()
    modes, clock = scene.modes, scene.clock

    def looks(answers: bool, after_s: float) -> list[str]:
        caplog.clear()
        clock.now_s += after_s
        if answers:
            modes.end("store_down")
        else:
            modes.begin("store_down", "gone")
        return [record.getMessage() for record in caplog.records]

    with caplog.at_level(logging.WARNING):
        assert looks(False, 0) == ["mode store_down begins: gone"]
        assert looks(True, 1) == ["mode store_down ends after 1.0 s"]
        assert looks(False, 1) == []
        assert looks(False, 1) == []
        assert looks(False, 3) == ["mode store_down begins: gone"]
        assert looks(False, SAID_EVERY_S) == []
        assert looks(True, 0) == ["mode store_down ends after 9.0 s"]
        assert looks(False, 1) == ["mode store_down begins: gone"]
        assert looks(True, 1) == []
        assert looks(True, 2) == []
        assert looks(True, 2) == ["mode store_down ends after 1.0 s"]
        assert looks(False, 0) == ["mode store_down begins: gone"]


def test_a_mode_that_comes_and_goes_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is left out is counted."""
    scene = Scene()
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            scene.modes.begin("store_down", "gone")
            scene.modes.end("store_down")
        assert len(caplog.records) == 2
        scene.clock.now_s += SAID_EVERY_S
        scene.modes.begin("store_down", "gone")
    said = "mode store_down begins: gone (6 changes left out)"
    assert caplog.records[-1].getMessage() == said
