"""Payloads to a batch: plain ones by a kernel, all others by msgspec, which defines what they mean.

What the kernel does not accept is decoded one payload at a time; then whole columns are moved at
once, to the same places in the same array. Strings become keyed hashes through bounded caches, so
that a hash is computed once per distinct text, in one kernel call for all that a batch brings anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    Source,
    Token,
    decode_json,
    decode_request,
    fault_of,
)
from stream.identity import InvalidIdentity, canonical_workload, positive_murmur2
from stream.kernel import HashKey, is_compiled
from stream.records import Values

from .batch import EVENT, Batch, Payloads, empty_batch
from .columns import Columns, brief_columns, briefs_of, columns_of
from .elements import Elements, elements_of
from .gathering import Gathered, joined
from .placing import place_events

CACHE_MAX: Final = 262_144  # texts a cache, and
CACHED_CHARACTERS_MAX: Final = 64_000_000  # in all of them: names may be 2 KiB long
_KIND: Final[dict[str, int]] = {name: index for index, name in enumerate(KINDS)}
_EFFECT: Final[dict[str, int]] = {name: index for index, name in enumerate(EFFECTS)}
_OUTCOME: Final[dict[str, int]] = {name: index for index, name in enumerate(OUTCOMES)}


Hears = Callable[[int, Source], bool]
IDENTITY: Final = np.dtype([("hash", np.uint64), ("home", np.int32)], align=True)


class Arrival(NamedTuple):
    """Records of one partition as they came from the log.

    Shapes: offsets, append_ms and values have one entry per record.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    append_ms: Sequence[int]
    values: Sequence[bytes | None]


class Read(NamedTuple):
    """An arrival as far as the kernel could read it.

    Shapes: events: [event] of EVENT, all zero where one is not plain; is_plain: [event].
    """

    arrival: Arrival
    elements: Elements
    events: np.ndarray[Any, Any]
    is_plain: np.ndarray[Any, Any]
    gathered: Gathered


class Decoder:
    """Turns arrivals into batches; keeps the caches of hashes.

    A workload's home is judged by `partitions`, or by what `adopt` said of the partition. What
    resources say is read only `with_values`, or where `adopt` said so: hashing it costs as much as
    all else.
    """

    def __init__(self, key: HashKey, partitions: int, *, with_values: bool = False) -> None:
        self._key = key
        self._with_values = with_values
        self._partitions = partitions
        self._counts: dict[int, int] = {}
        self._valued: frozenset[int] = frozenset()
        self._empty_caches()

    def adopt(self, partition: int, count: int, *, with_values: bool = False) -> None:
        """Judge what comes in a partition by so many partitions from now on."""
        self._counts[partition] = count
        self._valued = self._valued | {partition} if with_values else self._valued - {partition}

    def reads_values(self, partition: int) -> bool:
        """Tell whether what resources say is read in a partition."""
        return self._with_values or partition in self._valued

    def suffices(self, read: Read) -> bool:
        """Tell whether what was read earlier has all that is to be read in its partition now."""
        return read.gathered.with_values or not self.reads_values(read.arrival.partition)

    def read(self, arrivals: Sequence[Arrival]) -> list[Read]:
        """Read what is plain; needs no state of the decoder, so another thread may do it.

        As plain Python the kernel would take longer than msgspec for all, so it is left out then.
        """
        read: list[Read] = []
        room = np.zeros(sum(len(each.values) for each in arrivals), EVENT)
        for arrival in arrivals:
            values = Values.of(arrival.values)
            mine, room = room[: len(values)], room[len(values) :]
            with_values = self.reads_values(arrival.partition)
            gathered = Gathered(self._key, len(values), with_values=with_values)
            elements, events, is_plain = elements_of(values, self._key.seal, gathered, mine)
            if is_compiled():
                gathered.read(elements.values, events, is_plain)
            read.append(Read(arrival, elements, events, is_plain, gathered))
        return read

    def decode(
        self, arrivals: Sequence[Arrival], hears: Hears | None = None
    ) -> tuple[Batch, list[Reject]]:
        """Return the events in arrival order, and what was not one; see `finish`."""
        return self.finish(self.read(arrivals), hears)

    def finish(
        self, read: Sequence[Read], hears: Hears | None = None
    ) -> tuple[Batch, list[Reject]]:
        """Return the events in arrival order, and what was not one.

        `hears` tells, for a partition, whether a forwarded event is heard for the first time; what
        comes again is left out. A misrouted event is a Reject, whose raw payload is whole. The
        events of one record count from nought in `ordinal`.
        Errors: none; a bad payload is a Reject.
        """
        rejects: list[Reject] = []
        parts = [self._finish_one(each, rejects, hears) for each in read]
        if not parts:
            return empty_batch(), rejects
        gathered = [each.gathered for each in read]
        events, values, tokens = joined(
            [(part[0], each) for part, each in zip(parts, gathered, strict=True)]
        )
        return Batch(events, Payloads.of([part[1] for part in parts]), values, tokens), rejects

    def _finish_one(
        self, read: Read, rejects: list[Reject], hears: Hears | None
    ) -> tuple[np.ndarray[Any, Any], Values]:
        arrival, elements, events, good, _ = read
        values = elements.values
        faults = _Faults(arrival, elements, rejects)
        is_out = self._judge_records(read, faults, hears)
        odd = np.flatnonzero(~(good | is_out))
        good &= ~is_out
        if len(odd):
            self._decode_odd(read, odd, faults)
        count = self._counts.get(arrival.partition, self._partitions)
        offsets = np.asarray(arrival.offsets, np.int64)
        columns = offsets, faults.append_ms, elements.records, elements.ordinals
        if place_events(events, columns, good, arrival.partition, count):
            at_home = events["home"] % count == arrival.partition
            for place in np.flatnonzero(good & ~at_home).tolist():
                home = int(events["home"][place]) % count
                message = f"the workload's home is partition {home} of {count}"
                faults.add(place, RejectCode.MISROUTED, message, values[place])
            good &= at_home
        if good.all():
            return events, values
        kept = np.flatnonzero(good)
        return events[kept], Values(values.data, values.starts[kept], values.sizes[kept])

    def _judge_records(self, read: Read, faults: _Faults, hears: Hears | None) -> Any:
        """Return which events are none, or were heard before, by their records: [event] of bool.

        An event that was forwarded came when it came to its source. Mutates: the times of `faults`.
        """
        elements = read.elements
        is_out = np.zeros(len(elements.values), np.bool_)
        for record, event in elements.forwarded.items():
            of = elements.of(record)
            if hears is not None and not hears(read.arrival.partition, event.source):
                is_out[of] = True
            else:
                here_ms = int(read.arrival.append_ms[record])
                faults.append_ms[of] = event.appended_ms(here_ms)
        for record, code, message in elements.faults:
            of = elements.of(record)
            if not is_out[of].any():
                faults.add(of.start, code, message)
            is_out[of] = True
        return is_out

    def _decode_odd(self, read: Read, odd: Any, faults: _Faults) -> None:
        """Decode what the kernel left. Mutates: the events and is_plain of `read`."""
        payloads: Sequence[bytes | None] = list(read.elements.values.at(odd))
        kept: list[int] = odd.tolist()
        briefs = briefs_of(payloads)
        if briefs is not None:
            events = np.zeros(len(briefs), EVENT)
            read.is_plain[kept] = self._fill(events, brief_columns(briefs), kept, faults)
            read.events[kept] = events
            return
        try:
            if max(map(len, payloads)) > PAYLOAD_BYTES_MAX:  # type: ignore[arg-type]
                raise ValueError
            requests = [decode_json(payload) for payload in payloads]  # type: ignore[arg-type]
        except (ValueError, TypeError, RecursionError):
            requests, kept = _decode_each(payloads, kept, faults)
        if requests:
            events = np.zeros(len(requests), EVENT)
            read.is_plain[kept] = self._fill(events, columns_of(requests), kept, faults)
            read.gathered.add(requests, events)
            read.events[kept] = events

    def _fill(self, events: Any, columns: Columns, kept: Sequence[int], faults: _Faults) -> Any:
        """Move the columns into the array; return which events are good. Mutates: events."""
        count = len(events)
        self._bound_caches()
        good = self._fill_workloads(events, columns.workload, kept, faults)
        events["at_ms"] = np.fromiter(columns.at_ms, np.int64, count)
        events["operation"] = self._hashes(columns.operation, count)
        events["authenticated"], events["count"] = 1, 1
        numbers = ("bytes", columns.bytes), ("cost", columns.cost), ("count", columns.counts)
        for name, column in (*numbers, ("authenticated", columns.authenticated)):
            if column is not None:
                events[name] = np.fromiter(column, events.dtype[name], count)
        words = (
            ("outcome", columns.outcome, _OUTCOME),
            ("kind", columns.kind, _KIND),
            ("effect", columns.effect, _EFFECT),
        )
        for name, texts, numbers_of in words:
            if texts is not None:
                events[name] = np.fromiter(map(numbers_of.__getitem__, texts), np.uint8, count)
        if columns.task is not None:
            events["task"] = self._hashes(columns.task, count)
        if columns.purpose is not None:
            events["purpose"] = self._hashes(columns.purpose, count)
        if columns.token is not None:
            events["token"] = self._token_hashes(columns.token, count)
        return good

    def _fill_workloads(
        self, events: Any, names: list[str], kept: Sequence[int], faults: _Faults
    ) -> Any:
        """Fill hash and home of each workload; return which are valid. Mutates: events."""
        known, count = self._workloads, len(names)
        try:
            places = np.fromiter(map(known.__getitem__, names), np.int64, count)
        except KeyError:
            self._learn_workloads(set(names).difference(known))
            places = np.fromiter(map(known.__getitem__, names), np.int64, count)
        hashes = self._identities[places]
        events["workload"] = hashes["hash"]
        events["home"] = hashes["home"]
        good = hashes["hash"] != 0
        if not good.all():
            for place in np.flatnonzero(~good).tolist():
                message = self._faulty[names[place]]
                faults.add(kept[place], RejectCode.BAD_IDENTITY, message)
        return good

    def _empty_caches(self) -> None:
        self._workloads: dict[str, int] = {}  # text -> place in _identities
        self._identities = np.zeros(0, IDENTITY)
        self._faulty: dict[str, str] = {}  # the identities of these are all zero
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
        fresh = np.zeros(len(names), IDENTITY)
        start = len(self._identities)
        for place, name in enumerate(names):
            self._workloads[name] = start + place
            try:
                canonical[name] = canonical_workload(name)
            except InvalidIdentity as error:
                self._faulty[name] = error.message
        hashes = self._key.hash_all(list(canonical.values()))
        for (name, workload), value in zip(canonical.items(), hashes, strict=True):
            fresh[self._workloads[name] - start] = (value, positive_murmur2(workload.encode()))
        self._identities = np.concatenate((self._identities, fresh))

    def _hashes(self, texts: Sequence[str], count: int) -> Any:
        known = self._texts
        try:
            return np.fromiter(map(known.__getitem__, texts), np.uint64, count)
        except KeyError:
            fresh = list(set(texts).difference(known))
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


def _decode_each(
    payloads: Sequence[bytes | None], odd: Sequence[int], faults: _Faults
) -> tuple[list[Request], list[int]]:
    """Decode one by one where some payload is not JSON; return the requests and their places."""
    requests, kept = [], []
    for place, payload in zip(odd, payloads, strict=True):
        try:
            requests.append(decode_request(payload or b""))
            kept.append(place)
        except (ValueError, RecursionError) as error:
            faults.add(place, *fault_of(payload, error))
    return requests, kept


class _Faults:
    """Collects the rejects of one arrival.

    Shapes: append_ms [event]: when each came, a forwarded one to its source.
    """

    def __init__(self, arrival: Arrival, elements: Elements, rejects: list[Reject]) -> None:
        self.append_ms = np.array(arrival.append_ms, np.int64)[elements.records]
        self._arrival = arrival
        self._elements = elements
        self._rejects = rejects

    def add(self, place: int, code: RejectCode, message: str, raw: bytes | None = None) -> None:
        """Add what became of an event; without `raw` it keeps its bytes as they came."""
        arrival, elements = self._arrival, self._elements
        record, is_part = int(elements.records[place]), bool(elements.is_part[place])
        append_ms = int(self.append_ms[place])
        if raw is None and is_part:
            raw = elements.values[place]
        elif raw is None:
            raw, append_ms = arrival.values[record], int(arrival.append_ms[record])
        ordinal = int(elements.ordinals[place])
        reject = Reject(
            code=code,
            message=f"event {ordinal} of its record: {message}" if is_part else message,
            topic=arrival.topic,
            partition=arrival.partition,
            offset=int(arrival.offsets[record]),
            raw=raw or b"",
            append_ms=append_ms,
            ordinal=ordinal,
        )
        self._rejects.append(reject)
