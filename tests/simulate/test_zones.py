"""Zones under every fault: what a zone may say comes home once and in order, and nothing else."""

from collections.abc import Callable

import pytest

from stream.bus import Chunk
from stream.runtime.ingress import Ingress
from stream.runtime.screening import Screen
from stream.simulate import simulate, with_zones

FEW = range(3)
Sabotage = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("seed", FEW)
def test_no_law_is_broken(seed: int) -> None:
    """Rows, commands and letters are those of the log, and the log has what the zone may say."""
    assert simulate(seed, prepare=with_zones).violations == []


@pytest.mark.soak
def test_no_law_is_broken_in_many_runs() -> None:
    """The same, long."""
    broken = {seed: simulate(seed, prepare=with_zones).violations for seed in range(3, 1_500)}
    assert {seed: each for seed, each in broken.items() if each} == {}


def committing_early(patch: pytest.MonkeyPatch) -> None:
    """The group is told before what was sent is acknowledged."""

    async def carry(self: Ingress, chunks: object) -> None:
        for chunk in chunks:  # type: ignore[attr-defined]
            self._positions[chunk.partition] = chunk.offsets[-1] + 1
        await self._commit()
        await whole(self, chunks)

    whole = Ingress._carry
    patch.setattr(Ingress, "_carry", carry)


def believing(patch: pytest.MonkeyPatch) -> None:
    """What a zone says of others is let in."""
    patch.setattr("stream.identity.Territory.admits", lambda self, workload: True)


def sending_in_any_order(patch: pytest.MonkeyPatch) -> None:
    """The events of a chunk are sent from its end."""
    judge = Screen.judge

    def judged(self: Screen, chunk: Chunk, place: int, topic_id: str) -> object:
        return judge(self, chunk, len(chunk.offsets) - 1 - place, topic_id)

    patch.setattr(Screen, "judge", judged)


def naming_no_topic(patch: pytest.MonkeyPatch) -> None:
    """An event of one partition of the zone is taken for one of another's."""
    judge = Screen.judge

    def judged(self: Screen, chunk: Chunk, place: int, topic_id: str) -> object:
        return judge(self, chunk._replace(partition=0), place, topic_id)

    patch.setattr(Screen, "judge", judged)


@pytest.mark.parametrize(
    ("sabotage", "first"),
    [(committing_early, 25), (believing, 0), (sending_in_any_order, 0), (naming_no_topic, 0)],
)
def test_a_deliberate_bug_is_found(
    sabotage: Sabotage, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laws see what there is to see, from a seed on that is known to show it soon."""
    sabotage(monkeypatch)
    assert any(simulate(each, prepare=with_zones).violations for each in range(first, first + 60))
