"""Operators' acts: merged into what is there, written once, obeyed by gateways and workers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stream.bus import MemoryLog, MemoryPublisher, MemoryReader, MemoryTopics, TopicSpec
from stream.cli.operating import Change, Written, merged, operator_name, write_change
from stream.errors import BusUnavailable
from stream.events import OperatorRecord, decode_value, encode, operator_key
from stream.gateway import CommandTable, TableSpec
from stream.identity import positive_murmur2
from stream.runtime import NO_KEYS, Keys
from stream.signing import Trust, public_part, write_trusted
from tests.buses import WallClock
from tests.models.owner import AGENT, NOW_MS, OTHER, act
from tests.signed import key, signer, trust
from tests.unit.cli.conftest import Call

PARTITIONS = 3
EXEMPT = Change(AGENT, "exempt", 60_000, "an agreement")
LIFT = Change(AGENT, "lift", 600_000, "a false alarm")
STOP = Change("", "stop", 60_000, "an incident")


class Desk:
    """An operator's desk over a topic in memory."""

    def __init__(self) -> None:
        self.clock = WallClock()
        self.log = MemoryLog(self.clock)

    async def make(self) -> None:
        await MemoryTopics(self.log).ensure([TopicSpec(name="acts", partitions=PARTITIONS)])

    async def do(
        self, change: Change, publisher: MemoryPublisher | None = None, keys: Keys = NO_KEYS
    ) -> Written:
        reader = MemoryReader(self.log)
        return await write_change(
            reader, publisher or MemoryPublisher(self.log), "acts", change, (self.clock, keys)
        )

    def table(self, believed: Trust | None = None) -> CommandTable:
        """What a gateway knows that reads the topic."""
        table = CommandTable(TableSpec(), PARTITIONS, believed)
        for partition in range(PARTITIONS):
            for record in self.log.partitions("acts")[partition].records:
                table.apply(record)
        table.finish_loading()
        return table

    def records(self, workload: str) -> int:
        partition = positive_murmur2(workload.encode()) % PARTITIONS if workload else 0
        return len(self.log.partitions("acts")[partition].records)


def at_desk(scene: Callable[[Desk], Awaitable[None]]) -> None:
    """Play a scene at a fresh desk."""

    async def play() -> None:
        desk = Desk()
        await desk.make()
        await scene(desk)

    asyncio.run(play())


def test_an_act_is_what_a_gateway_obeys() -> None:
    """What is written is believed by a gateway's table, on everything and on one workload."""

    async def scene(desk: Desk) -> None:
        await desk.do(STOP)
        await desk.do(EXEMPT)
        table = desk.table()
        assert table.check(NOW_MS, OTHER, "x").action == "stop"
        assert table.check(NOW_MS + 59_999, AGENT, "x").reason.endswith("an incident")
        assert not table.counts["malformed"] + table.counts["misplaced"]

    at_desk(scene)


def test_acts_on_one_workload_are_kept_together() -> None:
    """A new act carries the others along, replaces its own kind, and leaves out what has ended."""

    async def scene(desk: Desk) -> None:
        await desk.do(EXEMPT)
        written = await desk.do(LIFT)
        assert [each.act for each in written.acts] == ["exempt", "lift"]
        desk.clock.at_ms += 1_000
        longer = await desk.do(EXEMPT._replace(reason="again"))
        assert [(each.act, each.reason) for each in longer.acts] == [("exempt", "again")]
        desk.clock.at_ms += 60_000
        assert [each.act for each in (await desk.do(LIFT)).acts] == ["lift"]
        assert desk.records(AGENT) == 4

    at_desk(scene)


def test_ending_the_last_act_is_a_tombstone() -> None:
    """When nothing is left the record goes; ending what is not in force writes nothing."""

    async def scene(desk: Desk) -> None:
        assert not (await desk.do(STOP._replace(lasts_ms=0))).had_before
        assert desk.records("") == 0
        await desk.do(STOP)
        ended = await desk.do(STOP._replace(lasts_ms=0))
        assert (ended.had_before, ended.acts) == (True, ())
        assert desk.log.partitions("acts")[0].records[-1].value is None
        assert desk.table().check(NOW_MS, AGENT, "x").action != "stop"

    at_desk(scene)


class Rival(MemoryPublisher):
    """A publisher that lets another operator write first, some times."""

    def __init__(self, log: MemoryLog, times: int) -> None:
        super().__init__(log)
        self.times = times

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Awaitable[int]:
        if self.times:
            self.times -= 1
            theirs = OperatorRecord(workload=AGENT, acts=(act("exempt", NOW_MS + 500_000),))
            await super().send(topic, operator_key(AGENT), encode(theirs), partition)
        return await super().send(topic, key, value, partition)


def test_two_operators_at_once_lose_nothing() -> None:
    """What somebody else wrote in between is merged, and the act is written again on top."""

    async def scene(desk: Desk) -> None:
        written = await desk.do(LIFT, Rival(desk.log, 2))
        assert {each.act for each in written.acts} == {"exempt", "lift"}
        last = desk.log.partitions("acts")[written.partition].records[-1]
        value = decode_value(last.value or b"")
        assert isinstance(value, OperatorRecord)
        assert (value.acts, last.offset) == (written.acts, written.offset)
        with pytest.raises(BusUnavailable, match="somebody else"):
            await desk.do(LIFT, Rival(desk.log, 100))

    at_desk(scene)


def test_what_is_not_ours_is_not_carried_along() -> None:
    """A record under the key that cannot be read is replaced, as nobody obeys it."""

    async def scene(desk: Desk) -> None:
        desk.log.append("acts", 0, operator_key(""), b"nonsense")
        assert [each.act for each in (await desk.do(STOP)).acts] == ["stop"]

    at_desk(scene)


KEYS = Keys(signer("operator"), trust())


def test_signed_acts_are_what_a_gateway_with_keys_obeys() -> None:
    """Begun, carried along and ended: each record is signed, and later than the one before."""

    async def scene(desk: Desk) -> None:
        await desk.do(EXEMPT, keys=KEYS)
        await desk.do(LIFT, keys=KEYS)
        table = desk.table(trust())
        assert table.check(NOW_MS, AGENT, "x").action == "exempt"
        assert sum(table.counts.values()) == table.counts["applied"] == 2
        ended = await desk.do(EXEMPT._replace(lasts_ms=0), keys=KEYS)
        assert (ended.had_before, ended.acts) == (True, ())
        table = desk.table(trust())
        assert table.counts["applied"] == 3
        assert table.check(NOW_MS, AGENT, "x").action != "exempt"
        records = desk.log.partitions("acts")[ended.partition].records
        values = [decode_value(each.value or b"") for each in records]
        assert [each.at_ms for each in values] == [NOW_MS, NOW_MS + 1, NOW_MS + 2]
        # It is kept for as long as what it ended would have lasted.
        assert values[-1].until_ms == NOW_MS + LIFT.lasts_ms
        assert desk.table().check(NOW_MS, AGENT, "x").action != "exempt"

    at_desk(scene)


def test_nothing_unsigned_is_signed() -> None:
    """What an attacker wrote is not carried along under the operator's key, nor believed gone."""

    async def scene(desk: Desk) -> None:
        written = await desk.do(LIFT, keys=KEYS)
        forged = OperatorRecord(workload=AGENT, acts=(act("exempt"),), at_ms=NOW_MS + 9_000)
        desk.log.append("acts", written.partition, operator_key(AGENT), encode(forged))
        desk.log.append("acts", written.partition, operator_key(AGENT), None)
        assert [each.act for each in (await desk.do(LIFT, keys=KEYS)).acts] == ["lift"]
        await desk.do(EXEMPT, keys=KEYS)
        desk.log.append("acts", written.partition, operator_key(AGENT), None)
        ended = await desk.do(EXEMPT._replace(lasts_ms=0), keys=KEYS)
        assert ended.had_before
        # A rival without a key is no rival.
        assert (await desk.do(LIFT, Rival(desk.log, 100), KEYS)).acts[0].act == "lift"

    at_desk(scene)


def test_an_installation_with_keys_needs_one_to_act(call: Call, tmp_path: Path) -> None:
    """What nobody would believe is not written: exit code 78, with what to do."""
    write_trusted(str(tmp_path / "t.jwks"), [public_part(key("operator"))])
    shown = call("stop", "--reason", "x", ENFORCER_TRUST_FILE=str(tmp_path / "t.jwks"))
    assert shown.exit_code == 78
    assert "ENFORCER_OPERATOR_KEY_FILE" in shown.stderr


def test_merging_is_a_function_of_its_arguments() -> None:
    """The same acts, change and time give the same record; who acts is said and bounded."""
    held = (act("exempt"), act("lift"))
    assert merged(held, EXEMPT, NOW_MS) == merged(held, EXEMPT, NOW_MS)
    assert merged(held, EXEMPT._replace(lasts_ms=0), NOW_MS) == ()
    assert "@" in operator_name()
    assert len(operator_name()) <= 128
