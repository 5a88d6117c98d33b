"""One suite over every way a table comes to be: at once, in pieces, through a gateway on a log."""

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.bus import MemoryLog, MemoryPublisher, MemoryReader, MemoryTopics, Record, TopicSpec
from stream.events import (
    Command,
    OperatorRecord,
    Rate,
    Subject,
    TokenRef,
    Version,
    encode,
    operator_key,
)
from stream.gateway import CommandTable, Gateway, GatewaySpec, TableSpec, Verdict
from stream.signing import Trust
from tests.buses import WallClock, until
from tests.models.gateway import TableModel
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
    subject_record,
)
from tests.signed import ALGORITHMS, signed, trust

PARTITIONS = 2  # of the topic; three home partitions share them
HOMES = 3
TOKEN = TokenRef("https://issuer.example.org", "7f3a")
SUBJECTS = [
    Subject(workload=AGENT),
    Subject(workload=OTHER),
    Subject(workload=AGENT, task="t-1"),
    Subject(workload=AGENT, token=TOKEN),
    Subject(workload=AGENT, operation="GET /x"),
]
ESTATE = [Subject(workload="", task="t-1"), Subject(workload="", token=TOKEN)]
QUESTIONS = [
    (workload, operation, task, token)
    for workload in (AGENT, OTHER, "spiffe://example.org/nobody")
    for operation in ("GET /x", "GET /y")
    for task in ("", "t-1", "t-2")
    for token in (None, TOKEN)
]
TIMES_MS = [NOW_MS, NOW_MS + 2_000, NOW_MS + 30_000, NOW_MS + 700_000]
SPEC = msgspec.convert({"kind": "table"}, TableSpec)

Step = tuple[int, Pair, int]  # partition of the topic, key and value, append time
Ask = Callable[[int, str, str, str, TokenRef | None], Verdict]
Answers = tuple[list[Verdict], list[str], list[Command]]


@st.composite
def commands(draw: st.DrawFn, subject: Subject) -> Command:
    """A command of any rung; a throttle lets nothing pass."""
    action = draw(st.sampled_from(["observe", "throttle", "hold", "revoke", "release"]))
    return command(
        subject,
        action,
        rate=Rate(0, 1_000) if action == "throttle" else None,
        offset=draw(st.integers(0, 5)),
        mode=draw(st.sampled_from(["enforce", "shadow"])),
        rule=draw(st.sampled_from(["export-burst", "fallback"])),
        caused_at_ms=NOW_MS + draw(st.sampled_from([-10_000, 0, 1_000])),
        expires_at_ms=NOW_MS + draw(st.sampled_from([-1, 1, 10_000, 300_000])),
    )


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    """A log: records, tombstones, heartbeats true and false, operators' acts, rubbish."""
    owners = [Owner(home, HOMES) for home in range(HOMES)]
    log: list[Step] = []
    for _ in range(draw(st.integers(0, 25))):
        home = draw(st.integers(0, HOMES - 1))
        owner, partition = owners[home], home % PARTITIONS
        for each in owners:  # Now and then a zombie, or an owner that does not say when it began.
            each.epoch = draw(st.sampled_from([2, 2, 2, 3, 1, 0]))
        append_ms = NOW_MS + draw(st.integers(0, 3)) * 500
        kind = draw(st.sampled_from("put put put drop beat beat lie estate act rubbish".split()))
        if kind in ("put", "drop"):
            # Each workload has one home, so each key has one partition.
            subject = draw(st.sampled_from(SUBJECTS))
            owner = owners[0 if subject.workload == AGENT else 1]
            partition = owner.partition % PARTITIONS
            together = draw(st.lists(commands(subject), max_size=3))
            pair: Pair = owner.put(subject, *together)
            if kind == "drop":
                pair = owner.drop(pair[0])
        elif kind == "beat":
            pair = owner.heartbeat(append_ms, complete=draw(st.booleans()))
        elif kind == "lie":
            pair = owner.heartbeat(append_ms, records=draw(st.integers(0, 3)), digest="0" * 16)
        elif kind == "estate":
            subject = draw(st.sampled_from(ESTATE))
            partition = 1
            together = draw(st.lists(commands(subject), max_size=2))
            pair = subject_record(subject, *together, issuer="subjects", partition=1)
        elif kind == "act":
            workload = draw(st.sampled_from(["", AGENT]))
            what = st.sampled_from(["lift", "exempt" if workload else "stop"])
            ends_ms = NOW_MS + draw(st.sampled_from([1, 1_500, 600_000]))
            acts = [act(each, ends_ms) for each in draw(st.lists(what, max_size=2))]
            partition, pair = 0, operator_record(workload, *acts)
        else:
            pair = (draw(st.binary(max_size=8)), draw(st.binary(max_size=8)))
        log.append((partition, pair, append_ms))
    return log


def records_of(log: Sequence[Step]) -> list[Record]:
    topic = Topic()
    return [topic.record(pair, partition, append_ms) for partition, pair, append_ms in log]


def answers_of(ask: Ask, state: Callable[[int], str], table: CommandTable) -> Answers:
    verdicts = [ask(now_ms, *question) for now_ms in TIMES_MS for question in QUESTIONS]
    in_force = sorted(table.in_force(NOW_MS), key=lambda each: each.id)
    return verdicts, [state(now_ms) for now_ms in TIMES_MS], in_force


def table_of(records: Sequence[Record], believed: Trust | None = None) -> CommandTable:
    table = CommandTable(SPEC, PARTITIONS, believed)
    for record in records:
        table.apply(record)
    table.finish_loading()
    return table


def by_table(records: Sequence[Record], believed: Trust | None = None) -> Answers:
    table = table_of(records, believed)
    return answers_of(table.check, table.state, table)


def by_gateway(log: Sequence[Step], split: int, believed: Trust | None = None) -> Answers:
    """Publish `split` steps before a gateway opens, the others while it follows."""

    async def live() -> Answers:
        clock = WallClock()
        memory = MemoryLog(clock)
        await MemoryTopics(memory).ensure(
            [TopicSpec(name="enforcement", partitions=PARTITIONS, compacted=True)]
        )

        def append(part: Sequence[Step]) -> None:
            for partition, pair, append_ms in part:
                clock.at_ms = append_ms
                memory.append("enforcement", partition, *pair)

        append(log[:split])
        spec = msgspec.convert({"kind": "gateway"}, GatewaySpec)
        doors = MemoryReader(memory), MemoryPublisher(memory)
        async with Gateway(*doors, clock, spec, believed) as gateway:
            await until(lambda: gateway.state().state != "loading")
            append(log[split:])
            await until(lambda: sum(applied(gateway).values()) == len(log))

            def ask(now_ms: int, *question: str) -> Verdict:
                clock.at_ms = now_ms
                return gateway.check(*question)

            def state(now_ms: int) -> str:
                clock.at_ms = now_ms
                return gateway.state().state

            return answers_of(ask, state, gateway._follower.table)

    return asyncio.run(live())


def applied(gateway: Gateway) -> dict[str, int]:
    tallies = gateway.tallies()
    return {name: count for name, count in tallies.items() if name.startswith("records.")}


WAYS: dict[str, Callable[[Sequence[Step], int], Answers]] = {
    "applied at once": lambda log, split: by_table(records_of(log)),
    # A reader takes partition after partition: the order between partitions is not kept.
    "applied by partition": lambda log, split: by_table(
        sorted(records_of(log), key=lambda record: record.partition)
    ),
    "loaded by a gateway": lambda log, split: by_gateway(log, len(log)),
    "followed by a gateway": lambda log, split: by_gateway(log, min(split, len(log))),
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60)
@given(log=steps(), split=st.integers(0, 25))
def test_every_way_equals_the_model(way: str, log: list[Step], split: int) -> None:
    """However the log reaches the table, verdicts, states and commands are the slow model's."""
    records = records_of(log)
    model = TableModel(records)
    verdicts, states, in_force = WAYS[way](log, split)
    assert states == [model.state(now_ms, SPEC.heartbeats_missed_max) for now_ms in TIMES_MS]
    assert in_force == sorted(model.in_force(NOW_MS), key=lambda each: each.id)
    questions = [(now_ms, *question) for now_ms in TIMES_MS for question in QUESTIONS]
    for question, verdict in zip(questions, verdicts, strict=True):
        decision, among, shadow = model.check(*question)
        assert verdict.decision == decision, question
        assert verdict.command in among, question
        assert {each.command for each in verdict.shadow} == shadow, question


def honest_log(seed: int) -> list[Step]:
    """What three owners and an operator say while time passes: nothing is older than before."""
    chance = random.Random(seed)
    owners = [Owner(home, HOMES) for home in range(HOMES)]
    log: list[Step] = []
    for number in range(1, 40):
        now_ms = NOW_MS - 4_000 + number * 100
        home = chance.randrange(2)
        subject = chance.choice([each for each in SUBJECTS if (each.workload == OTHER) == home])
        action = chance.choice(["throttle", "hold", "revoke", "release"])
        one = command(
            subject,
            action,
            rate=Rate(0, 1_000) if action == "throttle" else None,
            offset=number,
            caused_at_ms=now_ms,
            expires_at_ms=NOW_MS + chance.choice([1_000, 10_000, 300_000]),
        )
        log.append((home % PARTITIONS, owners[home].put(subject, one), now_ms))
        if number % 7 == 0:
            acts = [act(chance.choice(["lift", "exempt"]), NOW_MS + 1_500)]
            record = OperatorRecord(
                workload=AGENT, acts=tuple(acts), at_ms=now_ms, until_ms=NOW_MS + 1_500
            )
            log.append((0, (operator_key(AGENT), encode(record)), now_ms))
        log += [(each.partition % PARTITIONS, each.heartbeat(now_ms), now_ms) for each in owners]
    return log


def role_of(pair: Pair) -> str:
    return "operator" if (pair[0] or b"").startswith(b'["operator"') else "worker"


KEYED_WAYS: dict[str, Callable[[Sequence[Step], Trust], Answers]] = {
    "applied at once": lambda log, believed: by_table(records_of(log), believed),
    "applied by partition": lambda log, believed: by_table(
        sorted(records_of(log), key=lambda record: record.partition), believed
    ),
    "loaded by a gateway": lambda log, believed: by_gateway(log, len(log), believed),
    "followed by a gateway": lambda log, believed: by_gateway(log, len(log) // 3, believed),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("way", KEYED_WAYS)
def test_keys_change_nothing_that_is_signed(way: str, algorithm: str) -> None:
    """However a signed log reaches a table with keys, it answers as one that needs none."""
    for seed in range(3):
        log = honest_log(seed)
        written = [
            (partition, signed(pair, role_of(pair), algorithm), append_ms)
            for partition, pair, append_ms in log
        ]
        answers = KEYED_WAYS[way](written, trust(algorithm))
        assert answers == by_table(records_of(log))
        assert answers[1][0] == "ready"


@settings(max_examples=60)
@given(log=steps(), again=st.integers(1, 3))
def test_repeats_change_nothing(log: list[Step], again: int) -> None:
    """Publishing the newest record of each key again, as a new owner does, changes no answer."""
    newest: dict[bytes | None, Step] = {}
    for step in log:
        newest.pop(step[1][0], None)
        newest[step[1][0]] = step
    held = table_of(records_of(log))
    versions = [step for step in newest.values() if step[1][0] and b'"home"' in (step[1][0] or b"")]
    republished = [*log, *versions * again]
    table = table_of(records_of(republished))
    for now_ms in TIMES_MS:
        for question in QUESTIONS:
            assert table.check(now_ms, *question) == held.check(now_ms, *question)


def test_a_compacted_log_gives_the_same_table() -> None:
    """A log of which compaction has left the last record of each key gives the same table."""
    owner = Owner()
    log: list[Step] = []
    for offset in range(1, 30):
        subject = SUBJECTS[offset % len(SUBJECTS)]
        log.append((0, owner.put(subject, command(subject, offset=offset)), NOW_MS))
        log.append((0, owner.heartbeat(), NOW_MS))
    compacted = list({record.key: record for record in records_of(log)}.values())
    whole, rest = table_of(records_of(log)), table_of(sorted(compacted, key=lambda r: r.offset))
    assert whole.state(NOW_MS) == rest.state(NOW_MS) == "ready"
    assert list(whole.in_force(NOW_MS)) != []
    assert {each.id for each in whole.in_force(NOW_MS)} == {
        each.id for each in rest.in_force(NOW_MS)
    }


def test_an_older_era_never_returns() -> None:
    """A log made anew has a higher era; what an owner of the old one still says is older."""
    subject = SUBJECTS[0]
    topic = Topic()
    new = subject_record(subject, command(subject, era=1, offset=3))
    old = subject_record(subject, command(subject, era=0, offset=900), version=Version(0, 900))
    table = table_of([topic.record(new)])
    assert table.apply(topic.record(old)) == "older"


@settings(max_examples=60)
@given(log=steps(), order=st.permutations(TIMES_MS * 2))
def test_a_clock_may_step(log: list[Step], order: list[int]) -> None:
    """Whatever times a table was asked for before, at each it answers as the slow model."""
    records = records_of(log)
    model, table = TableModel(records), table_of(records)
    for now_ms in order:
        assert table.state(now_ms) == model.state(now_ms, SPEC.heartbeats_missed_max)
        for question in QUESTIONS:
            verdict = table.check(now_ms, *question)
            decision, among, _ = model.check(now_ms, *question)
            assert verdict.decision == decision, (now_ms, question)
            assert verdict.command in among, (now_ms, question)
