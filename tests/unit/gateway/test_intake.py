"""What a table believes, and what it does with the rest: count it, and go on."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.bus import Record
from stream.events import (
    OperatorRecord,
    Rate,
    Subject,
    SubjectRecord,
    TokenRef,
    Version,
    decode_value,
    heartbeat_key,
    operator_key,
    subject_key,
)
from stream.gateway import CommandTable, TableSpec
from stream.gateway.table import OUTCOMES
from tests.models.owner import (
    AGENT,
    NOW_MS,
    OTHER,
    Owner,
    Pair,
    Topic,
    act,
    command,
    operator_record,
    revoked,
    subject_record,
)
from tests.unit.gateway.shelf import Shelf

TOKEN = TokenRef("https://issuer.example.org", "7f3a")


def test_older_versions_are_refused(shelf: Shelf) -> None:
    """Late or repeated records never undo what came later; equal ones change nothing."""
    newer = revoked(offset=5)
    assert shelf.put(newer) == "applied"
    assert shelf.put(newer) == "unchanged"
    subject = Subject(workload=AGENT)
    older = subject_record(subject, command(subject, "release", offset=4))
    assert shelf.put(older) == "older"
    assert shelf.decision() == "deny"
    assert shelf.table.counts == Counter(applied=1, unchanged=1, older=1)


def test_a_later_home_of_the_same_workload_replaces() -> None:
    """When partitions were multiplied, offsets of the new home start low and still count."""
    subject = Subject(workload=AGENT)
    table, topic = CommandTable(TableSpec(), 2), Topic()
    before = subject_record(subject, command(subject, offset=9_000), partition=1)
    after = subject_record(subject, command(subject, "release", offset=3), partition=3)
    assert table.apply(topic.record(before, 1)) == "applied"
    assert table.apply(topic.record(after, 1)) == "applied"
    assert table.apply(topic.record(before, 1)) == "older"


def test_tombstones_remove(shelf: Shelf) -> None:
    """After a tombstone nothing is held; one for nothing, or from elsewhere, does nothing."""
    pair = revoked()
    shelf.put(pair)
    assert shelf.table.apply(Record(7, 99, NOW_MS, pair[0], None)) == "misplaced"
    assert shelf.decision() == "deny"
    assert shelf.put((pair[0], None)) == "removed"
    assert shelf.put((pair[0], None)) == "unchanged"
    assert shelf.decision() == "allow"
    assert (len(shelf.table), shelf.table.bytes_held) == (0, 0)


def test_a_late_tombstone_ends_nothing(shelf: Shelf) -> None:
    """A tombstone from before the record that is held is about an earlier one."""
    key, value = revoked()
    assert shelf.table.apply(Record(0, 5, NOW_MS, key, value)) == "applied"
    assert shelf.table.apply(Record(0, 4, NOW_MS, key, None)) == "older"
    assert shelf.decision() == "deny"


@pytest.mark.parametrize("workload", ["", "spiffe://Example.org/a", "nobody", "spiffe://x.org"])
def test_nobody_binds_what_is_no_workload(shelf: Shelf, workload: str) -> None:
    """A subject is a canonical workload; all of an operation, or everything, is none."""
    subject = Subject(workload=workload)
    assert shelf.put(subject_record(subject, command(subject), issuer="operator")) == "malformed"


@pytest.mark.parametrize(
    "subject",
    [
        Subject(workload="", operation="GET /x"),
        Subject(workload="", task="t", token=TOKEN),
        Subject(workload=AGENT, task="t", token=TOKEN),
        Subject(workload=AGENT, task="t", operation="GET /x"),
    ],
)
def test_a_subject_is_one_thing(shelf: Shelf, subject: Subject) -> None:
    """Two things at once, or an operation of everybody, are no subject."""
    assert shelf.put(subject_record(subject, command(subject), issuer="operator")) == "malformed"


def test_key_and_value_must_agree(shelf: Shelf) -> None:
    """A record under another subject's key is believed for neither."""
    _, value = revoked(AGENT)
    key, _ = revoked(OTHER)
    assert shelf.put((key, value)) == "malformed"
    assert shelf.put((b'["home", "%s", "workload"]' % AGENT.encode(), value)) == "malformed"
    assert shelf.decision(AGENT) == shelf.decision(OTHER) == "allow"


def test_a_command_on_somebody_else_spoils_its_record(shelf: Shelf) -> None:
    """A record holds commands on its own subject only."""
    subject = Subject(workload=AGENT)
    assert shelf.put(subject_record(subject, command(Subject(workload=OTHER)))) == "malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at_ms": 10**19},
        {"expires_at_ms": -1},
        {"caused_at_ms": 10**30},
        {"action": "throttle", "rate": None},
        {"action": "throttle", "rate": Rate(-1, 1_000)},
        {"action": "throttle", "rate": Rate(1, 0)},
        {"action": "throttle", "rate": Rate(1, 1_000, 0)},
        {"action": "throttle", "rate": Rate(10**40, 1)},
        {"offset": 10**25},
        {"offset": -1},
    ],
)
def test_impossible_commands_are_not_believed(shelf: Shelf, changes: dict[str, Any]) -> None:
    """Numbers that no worker writes spoil their record."""
    subject = Subject(workload=AGENT)
    action = changes.pop("action", "revoke")
    assert shelf.put(subject_record(subject, command(subject, action, **changes))) == "malformed"


@pytest.mark.parametrize(
    "pair",
    [
        (b"", b""),
        (b"k", b"{}"),
        (b"k", b"\xff\xfe"),
        (b"k", b"[" * 100_000),
        (b"k", b'{"type":"commands"}'),
        (b"k", b"9" * 300_000),
        (b"x" * 20_000, None),
        (*revoked()[:1], b'{"type":"operator","workload":"","acts":[]}'),
        operator_record("", act("exempt")),
        operator_record(AGENT, act("stop")),
        operator_record(AGENT, act("exempt", 0)),
        operator_record("nobody", act("exempt")),
        operator_record(AGENT, act("exempt", 10**20)),
    ],
)
def test_rubbish_is_counted_and_ignored(shelf: Shelf, pair: Pair) -> None:
    """Whatever is written to the topic, the table goes on."""
    assert shelf.put(pair) == "malformed"
    assert len(shelf.table) == 0
    assert shelf.put(revoked()) == "applied"


def test_a_record_without_a_key_is_malformed(shelf: Shelf) -> None:
    """Nothing can be held under no key."""
    assert shelf.table.apply(Record(0, 0, NOW_MS, None, b"{}")) == "malformed"


def test_other_formats_are_named(shelf: Shelf) -> None:
    """What a newer worker writes is not guessed at."""
    key, value = revoked()
    assert value is not None
    assert shelf.put((key, value.replace(b'"format":1', b'"format":2'))) == "foreign_format"


def test_records_off_their_place_are_refused() -> None:
    """A home partition's records and heartbeats count only where they lie beside each other."""
    table, topic = CommandTable(TableSpec(), 2), Topic()
    owner = Owner(partition=1, partitions=2)
    pair = owner.put(Subject(workload=AGENT), command(Subject(workload=AGENT)))
    assert table.apply(topic.record(pair, 0)) == "misplaced"
    assert table.apply(topic.record(owner.heartbeat(), 0)) == "misplaced"
    assert table.apply(topic.record(pair, 1)) == "applied"


def test_too_many_commands_in_one_record_cost_no_time(shelf: Shelf) -> None:
    """The strongest of a record's commands apply, and no more than a check can look at."""
    subject = Subject(workload=AGENT)
    many = [command(subject, "throttle", rate=Rate(9, 9), offset=at) for at in range(200)]
    shelf.put(subject_record(subject, *many, command(subject, offset=300)))
    bound = shelf.table.bound(AGENT)
    assert bound is not None
    assert len(bound.everything) == 16
    assert shelf.decision() == "deny"


def test_acts_of_another_partition_count_by_their_time() -> None:
    """Where two partitions hold acts on one workload, the later append counts, in any order."""
    free, bound = operator_record(AGENT, act("exempt")), operator_record(AGENT)
    for order in (1, -1):
        shelf = Shelf()
        shelf.put(revoked())
        records = [Record(0, 5, NOW_MS, *free), Record(3, 2, NOW_MS + 1, *bound)]
        outcomes = [shelf.table.apply(record) for record in records[::order]]
        assert outcomes == (["applied", "applied"] if order == 1 else ["applied", "older"])
        assert shelf.decision() == "deny"


def test_long_texts_are_cut() -> None:
    """What a forged reason or rule holds is bounded before it is kept or answered."""
    shelf = Shelf()
    shelf.put(revoked(text="x" * 100_000, rule="r" * 100_000))
    verdict = shelf.table.check(NOW_MS, AGENT, "GET /x")
    assert (len(verdict.reason), len(verdict.rule)) == (1_000, 128)


def test_equal_versions_with_other_content_follow_the_log(shelf: Shelf) -> None:
    """Of two values for one cause the later in the log is held, as compaction would leave it."""
    subject = Subject(workload=AGENT)
    version = Version(0, 1)
    shelf.put(subject_record(subject, command(subject), version=version))
    assert shelf.put(subject_record(subject, version=version)) == "applied"
    assert shelf.decision() == "allow"


SAMPLES = [
    revoked(),
    subject_record(
        Subject(workload=AGENT, token=TOKEN), command(Subject(workload=AGENT, token=TOKEN), "hold")
    ),
    Owner().heartbeat(),
    operator_record(AGENT, act("exempt"), act("lift", 0)),
]
edits = st.tuples(st.integers(0, 2_000), st.integers(0, 40), st.binary(max_size=40))


@settings(max_examples=300)
@given(
    forged=st.lists(
        st.tuples(st.sampled_from(SAMPLES), st.lists(edits, max_size=3), st.booleans()),
        max_size=12,
    )
)
def test_forged_bytes_never_break_the_table(
    forged: list[tuple[tuple[bytes, bytes], list[tuple[int, int, bytes]], bool]],
) -> None:
    """Whatever is cut out of or put into records, the table takes them whole or not at all."""
    shelf = Shelf()
    shelf.table.finish_loading()
    for (key, value), cuts, is_key_forged in forged:
        text = key if is_key_forged else value
        for at, length, put in cuts:
            text = text[:at] + put + text[at + length :]
        pair = (text, value) if is_key_forged else (key, text)
        outcome = shelf.put(pair)
        assert outcome in OUTCOMES
        assert outcome not in ("applied", "heartbeat") or is_same_key(pair)
        shelf.table.check(NOW_MS, AGENT, "GET /x", "t", TOKEN)
        shelf.table.state(NOW_MS)
        list(shelf.table.in_force(NOW_MS))
    assert len(shelf.table) <= len(SAMPLES)


def is_same_key(pair: tuple[bytes, bytes]) -> bool:
    """What is taken stands under the key that its own content asks for."""
    value = decode_value(pair[1])
    if isinstance(value, SubjectRecord):
        return pair[0] == subject_key(value.issuer, value.subject)
    if isinstance(value, OperatorRecord):
        return pair[0] == operator_key(value.workload)
    return pair[0] == heartbeat_key(value.partition)
