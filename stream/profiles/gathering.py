"""The values and tokens of the events of one arrival, as they are read.

Kernels write them and stop where there is no room for another event; then the room is doubled.
Events that a kernel reads come first, those that msgspec decoded behind them: of these a kernel
reads what is ASCII too, and the rest goes by the reference in `resources`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream.events import REQUESTS_MAX, Request
from stream.kernel import HashKey, is_compiled
from stream.records import Values

from .batch import EVENT
from .json_array import split_records
from .json_event import SCRATCH_BYTES, read_events, read_texts
from .resources import EVENT_TOKENS_MAX, EVENT_VALUES_MAX, VALUE, told_by

_VALUES_EACH: Final = 3  # room to begin with, for each event
_TOKENS_EACH: Final = 12
_EVENT_BYTES: Final = 128  # of a small event in an array


_PLACE_KINDS: Final = (np.int64, np.int64, EVENT, np.bool_, np.int64, np.int32, np.bool_)


class Places(NamedTuple):
    """Where events lie, whose they are, and what is read of them.

    Shapes: all [event]; see `split_records`.
    """

    starts: Any
    sizes: Any
    events: Any
    is_plain: Any
    records: Any
    ordinals: Any
    is_part: Any


class Gathered:
    """Values and tokens, and how many there are.

    Shapes: values [value] of VALUE, tokens [token], both longer than what is used; both empty where
            no values are asked for.
    """

    def __init__(self, key: HashKey, count: int, *, with_values: bool) -> None:
        self._key = key
        self.with_values = with_values
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

    def split(self, payloads: Values) -> tuple[Places, list[int]]:
        """Return where events lie, those of plain arrays read, and the records that are left.

        Mutates: self; see `split_records`.
        """
        count = len(payloads)
        data = payloads.data, payloads.starts, payloads.sizes
        # Zeros that nobody touches take no memory, so the guess may be a large one.
        room = count + REQUESTS_MAX + int(payloads.sizes.sum()) // _EVENT_BYTES
        found: list[Any] = [np.zeros(room, kind) for kind in _PLACE_KINDS]
        is_left, events_used = np.zeros(count, np.bool_), np.zeros(1, np.int64)
        blank, hashing = np.zeros(1, EVENT), self._hashing()
        record = 0
        while True:
            origins = (*found[4:], is_left, events_used, blank)
            record = split_records(data, record, tuple(found[:4]), origins, hashing, self._out())
            if record == count:
                break
            if events_used[0] + REQUESTS_MAX > len(found[0]):
                found = [np.concatenate((each, np.zeros_like(each))) for each in found]
            else:
                self._grow()
        places = Places(*(each[: events_used[0]] for each in found))
        return places, np.flatnonzero(is_left).tolist()

    def _hashing(self) -> tuple[Any, Any, Any]:
        return self._key.words, np.empty(SCRATCH_BYTES, np.uint8), np.zeros(2, np.int64)

    def read(self, payloads: Values, events: Any, is_plain: Any) -> None:
        """Read the payloads that are plain. Mutates: self, events, is_plain; see `read_events`."""
        hashing = self._hashing()
        data = payloads.data, payloads.starts, payloads.sizes
        place = read_events(data, 0, events, is_plain, hashing, self._out())
        while place < len(payloads):
            self._grow()
            place = read_events(data, place, events, is_plain, hashing, self._out())

    def add(self, requests: Sequence[Request], events: Any) -> None:
        """Add what the resources of these requests say.

        Shapes: events: [request] of EVENT. Mutates: self, events.
        """
        if not self.with_values:
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
        progress, hashing = np.zeros(2, np.int64), self._hashing()
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

    Events that fill one array between them are that array: nothing is copied.
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
        _together([events for events, _ in parts]),
        np.concatenate([each.values for _, each in parts]),
        np.concatenate([each.tokens for _, each in parts]),
    )


def _together(parts: Sequence[Any]) -> Any:
    """Return arrays as one: that which they are the parts of, if they are all of it, in order."""
    whole, at = parts[0].base, 0
    if whole is not None and sum(map(len, parts)) == len(whole):
        for part in parts:
            if part.base is not whole or _address(part) != _address(whole) + at * whole.itemsize:
                break
            at += len(part)
        else:
            return whole
    return np.concatenate(parts)


def _address(array: Any) -> int:
    return int(array.ctypes.data)  # its array interface would spell out the record type too
