"""What hostile bytes reach, and the law at each place.

A target takes one input. It returns for whatever it may refuse in the declared way; any other
exception, an assertion of a law among them, is a crash. Laws: what is accepted is within bounds,
and encoding it and reading that gives it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, get_args

import msgspec
import numpy as np

from stream.bus import Record
from stream.config import Config
from stream.enforcement import restore_held
from stream.engine import State, step
from stream.errors import ConfigError, NewerFormat, PolicyError, RowCorrupt
from stream.events import (
    BRAKE_FORMAT,
    Conditions,
    Fault,
    Request,
    convert_cloudtrail,
    convert_nginx,
    decode_entry,
    decode_letter,
    decode_request,
    decode_value,
    encode,
    encode_entry,
    encode_request,
    encode_request_msgpack,
    fault_of,
    marker_key,
    origin_of_marker,
)
from stream.gateway import CommandTable, Decision, TableSpec
from stream.identity import InvalidIdentity, canonical_workload, home_partition, positive_murmur2
from stream.policy import load_policy, load_settings
from stream.profiles import Arrival, Decoder, stored_clock_ms
from stream.profiles.rowwords import checksum, seal
from stream.runtime import Published
from stream.store.agreed import CHECKPOINT_BYTES_MAX, decode_checkpoint, encode_checkpoint
from tests.golden.meaning import KEY, PARTITIONS
from tests.live import POLICY
from tests.models.plain import parts_of, values_of, wanted_values

AGENT: Final = "spiffe://golden.example/agents/a0"
GOOD: Final = encode_request(Request(at_ms=1_790_000_000_000, workload=AGENT, operation="GET /a"))
NOW_MS: Final = 1_700_000_000_000
ROUND: Final = 500
Run = Callable[[bytes], object]


class Target(NamedTuple):
    """A way in: the seeds it begins with, and how many of a thousand inputs it gets.

    `open` makes a fresh runner, with whatever state the place has.
    """

    open: Callable[[], Run]
    seeds: str
    share: int
    fixed: Callable[[bytes], bytes] | None = None


def codec() -> Run:
    """One payload to a request and back."""

    def run(data: bytes) -> object:
        try:
            request = decode_request(data)
        except (ValueError, RecursionError) as error:
            return fault_of(data, error)[0]
        assert 0 < request.count <= 1_000_000
        assert 0 <= request.bytes <= 1 << 44
        assert len(request.operation) <= 256
        assert decode_request(encode_request(request)) == request
        packed = encode_request_msgpack(request)
        assert len(packed) > 65_536 or decode_request(packed) == request
        return request

    return run


def events() -> Run:
    """Payloads to the batch array: a hostile one between two good ones, which it does not touch."""
    decoder = Decoder(KEY, 1, with_values=True)
    alone = Decoder(KEY, 1, with_values=True).decode
    good = alone([Arrival("requests", 0, [0], [NOW_MS], [GOOD])])[0].events[0].tobytes()[48:]

    def run(data: bytes) -> object:
        arrival = Arrival("requests", 0, [0, 1, 2], [NOW_MS] * 3, [GOOD, data, GOOD])
        batch, rejects = decoder.decode([arrival])
        parts = parts_of(data) or [data]
        assert len(batch.events) + len(rejects) == 2 + len(parts)
        assert len(batch.events) == len(batch.payloads)
        assert batch.events[0].tobytes()[48:] == good == batch.events[-1].tobytes()[48:]
        if parts != [data]:
            told = [*batch.events["ordinal"].tolist(), *(each.ordinal for each in rejects)]
            assert sorted(told) == sorted([0, 0, *range(len(parts))])
            return len(rejects)
        assert batch.events["offset"].tolist() in ([0, 2], [0, 1, 2])
        try:
            request = decode_request(data)
            name = canonical_workload(request.workload)
        except (ValueError, RecursionError, InvalidIdentity):
            assert [each.offset for each in rejects] == [1]
            return rejects[0].code
        assert not rejects
        event = batch.events[1]
        assert event["workload"] == KEY.hash(name)
        assert event["home"] == positive_murmur2(name.encode())
        assert event["operation"] == KEY.hash(request.operation)
        assert (event["at_ms"], event["count"]) == (request.at_ms, request.count)
        assert (event["bytes"], event["cost"]) == (request.bytes, request.cost)
        assert event["task"] == (KEY.hash(request.task) if request.task else 0)
        assert values_of(batch.events, batch)[1] == wanted_values(request, KEY)
        return name

    return run


def _converter(convert: Callable[[list[bytes]], Any]) -> Callable[[], Run]:
    def opened() -> Run:
        def run(data: bytes) -> object:
            lines = data.split(b"\n")
            found = list(convert(lines))
            for each in found:
                if isinstance(each, Fault):
                    assert len(each.message) < 2_000
                    assert 1 <= each.line <= len(lines)
                else:
                    assert decode_request(encode_request(each)) == each
                    assert canonical_workload(each.workload) == each.workload
            return len(found)

        return run

    return opened


def rows() -> Run:
    """A stored row into the engine, an event on it, and out again."""
    policy = load_policy(POLICY, "fuzz")
    home = positive_murmur2(AGENT.encode())
    partition = home % PARTITIONS
    ids = (KEY.hash(AGENT), home, partition)
    conditions = Conditions(
        nonce="n", era=0, from_offset=0, policy_hash=policy.hash, policy_text=policy.text
    )
    decoder = Decoder(KEY, PARTITIONS)
    arrival = Arrival("requests", partition, [1 << 40], [1_790_000_100_000], [GOOD])
    batch, _ = decoder.decode([arrival])
    state = State(KEY, 4, PARTITIONS)

    def run(data: bytes) -> object:
        nonlocal state
        assert isinstance(stored_clock_ms(data), int)
        if partition not in state.conditions:
            state.adopt(partition, conditions, policy)
        try:
            slot = state.restore(AGENT, ids, data)
        except (RowCorrupt, NewerFormat) as error:
            assert state.table.find(ids[0]) < 0
            return type(error)
        first = state.stored([slot])[0]
        state.evict(slot)
        assert state.stored([state.restore(AGENT, ids, first)])[0] == first
        result = step(state, batch)
        assert len(result.outgoing) <= 64
        after = state.stored([state.table.find(ids[0])])[0]
        state.drop([partition])
        state = State(KEY, 4, PARTITIONS) if len(state.table.layout.counts) > 20 else state
        return len(after)

    return run


def resealed(data: bytes) -> bytes:
    """A row whose length and checksum are right, whatever it says."""
    count = min(int.from_bytes(data[4:8], "little"), len(data) // 8)
    if count < 4:
        return data
    words = np.frombuffer(data, np.uint64, count).copy()
    words[0] = np.uint64(int(words[0]) & 0xFFFFFFFF | count << 32)
    tail = data[count * 8 :]
    words[1] = np.uint64(int(checksum(words, 0, count)) ^ seal(tail))
    return words.tobytes() + tail


def tails() -> Run:
    """What a row says is in force."""

    def run(data: bytes) -> object:
        try:
            held = restore_held(KEY, data)
        except (ValueError, RecursionError) as error:
            return type(error)
        return len(held)

    return run


def values() -> Run:
    """The value of an enforcement record."""

    def run(data: bytes) -> object:
        try:
            value = decode_value(data)
        except (ValueError, RecursionError) as error:
            return type(error)
        assert value.format <= 1
        assert decode_value(encode(value)) == value
        return type(value)

    return run


def gateway() -> Run:
    """A record of the log into a gateway's table (`key LF value`), and what it allows then."""
    spec = TableSpec(records_max=64, bytes_max=1 << 20)
    table, count = CommandTable(spec, PARTITIONS), 0

    def run(data: bytes) -> object:
        nonlocal table, count
        count += 1
        if count % ROUND == 0:
            table = CommandTable(spec, PARTITIONS)
            table.finish_loading()
        key, _, value = data.partition(b"\n")
        partition = len(data) % PARTITIONS
        for each in range(PARTITIONS):
            place = (partition + each) % PARTITIONS
            outcome = table.apply(Record(place, count, NOW_MS, key, value or None))
            if outcome != "misplaced":
                break
        assert len(table) <= 64
        assert table.bytes_held <= 1 << 20
        for name in (AGENT, "spiffe://example.org/agents/a"):
            verdict = table.check(NOW_MS, name, "tool:x", "t")
            assert verdict.decision in get_args(Decision)
            assert isinstance(verdict.reason, str)
        if count % 50 == 0:
            assert len(list(table.in_force(NOW_MS))) <= 64 * 16
            assert len(list(table.operators())) <= 64
            assert isinstance(table.state(NOW_MS), str)
        return outcome

    return run


def journal() -> Run:
    """An entry of a journal."""

    def run(data: bytes) -> object:
        try:
            entry = decode_entry(data)
        except (ValueError, RecursionError) as error:
            return type(error)
        assert entry.format <= BRAKE_FORMAT
        assert decode_entry(encode_entry(entry)) == entry
        return type(entry)

    return run


def checkpoints() -> Run:
    """A stored checkpoint."""

    def run(data: bytes) -> object:
        try:
            checkpoint = decode_checkpoint(3, data)
        except (RowCorrupt, NewerFormat) as error:
            assert "partition 3" in error.message
            return type(error)
        assert checkpoint is not None
        assert len(data) <= CHECKPOINT_BYTES_MAX
        assert decode_checkpoint(3, encode_checkpoint(checkpoint)) == checkpoint
        for value in msgspec.structs.astuple(checkpoint):
            assert not isinstance(value, int) or -(2**63) <= value < 2**63
        return checkpoint.era

    return run


def published() -> Run:
    """A stored entry of what a partition has published."""

    def run(data: bytes) -> object:
        try:
            entries = Published({b"key": data})
        except RowCorrupt as error:
            return type(error)
        assert len(entries.digest) == 16
        return entries.expired(NOW_MS)

    return run


def letters() -> Run:
    """A record of the dead-letter topic: key or value."""

    def run(data: bytes) -> object:
        origin = origin_of_marker(data)
        if origin is not None:
            assert origin_of_marker(marker_key(origin)) == origin
        try:
            letter = decode_letter(data)
        except (ValueError, RecursionError) as error:
            return type(error)
        assert origin_of_marker(marker_key(letter.origin)) == letter.origin
        try:
            return len(letter.payload())
        except ValueError as error:
            return type(error)

    return run


def identities() -> Run:
    """A text that says it names a workload."""

    def run(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        try:
            name = canonical_workload(text)
        except InvalidIdentity as error:
            assert len(error.message) < 1_000
            return error.why
        assert canonical_workload(name) == name
        assert name.isascii() and name.isprintable() and len(name) <= 2_048
        return home_partition(name.encode(), PARTITIONS)

    return run


def policies() -> Run:
    """A policy file."""

    def run(data: bytes) -> object:
        text = data[:20_000].decode("utf-8", "replace")
        try:
            policy = load_policy(text, "fuzz")
        except PolicyError as error:
            assert error.message.startswith("fuzz:")
            return type(error)
        assert load_policy(policy.text, "again").hash == policy.hash
        assert policy.layout.fits()
        return policy.hash

    return run


def settings() -> Run:
    """A settings file."""

    def run(data: bytes) -> object:
        text = data[:20_000].decode("utf-8", "replace")
        try:
            return load_settings(text, "fuzz", Config)
        except ConfigError as error:
            assert error.message.startswith("fuzz:")
            return type(error)

    return run


def _lines_of_cloudtrail(lines: list[bytes]) -> Any:
    return convert_cloudtrail(lines)


TARGETS: Final[dict[str, Target]] = {
    "codec": Target(codec, "events", 220),
    "events": Target(events, "events", 160),
    "nginx": Target(_converter(convert_nginx), "nginx", 90),
    "cloudtrail": Target(_converter(_lines_of_cloudtrail), "cloudtrail", 60),
    "rows": Target(rows, "rows", 40, resealed),
    "tails": Target(tails, "tails", 50),
    "values": Target(values, "enforcement", 80),
    "gateway": Target(gateway, "gateway", 70),
    "journal": Target(journal, "journal", 50),
    "checkpoints": Target(checkpoints, "checkpoints", 40),
    "published": Target(published, "published", 30),
    "letters": Target(letters, "letters", 40),
    "identities": Target(identities, "identities", 50),
    "policies": Target(policies, "policies", 4),
    "settings": Target(settings, "settings", 2),
}
"""The targets that need no server, by name; `endpoints` has the others."""


def shares(names: Sequence[str], inputs: int, targets: dict[str, Target]) -> dict[str, int]:
    """How many of all inputs each target gets, at least one; the first gets the rest."""
    total = sum(targets[name].share for name in names)
    found = {name: max(1, inputs * targets[name].share // total) for name in names}
    return found | {names[0]: found[names[0]] + max(0, inputs - sum(found.values()))}
