"""Payloads to a batch by msgspec: the path that defines what a payload means.

One payload at a time is decoded; then whole columns are moved at once. Strings become keyed hashes
through bounded caches, so that a hash is computed once per distinct text, in one kernel call for
all that a batch brings anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np

from stream.events import (
    EFFECTS,
    KINDS,
    OUTCOMES,
    PAYLOAD_BYTES_MAX,
    Reject,
    RejectCode,
    Request,
    Token,
    decode_json,
    decode_request,
    fault_of,
)
from stream.identity import InvalidIdentity, canonical_workload, positive_murmur2
from stream.kernel import HashKey

from .batch import EVENT, Batch

CACHE_MAX: Final = 262_144  # texts a cache, and
CACHED_CHARACTERS_MAX: Final = 64_000_000  # in all of them: names may be 2 KiB long
_KIND: Final = {name: index for index, name in enumerate(KINDS)}
_EFFECT: Final = {name: index for index, name in enumerate(EFFECTS)}
_OUTCOME: Final = {name: index for index, name in enumerate(OUTCOMES)}
_fields = attrgetter(
    "at_ms",
    "workload",
    "operation",
    "outcome",
    "bytes",
    "task",
    "token",
    "kind",
    "effect",
    "cost",
    "count",
    "authenticated",
)


class Arrival(NamedTuple):
    """Records of one partition as they came from the log.

    Shapes: offsets, append_ms and values have one entry per record.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    append_ms: Sequence[int]
    values: Sequence[bytes | None]


class Decoder:
    """Turns arrivals into batches; keeps the caches of hashes."""

    def __init__(self, key: HashKey, partitions: int, *, check_home: bool = True) -> None:
        self._key = key
        self._partitions = partitions
        self._check_home = check_home
        self._empty_caches()

    def decode(self, arrivals: Sequence[Arrival]) -> tuple[Batch, list[Reject]]:
        """Return the events in arrival order, and what was not one.

        Errors: none; a bad payload is a Reject.
        """
        rejects: list[Reject] = []
        parts, payloads = [], []
        for arrival in arrivals:
            events, kept = self._decode_one(arrival, rejects)
            parts.append(events)
            payloads += kept
        events = np.concatenate(parts) if parts else np.empty(0, EVENT)
        return Batch(events, payloads), rejects

    def _decode_one(
        self, arrival: Arrival, rejects: list[Reject]
    ) -> tuple[np.ndarray[Any, Any], list[bytes]]:
        values, faults = arrival.values, _Faults(arrival, rejects)
        try:
            if values and max(map(len, values)) > PAYLOAD_BYTES_MAX:  # type: ignore[arg-type]
                raise ValueError
            requests = [decode_json(value) for value in values]  # type: ignore[arg-type]
            kept: Sequence[int] | None = None
        except (ValueError, TypeError, RecursionError):
            requests, kept = _decode_each(values, faults)
        events = np.zeros(len(requests), EVENT)
        if not requests:
            return events, []
        columns = list(zip(*map(_fields, requests), strict=True))
        good = self._fill(events, columns, kept, faults)
        events["offset"] = _pick(arrival.offsets, kept)
        events["append_ms"] = _pick(arrival.append_ms, kept)
        events["partition"] = arrival.partition
        payloads: list[Any] = list(values) if kept is None else [values[each] for each in kept]
        if self._check_home:
            at_home = events["home"] % self._partitions == arrival.partition
            if not at_home[good].all():
                for place in np.flatnonzero(good & ~at_home):
                    faults.add(
                        _origin(kept, place), RejectCode.MISROUTED, self._home(events, int(place))
                    )
                good &= at_home
        if not good.all():
            payloads = [payloads[each] for each in np.flatnonzero(good)]
            events = events[good]
        return events, payloads

    def _home(self, events: Any, place: int) -> str:
        home = int(events["home"][place]) % self._partitions
        return f"the workload's home is partition {home} of {self._partitions}"

    def _fill(
        self, events: Any, columns: list[Any], kept: Sequence[int] | None, faults: _Faults
    ) -> Any:
        """Move the columns into the array; return which events are good. Mutates: events."""
        count = len(events)
        at_ms, names, operations, outcomes, sizes, tasks, tokens, *rest = columns
        kinds, effects, costs, counts, authenticated = rest
        self._bound_caches()
        known = self._workloads
        missing = set(names).difference(known)
        if missing:
            self._learn_workloads(missing)
        entries = [known[name] for name in names]
        good = np.ones(count, bool)
        self._fill_workloads(events, entries, good, kept, faults)
        events["at_ms"] = np.fromiter(at_ms, np.int64, count)
        events["operation"] = self._hashes(operations, count)
        if outcomes.count("served") != count:
            events["outcome"] = np.fromiter(map(_OUTCOME.__getitem__, outcomes), np.uint8, count)
        events["bytes"] = np.fromiter(sizes, np.int64, count)
        if tasks.count("") != count:
            events["task"] = self._hashes(tasks, count)
        if tokens.count(None) != count:
            events["token"] = self._token_hashes(tokens, count)
        if kinds.count("request") != count:
            events["kind"] = np.fromiter(map(_KIND.__getitem__, kinds), np.uint8, count)
        if effects.count("") != count:
            events["effect"] = np.fromiter(map(_EFFECT.__getitem__, effects), np.uint8, count)
        if costs.count(0) != count:
            events["cost"] = np.fromiter(costs, np.int64, count)
        events["count"] = 1 if counts.count(1) == count else np.fromiter(counts, np.int32, count)
        events["authenticated"] = np.fromiter(authenticated, np.uint8, count)
        return good

    def _fill_workloads(
        self,
        events: Any,
        entries: list[tuple[int, int] | str],
        good: Any,
        kept: Sequence[int] | None,
        faults: _Faults,
    ) -> None:
        try:
            hashes, homes = zip(*entries, strict=True)
            events["workload"] = np.fromiter(hashes, np.uint64, len(entries))
            events["home"] = np.fromiter(homes, np.int32, len(entries))
        except (ValueError, TypeError):  # some entry is the text of a fault
            for place, entry in enumerate(entries):
                if isinstance(entry, str):
                    good[place] = False
                    faults.add(_origin(kept, place), RejectCode.BAD_IDENTITY, entry)
                else:
                    events["workload"][place], events["home"][place] = entry

    def _empty_caches(self) -> None:
        self._workloads: dict[str, tuple[int, int] | str] = {}
        self._texts: dict[str, int] = {"": 0}
        self._tokens: dict[Token | None, int] = {None: 0}
        self._characters = 0

    def _bound_caches(self) -> None:
        most = max(len(self._workloads), len(self._texts), len(self._tokens))
        if most > CACHE_MAX or self._characters > CACHED_CHARACTERS_MAX:
            self._empty_caches()

    def _learn_workloads(self, names: set[str]) -> None:
        canonical: dict[str, str] = {}
        self._characters += sum(map(len, names))
        for name in names:
            try:
                canonical[name] = canonical_workload(name)
            except InvalidIdentity as error:
                self._workloads[name] = error.message
        hashes = self._key.hash_all(list(canonical.values()))
        for (name, workload), value in zip(canonical.items(), hashes, strict=True):
            self._workloads[name] = (value, positive_murmur2(workload.encode()))

    def _hashes(self, texts: Sequence[str], count: int) -> Any:
        known = self._texts
        missing = set(texts).difference(known)
        if missing:
            fresh = list(missing)
            self._characters += sum(map(len, fresh))
            known.update(zip(fresh, self._key.hash_all(fresh), strict=True))
        return np.fromiter(map(known.__getitem__, texts), np.uint64, count)

    def _token_hashes(self, tokens: Sequence[Token | None], count: int) -> Any:
        known = self._tokens
        missing = [each for each in set(tokens).difference(known) if each is not None]
        if missing:
            texts = [token_text(each.issuer, each.id) for each in missing]
            self._characters += sum(map(len, texts))
            known.update(zip(missing, self._key.hash_all(texts), strict=True))
        return np.fromiter(map(known.__getitem__, tokens), np.uint64, count)


def token_text(issuer: str, token_id: str) -> str:
    """Return the text whose hash names a token; unambiguous whatever the two contain."""
    return f"{len(issuer)}:{issuer}:{token_id}"


class _Faults:
    """Collects the rejects of one arrival."""

    def __init__(self, arrival: Arrival, rejects: list[Reject]) -> None:
        self._arrival = arrival
        self._rejects = rejects

    def add(self, place: int, code: RejectCode, message: str) -> None:
        arrival = self._arrival
        reject = Reject(
            code=code,
            message=message,
            topic=arrival.topic,
            partition=arrival.partition,
            offset=arrival.offsets[place],
            raw=arrival.values[place] or b"",
        )
        self._rejects.append(reject)


def _decode_each(
    values: Sequence[bytes | None], faults: _Faults
) -> tuple[list[Request], Sequence[int]]:
    """Decode one by one where some payload is not plain JSON; return requests and places."""
    requests, kept = [], []
    for place, value in enumerate(values):
        try:
            requests.append(decode_request(value or b""))
            kept.append(place)
        except (ValueError, RecursionError) as error:
            faults.add(place, *fault_of(value, error))
    return requests, kept


def _origin(kept: Sequence[int] | None, place: Any) -> int:
    return int(place) if kept is None else kept[place]


def _pick(column: Sequence[int], kept: Sequence[int] | None) -> Any:
    values = column if kept is None else [column[each] for each in kept]
    return np.fromiter(values, np.int64, len(values))
