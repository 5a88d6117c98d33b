"""`list`: what is in force, read as a gateway reads it, with the same doubts."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any, Final

import click
import msgspec

from stream.bus import KafkaReader, LogReader, Record, read_through
from stream.config import load_config
from stream.events import Command
from stream.gateway import REFUSALS, CommandTable, TableSpec
from stream.signing import Trust, trust_of

from .doors import opened, wait_for
from .options import WORKLOAD, examples, json_option, reaching
from .screen import Cell, Screen, styled
from .times import ago

SETTLE_S: Final = 1.0
DOUBTS: Final = {
    "stale": "some home partitions have no recent heartbeat: no worker runs, or it is replaying",
    "mismatch": "the table is not what the workers published: a gateway reads it again from start",
    "overflow": "the table is full: raise gateway.table.records_max",
}


@click.command(
    "list",
    epilog=examples(
        "enforcer list",
        "enforcer list --workload spiffe://example.org/agent/a",
        "enforcer list --watch",
        "enforcer list --json | jq '.commands[] | .body.subject.workload'",
    ),
)
@click.option("--workload", type=WORKLOAD, help="Only what binds this one.")
@click.option("--shadow/--no-shadow", default=True, help="Commands that gateways only record, too.")
@click.option("--watch", is_flag=True, help="Show it again when it changes, until Ctrl-C.")
@reaching
@json_option
def list_in_force(
    *, workload: str | None, shadow: bool, watch: bool, environment: dict[str, str], is_json: bool
) -> None:
    """List what is in force.

    Commands with their reasons, operators' acts, and whether the table matches the heartbeats of
    the workers: what a gateway that started now would know.
    """
    config, screen = load_config("", environment), Screen(is_json=is_json)
    trust = trust_of(config.signing, config.topics.enforcement)

    async def show() -> None:
        shown: bytes | None = None
        async with (
            opened(KafkaReader(config.kafka)) as reader,
            contextlib.aclosing(
                tables(reader, config.topics.enforcement, config.gateway.table, trust)
            ) as found_tables,
        ):
            async for table in found_tables:
                now_ms = time.time_ns() // 1_000_000
                found = in_force(table, now_ms, workload, is_shadow=shadow)
                seen = msgspec.json.encode({**found, "homes": None})
                if seen != shown:
                    shown = seen
                    screen.emit(found)
                    show_in_force(screen, found, now_ms)
                if not watch:
                    return

    wait_for(show())


async def tables(
    reader: LogReader, topic: str, spec: TableSpec, trust: Trust | None = None
) -> AsyncGenerator[CommandTable, None]:
    """Yield the table of all that is in force, whole, and again while time passes.

    Errors: BusUnavailable; ConfigError when the topic does not exist.
    """
    bounds = await reader.bounds(topic)
    table = CommandTable(spec, max(1, len(bounds)), trust)
    for partition, span in sorted(bounds.items()):
        async for records in read_through(reader, topic, partition, span):
            _apply(table, records)
    table.finish_loading()
    yield table
    starts = {partition: each.end for partition, each in bounds.items()}
    async for records in reader.follow(topic, starts, SETTLE_S):
        _apply(table, records)
        yield table


def _apply(table: CommandTable, records: list[Record]) -> None:
    for record in records:
        table.apply(record)


def in_force(
    table: CommandTable, now_ms: int, workload: str | None, *, is_shadow: bool
) -> dict[str, Any]:
    """Return what is in force as values."""
    commands = [
        each
        for each in table.in_force(now_ms)
        if workload in (None, each.body.subject.workload)
        and (is_shadow or each.body.mode != "shadow")
    ]
    commands.sort(key=lambda each: (each.body.mode, each.body.subject.workload, each.version))
    acts = [
        {"workload": record.workload, **msgspec.structs.asdict(act)}
        for record in table.operators()
        for act in record.acts
        if act.until_ms > now_ms or (act.act == "lift" and not act.until_ms)
        if workload is None or record.workload in ("", workload)
    ]
    return {
        "state": table.state(now_ms),
        "records": len(table),
        "commands": commands,
        "acts": acts,
        "homes": list(table.homes(now_ms)),
        "refused": {why: table.counts[why] for why in REFUSALS if table.counts[why]},
        "warned": table.warned,
        "signed_by": table.signed_by,
    }


def show_in_force(screen: Screen, found: dict[str, Any], now_ms: int) -> None:
    """Show what `in_force` returned."""
    acts, commands = found["acts"], found["commands"]
    if acts:
        columns = ("act", "on", "ends", "by", "reason")
        screen.table("what operators said", columns, [_act_row(each, now_ms) for each in acts])
    screen.table(
        "what is in force",
        ("workload", "binds", "action", "mode", "rule", "ends", "reason"),
        [_command_row(each, now_ms) for each in commands],
        "nothing is in force",
    )
    screen.line(_spelled_state(found), "green" if found["state"] == "ready" else "yellow")
    for text in _spelled_signing(found):
        screen.line(text, "yellow")
    screen.line()


def _act_row(act: dict[str, Any], now_ms: int) -> tuple[Cell, ...]:
    ends = ago(act["until_ms"], now_ms) if act["until_ms"] else "when commands end"
    on = act["workload"] or "everything"
    return styled(act["act"]), on, ends, act["by"], act["reason"]


def _command_row(command: Command, now_ms: int) -> tuple[Cell, ...]:
    body = command.body
    subject = body.subject
    binds: str = subject.kind
    if subject.token is not None:
        binds = f"token {subject.token.id}"
    elif subject.kind != "workload":
        binds = f"{subject.kind} {subject.task or subject.operation}"
    action = body.action
    if body.rate is not None:
        action_text = f"{action} {body.rate.permits}/{body.rate.per_ms / 1_000:g}s"
    else:
        action_text = action
    return (
        subject.workload or "every workload",
        binds,
        (action_text, styled(action)[1]),
        styled(body.mode),
        body.rule,
        ago(command.expires_at_ms, now_ms),
        body.reason.text,
    )


def _spelled_state(found: dict[str, Any]) -> str:
    state, count = found["state"], len(found["homes"])
    if state == "ready":
        return f"the table matches the heartbeats of all {count} home partitions"
    if all(each.state == "unseen" for each in found["homes"]):
        return "no worker has ever sent a heartbeat here: is one running?"
    parts = Counter(each.state for each in found["homes"])
    told = ", ".join(f"{number} {name}" for name, number in sorted(parts.items()))
    return f"{DOUBTS.get(state, state)} ({told} of {count} home partitions)"


def _spelled_signing(found: dict[str, Any]) -> list[str]:
    """Return what is to be said of signatures: nothing where none is missing or wrong."""
    lines = []
    for what, verb in (("refused", "were refused"), ("warned", "would be refused by `require`")):
        told = ", ".join(f"{count} {why}" for why, count in sorted(found[what].items()))
        if told:
            lines.append(f"records of the topic that {verb}: {told}")
    keys = {key: count for key, count in found["signed_by"].items() if key}
    if keys:
        told = ", ".join(f"{count} {key}" for key, count in sorted(keys.items()))
        lines.append(f"held by key: {told}; unsigned: {found['signed_by'].get('', 0)}")
    return lines
