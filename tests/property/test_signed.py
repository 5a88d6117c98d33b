"""With keys, whatever is written to the topic by who has none changes nothing that gateways do."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.events import (
    OperatorRecord,
    Rate,
    Subject,
    TokenRef,
    decode_value,
    encode,
    operator_key,
    split_signature,
)
from stream.gateway import REFUSALS, CommandTable, TableSpec
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
)
from tests.signed import ALGORITHMS, signed, trust

PARTITIONS = 2
HOMES = 3
SPEC = msgspec.convert({"kind": "table", "mode": "closed"}, TableSpec)
HELD_MS = 300_000
TOKEN = TokenRef("https://issuer.example.org", "7f3a")
SUBJECTS = [
    (0, Subject(workload=AGENT)),
    (1, Subject(workload=OTHER)),
    (0, Subject(workload=AGENT, task="t-1")),
    (2, Subject(workload="spiffe://example.org/c", token=TOKEN)),
]
QUESTIONS = [
    (workload, task, token)
    for workload in (AGENT, OTHER, "spiffe://example.org/c")
    for task in ("", "t-1")
    for token in (None, TOKEN)
]

SAMPLES = [
    (signed(revoked(), "worker", each), each) for each in ALGORITHMS
] + [
    (signed(Owner().heartbeat(), "worker", each), each) for each in ALGORITHMS
] + [
    (signed(operator_record(AGENT, act("exempt")), "operator", each), each)
    for each in ALGORITHMS
]  # fmt: skip


def is_taken(pair: Pair, algorithm: str) -> bool:
    """Whether a table with keys takes a record that is the first of its log."""
    outcome = CommandTable(SPEC, 1, trust(algorithm)).apply(Topic().record(pair))
    return outcome in ("applied", "heartbeat")


@pytest.mark.parametrize("place", range(len(SAMPLES)))
def test_each_byte_matters(place: int) -> None:
    """No record is taken of which one byte of value or key was changed, wherever it stands."""
    (name, value), algorithm = SAMPLES[place]
    assert is_taken((name, value), algorithm)
    for text, other in ((value, name), (name, value)):
        for at in range(len(text)):
            # All values for an HMAC would take minutes; flips of one bit and of case are enough.
            for flip in (0x01, 0x20):
                changed = text[:at] + bytes([text[at] ^ flip]) + text[at + 1 :]
                pair = (other, changed) if text is value else (changed, other)
                assert not is_taken(pair, algorithm), (at, flip)


edits = st.tuples(st.integers(0, 1_200), st.integers(0, 8), st.binary(max_size=8))


@settings(max_examples=300)
@given(
    place=st.integers(0, len(SAMPLES) - 1),
    cuts=st.lists(edits, min_size=1, max_size=3),
    is_key=st.booleans(),
)
def test_no_mutation_is_taken(place: int, cuts: list[tuple[int, int, bytes]], is_key: bool) -> None:
    """Cut, insert and replace as one likes: it is the signed record, or none is taken."""
    (name, value), algorithm = SAMPLES[place]
    text = name if is_key else value
    for at, length, put in cuts:
        text = text[:at] + put + text[at + length :]
    pair = (text, value) if is_key else (name, text)
    assert is_taken(pair, algorithm) == (pair == (name, value))


class Site:
    """An honest installation: owners, operators, a clock; and two tables that read its topic.

    `honest` has no keys and reads what was said, unsigned; `keyed` reads it signed, with all that
    an attacker writes in between.
    """

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.now_ms = NOW_MS
        self.offset = self.attacked = 0
        self.topics = Topic(), Topic()
        self.honest = CommandTable(SPEC, PARTITIONS)
        self.keyed = CommandTable(SPEC, PARTITIONS, trust(algorithm))
        self.owners = [Owner(home, HOMES) for home in range(HOMES)]
        self.over_ms: dict[bytes, tuple[int, int]] = {}
        self.acts: dict[str, OperatorRecord] = {}
        self.written: list[tuple[int, Pair]] = []
        for table in (self.honest, self.keyed):
            table.finish_loading()

    def say(self, pair: Pair, home: int, role: str = "worker") -> None:
        """Write what an honest part says."""
        partition = home % PARTITIONS
        self.honest.apply(self.topics[0].record(pair, partition, self.now_ms))
        written = signed(pair, role, self.algorithm)
        outcome = self.keyed.apply(self.topics[1].record(written, partition, self.now_ms))
        assert outcome not in REFUSALS, (outcome, pair)
        self.written.append((partition, written))

    def put(self, place: int, action: str, lasts_ms: int) -> None:
        home, subject = SUBJECTS[place]
        self.offset += 1
        one = command(
            subject,
            action,
            rate=Rate(0, 1_000) if action == "throttle" else None,
            offset=self.offset,
            caused_at_ms=self.now_ms,
            expires_at_ms=self.now_ms + lasts_ms,
        )
        name, value = self.owners[home].put(subject, one)
        self.over_ms[name] = self.now_ms + lasts_ms, home
        self.say((name, value), home)

    def operate(self, workload: str, *kinds: str) -> None:
        said = tuple(act(each, self.now_ms + HELD_MS) for each in kinds)
        said = tuple(msgspec.structs.replace(each, at_ms=self.now_ms) for each in said)
        before = self.acts.get(workload)
        record = OperatorRecord(
            workload=workload,
            acts=said,
            at_ms=max(self.now_ms, before.at_ms + 1 if before else 0),
            until_ms=max([before.until_ms if before else 0, *(each.until_ms for each in said)]),
        )
        self.acts[workload] = record
        self.say((operator_key(workload), encode(record)), 0, "operator")

    def beat(self) -> None:
        """Tombstone what is long over, then say what is published, as a worker does."""
        for name, (over_ms, home) in list(self.over_ms.items()):
            if over_ms + SPEC.tombstone_after_ms < self.now_ms:
                del self.over_ms[name]
                self.say(self.owners[home].drop(name), home)
        for home, owner in enumerate(self.owners):
            self.say(owner.heartbeat(self.now_ms, next_offset=self.offset), home)

    def attack(self, kind: str, number: int, at: int) -> None:
        """Write something as who has no key; what was written last is likely to be it."""
        self.attacked += 1
        is_beat = kind.startswith("beat")
        some = [each for each in self.written if each[1][0].startswith(b'["heartbeat') == is_beat]
        some = some or self.written
        partition, (name, value) = some[-1 - number % min(len(some), 12)]
        if kind == "elsewhere":
            partition = 1 - partition
        elif kind == "erase":
            value = None
        elif kind == "unsigned" and value is not None:
            value = split_signature(value).payload
        elif kind == "altered" and value is not None:
            value = value[: at % len(value)] + b"x" + value[at % len(value) + 1 :]
        elif kind == "rename":
            name = self.written[at % len(self.written)][1][0]
        record = self.topics[1].record((name, value), partition, self.now_ms)
        self.keyed.apply(record)

    def answers(self, table: CommandTable) -> Any:
        verdicts = [
            (each.decision, each.command, each.cause.action)
            for each in (table.check(self.now_ms, q[0], "GET /x", q[1], q[2]) for q in QUESTIONS)
        ]
        ids = sorted(each.id for each in table.in_force(self.now_ms))
        return table.state(self.now_ms), verdicts, ids


attacks = st.tuples(
    st.just("attack"),
    st.sampled_from(
        [
            "again",
            "again",
            "erase",
            "erase",
            "elsewhere",
            "unsigned",
            "altered",
            "under another key",
        ]
    ),
    st.integers(0, 11),
    st.integers(0, 1_000),
)
honest = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from([0, 0, 0, 1, 2, 3]),
        st.sampled_from(["revoke", "throttle", "release"]),
        st.sampled_from([1_000, HELD_MS, 3_600_000]),
    ),
    st.tuples(st.just("operate"), st.just(""), st.sampled_from(["stop", "lift"])),
    st.tuples(st.just("operate"), st.just(""), st.just("")),
    st.tuples(st.just("operate"), st.just(AGENT), st.sampled_from(["exempt", "lift"])),
    st.tuples(st.just("operate"), st.just(AGENT), st.just("")),
)
waits = st.tuples(st.just("wait"), st.sampled_from([1_000, 2_000, 61_000, 61_000, 400_000]))


@pytest.mark.parametrize("algorithm", ["hmac"])
@settings(max_examples=200)
@given(steps=st.lists(st.one_of(attacks, attacks, honest, waits), min_size=25, max_size=50))
def test_attacks_change_nothing(algorithm: str, steps: list[Any]) -> None:
    """A running gateway decides as if they were not there; what is refused is counted.

    The attacker repeats, moves, erases, strips, alters and renames all that was ever written.
    """
    site = Site(algorithm)
    site.beat()
    for step, *args in steps:
        if step == "put":
            site.put(*args)
        elif step == "operate":
            site.operate(args[0], *filter(None, args[1:]))
        elif step == "wait":
            # Beats come every second; a stretch in which nobody looks shows only its last.
            site.now_ms += args[0]
            site.beat()
        else:
            site.attack(*args)
        assert site.answers(site.keyed) == site.answers(site.honest)
    assert sum(site.keyed.counts.values()) == len(site.written) + site.attacked


def test_what_the_attacker_repeats_is_really_signed() -> None:
    """The property attacks with records that a gateway would take, were they new."""
    site = Site("hmac")
    site.put(0, "revoke", HELD_MS)
    _, pair = site.written[-1]
    assert is_taken(pair, "hmac")
    assert decode_value(pair[1] or b"").subject == SUBJECTS[0][1]
