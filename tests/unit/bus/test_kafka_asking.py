"""Which broker is asked what any of them can answer."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from types import SimpleNamespace
from typing import Any

import aiokafka.errors as vendor
import pytest

from stream.bus import kafka


class Client:
    """A client of three brokers, some of which are gone or have vanished."""

    def __init__(self, gone: set[int], vanished: set[int]) -> None:
        self.gone, self.vanished = gone, vanished
        brokers = [SimpleNamespace(nodeId=each) for each in range(3)]
        self.cluster = SimpleNamespace(brokers=lambda: brokers)

    async def send(self, node: int, request: Any) -> str:
        """Answer, refuse, or never do either."""
        if node in self.gone:
            raise vendor.NodeNotReadyError(str(node))
        if node in self.vanished:
            await asyncio.Event().wait()
        return f"{request} {node}"


@pytest.mark.parametrize(
    ("gone", "vanished"), [((), ()), ((0, 2), ()), ((), (1,)), ((1,), (0,)), ((), (0, 1))]
)
def test_one_that_is_gone_keeps_no_answer_back(
    gone: tuple[int, ...], vanished: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is asked first, one that is there answers."""
    monkeypatch.setattr(kafka, "OTHER_S", 0.01)
    client: Any = Client(set(gone), set(vanished))
    for first in itertools.permutations(range(3)):
        monkeypatch.setattr(kafka.random, "shuffle", partial(_ordered, first))
        if first[-1] in vanished:
            continue  # who is asked last has as long as the caller
        answer = asyncio.run(asyncio.wait_for(kafka.ask_any(client, "bounds"), 5))
        assert int(answer.split()[1]) not in {*gone, *vanished}
        assert answer.startswith("bounds ")


def _ordered(order: tuple[int, ...], nodes: list[int]) -> None:
    nodes[:] = order


def test_what_none_answers_is_said() -> None:
    """The last one's error is the caller's."""
    client: Any = Client({0, 1, 2}, set())
    with pytest.raises(vendor.NodeNotReadyError):
        asyncio.run(kafka.ask_any(client, "bounds"))
