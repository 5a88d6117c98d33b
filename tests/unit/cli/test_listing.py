"""What is in force, as `list` reads it from the topic."""

import asyncio
import json
from collections.abc import AsyncGenerator

import msgspec
import pytest

from stream.bus import MemoryLog, MemoryReader, MemoryTopics, TopicSpec
from stream.cli.listing import in_force, show_in_force, tables
from stream.cli.screen import Screen
from stream.events import Subject, TokenRef
from stream.gateway import CommandTable, TableSpec
from tests.buses import WallClock
from tests.models.owner import (
    AGENT,
    NOW_MS,
    OTHER,
    Owner,
    Topic,
    act,
    command,
    operator_record,
)
from tests.signed import signed, trust

TASK = Subject(workload=AGENT, task="t-1")
TOKEN = Subject(workload=OTHER, token=TokenRef("issuer", "t\x1b[2J"))


def read(*, has_heartbeat: bool = True) -> CommandTable:
    """The table of a topic with a stop, a revocation, a throttle in shadow and one that ended."""

    async def scene() -> CommandTable:
        log = MemoryLog(WallClock())
        await MemoryTopics(log).ensure([TopicSpec(name="enforcement", partitions=1)])
        owner = Owner()
        pairs = [
            operator_record("", act("stop"), act("lift", 0)),
            operator_record(OTHER, act("exempt", NOW_MS - 1)),
            owner.put(TASK, command(TASK, text="read \x9b1m and sent")),
            owner.put(TOKEN, command(TOKEN, "throttle", mode="shadow", offset=2)),
            owner.put(
                Subject(workload=OTHER),
                command(Subject(workload=OTHER), offset=3, expires_at_ms=NOW_MS - 1),
            ),
        ]
        for pair in [*pairs, *([owner.heartbeat()] if has_heartbeat else [])]:
            log.append("enforcement", 0, *pair)
        found: AsyncGenerator[CommandTable, None] = tables(
            MemoryReader(log), "enforcement", TableSpec()
        )
        table = await anext(found)
        await found.aclose()
        return table

    return asyncio.run(scene())


def test_what_binds_is_listed() -> None:
    """Commands and acts that have not ended, and that the table is what was published."""
    found = in_force(read(), NOW_MS, None, is_shadow=True)
    assert found["state"] == "ready"
    assert [each.body.subject for each in found["commands"]] == [TASK, TOKEN]
    assert [each["act"] for each in found["acts"]] == ["stop", "lift"]
    assert json.loads(msgspec.json.encode(found))["homes"][0]["state"] == "ready"


def test_the_list_can_be_narrowed() -> None:
    """To one workload, with what is said of everything; and to what is enforced."""
    table = read()
    only = in_force(table, NOW_MS, OTHER, is_shadow=True)
    assert [each.body.subject for each in only["commands"]] == [TOKEN]
    assert len(only["acts"]) == 2
    enforced = in_force(table, NOW_MS, None, is_shadow=False)
    assert [each.body.subject for each in enforced["commands"]] == [TASK]


def test_doubt_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Without heartbeats nobody knows whether the list is whole, and it says so."""
    table = read(has_heartbeat=False)
    show_in_force(Screen(is_json=False), in_force(table, NOW_MS, None, is_shadow=True), NOW_MS)
    assert "no worker has ever sent a heartbeat" in capsys.readouterr().out
    old = in_force(read(), NOW_MS + 60_000, None, is_shadow=True)
    show_in_force(Screen(is_json=False), old, NOW_MS)
    assert "no recent heartbeat" in capsys.readouterr().out


def test_refusals_and_keys_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """How many records keys refuse or would refuse, and by which keys what is held is signed."""
    for is_strict, said in ((True, "that were refused"), (False, "would be refused by `require`")):
        table = CommandTable(TableSpec(), 1, trust(is_strict=is_strict))
        topic, owner = Topic(), Owner()
        for pair in (owner.put(TASK, command(TASK)), signed(owner.put(TOKEN, command(TOKEN)))):
            table.apply(topic.record(pair))
        table.finish_loading()
        found = in_force(table, NOW_MS, None, is_shadow=True)
        show_in_force(Screen(is_json=False), found, NOW_MS)
        shown = capsys.readouterr().out
        assert f"records of the topic {said}: 1 unsigned" in shown.replace("that would", "would")
        assert f"held by key: 1 worker-ed25519; unsigned: {0 if is_strict else 1}" in shown
        assert found["refused" if is_strict else "warned"] == {"unsigned": 1}


def test_hostile_names_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """Reasons and tokens are shown with their control characters escaped."""
    show_in_force(Screen(is_json=False), in_force(read(), NOW_MS, None, is_shadow=True), NOW_MS)
    shown = capsys.readouterr().out
    assert "token t\\x1b[2J" in shown
    assert "read \\x9b1m and sent" in shown
    assert all(line.isprintable() for line in shown.splitlines())
