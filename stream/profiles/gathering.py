"""The values and tokens of the events of one arrival, as they are read.

Kernels write them and stop where there is no room for another event; then the room is doubled.
Events that a kernel reads come first, those that msgspec decoded behind them: of these a kernel
reads what is ASCII too, and the rest goes by the reference in `resources`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stream.events import Request
from stream.kernel import HashKey, is_compiled
from stream.records import Values

from .json_event import SCRATCH_BYTES, read_events, read_texts
from .resources import EVENT_TOKENS_MAX, EVENT_VALUES_MAX, VALUE, told_by

_VALUES_EACH: Final = 3  # room to begin with, for each event
_TOKENS_EACH: Final = 12


class Gathered:
    """Values and tokens, and how many there are.

    Shapes: values [value] of VALUE, tokens [token], both longer than what is used; both empty where
            no values are asked for.
    """

    def __init__(self, key: HashKey, count: int, *, with_values: bool) -> None:
        self._key = key
        self._with_values = with_values
        room = with_values and count > 0
        self._values = np.empty(room * (count * _VALUES_EACH + EVENT_VALUES_MAX), VALUE)
        self._tokens = np.empty(room * (count * _TOKENS_EACH + EVENT_TOKENS_MAX), np.uint64)
        self._used = np.zeros(4, np.int64)

    @property
    def values(self) -> np.ndarray[Any, Any]:
        """Return the values there are: [value] of VALUE."""
        return self._values[: self._used[0]]

    @property
    def tokens(self) -> np.ndarray[Any, Any]:
        """Return the tokens there are: [token] of uint64."""
        return self._tokens[: self._used[1]]

    def read(self, payloads: Values, events: Any, is_plain: Any) -> None:
        """Read the payloads that are plain. Mutates: self, events, is_plain; see `read_events`."""
        scratch, where = np.empty(SCRATCH_BYTES, np.uint8), np.zeros(2, np.int64)
        hashing = self._key.words, scratch, where
        data = payloads.data, payloads.starts, payloads.sizes
        place = read_events(data, 0, events, is_plain, hashing, self._out())
        while place < len(payloads):
            self._grow()
            place = read_events(data, place, events, is_plain, hashing, self._out())

    def add(self, requests: Sequence[Request], events: Any) -> None:
        """Add what the resources of these requests say.

        Shapes: events: [request] of EVENT. Mutates: self, events.
        """
        if not self._with_values:
            return
        plain: list[int] = []
        for place, each in enumerate(requests):
            if each.resources and is_compiled() and all(map(str.isascii, each.resources)):
                plain.append(place)
            elif each.resources:
                self._add_one(each.resources, events[place])
        if plain:
            self._add_plain([requests[place].resources for place in plain], events, plain)

    def _add_plain(
        self, resources: Sequence[tuple[str, ...]], events: Any, places: Sequence[int]
    ) -> None:
        texts = [text for each in resources for text in each]
        data = np.frombuffer("".join(texts).encode(), np.uint8)
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
        counts = np.fromiter(map(len, resources), np.int64, len(resources))
        chosen = events[places]
        progress, scratch = np.zeros(2, np.int64), np.empty(SCRATCH_BYTES, np.uint8)
        hashing = self._key.words, scratch, progress
        while not read_texts((data, ends), progress, counts, chosen, hashing, self._out()):
            self._grow()
        for name in ("values_from", "values_count"):
            events[name][places] = chosen[name]

    def _add_one(self, resources: Sequence[str], event: Any) -> None:
        told = told_by(resources)
        texts = [text for each in told for text in (each.name, each.value, *each.tokens)]
        hashes = iter(self._key.hash_all(texts))
        while len(self._values) < self._used[0] + EVENT_VALUES_MAX or (
            len(self._tokens) < self._used[1] + EVENT_TOKENS_MAX
        ):
            self._grow()
        event["values_from"] = self._used[0] if told else 0
        event["values_count"] = len(told)
        for each in told:
            value, start = self._values[self._used[0]], int(self._used[1])
            value["name"], value["value"], value["shape"] = next(hashes), next(hashes), each.shape
            value["tokens_from"], value["tokens_count"] = start, len(each.tokens)
            for place in range(len(each.tokens)):
                self._tokens[start + place] = next(hashes)
            self._used[:2] += (1, len(each.tokens))
        self._used[3] = self._used[0]

    def _out(self) -> tuple[Any, Any, Any]:
        return self._values, self._tokens, self._used

    def _grow(self) -> None:
        """Double the room. Mutates: self."""
        self._values = np.concatenate((self._values, np.empty_like(self._values)))
        self._tokens = np.concatenate((self._tokens, np.empty_like(self._tokens)))


def joined(parts: Sequence[tuple[Any, Gathered]]) -> tuple[Any, Any, Any]:
    """Return the events, values and tokens of several arrivals as one.

    Shapes: parts: events: [event] of EVENT. Mutates: the parts.
    """
    values_from, tokens_from = 0, 0
    for events, gathered in parts:
        values, tokens = gathered.values, gathered.tokens
        if len(values) and values_from:
            events["values_from"] += values_from * (events["values_count"] > 0)
            values["tokens_from"] += tokens_from
        values_from, tokens_from = values_from + len(values), tokens_from + len(tokens)
    return (
        np.concatenate([events for events, _ in parts]),
        np.concatenate([each.values for _, each in parts]),
        np.concatenate([each.tokens for _, each in parts]),
    )
