"""`replay`: recorded events through the engine that also runs live; no Kafka, no Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
import msgspec

from stream.config import hash_key, load_config, policy_of
from stream.enforcement import TALLIES
from stream.engine import StepResult
from stream.events import Reject, RejectCode, encode
from stream.kernel import HashKey
from stream.replay import Replay

from .baseline_file import expect
from .failure import NOT_SO
from .faults import FaultNotes
from .histories import line_batches
from .options import INPUT, OUTPUT, WHOLE_INPUT, configured, examples, json_option
from .plain import json_text
from .reading import STDIN, total_bytes
from .score_lines import score_lines
from .screen import Screen, styled
from .writing import Write, check_apart, line_writer

PUBLIC_KEY: Final = HashKey(b"no secret at all")
_encoder = msgspec.json.Encoder()


class RuleCount(msgspec.Struct):
    """What one rule came to in one mode: findings, and the commands among them."""

    rule: str
    detector: str
    action: str
    mode: str
    findings: int = 0
    commands: int = 0
    workloads: int = 0


class Tally:
    """Counts what the steps of a replay came to."""

    def __init__(self) -> None:
        self.events = 0
        self.rejects: Counter[str] = Counter()
        self.unjudged = 0
        self._rules: dict[tuple[str, str, str], RuleCount] = {}
        self._workloads: dict[tuple[str, str, str], set[str]] = {}

    def add(self, result: StepResult, rejects: Sequence[Reject]) -> None:
        """Count one step. Mutates: self."""
        self.events += int(result.tallies[TALLIES.index("events")])
        self.rejects.update(each.code.value for each in rejects)
        self.rejects.update(code.value for _, code in result.refused)
        self.unjudged += len(result.refused)
        for each in result.findings:
            place = self._place(each.rule, each.action, each.mode, each.detector)
            self._rules[place].findings += 1
            self._workloads[place].add(each.workload)
        for outgoing in result.outgoing:
            body = outgoing.command.body
            place = self._place(body.rule, body.action, body.mode, body.reason.detector)
            self._rules[place].commands += 1

    def _place(self, rule: str, action: str, mode: str, detector: str) -> tuple[str, str, str]:
        place = rule, action, mode
        if place not in self._rules:
            self._rules[place] = RuleCount(rule, detector, action, mode)
            self._workloads[place] = set()
        return place

    def rules(self) -> list[RuleCount]:
        """Return the counts by rule, those with most findings first."""
        for place, workloads in self._workloads.items():
            self._rules[place].workloads = len(workloads)
        return sorted(self._rules.values(), key=lambda each: -each.findings)


@click.command(
    "replay",
    epilog=examples(
        "enforcer replay events.jsonl.gz --policy policy.yaml",
        "enforcer replay yesterday/*.gz --commands commands.jsonl --findings findings.jsonl",
        "enforcer replay today.jsonl --baseline learned.baseline --scores scores.jsonl",
        "enforcer convert --format nginx access.log | enforcer replay - --json",
    ),
)
@click.argument("files", nargs=-1, required=True, type=INPUT, metavar="FILE...")
@configured("policy", "config")
@click.option("--commands", type=OUTPUT, help="Write the body of each command there, a JSON line.")
@click.option("--findings", type=OUTPUT, help="Write each finding there, a JSON line.")
@click.option("--baseline", type=WHOLE_INPUT, help="Compare tasks with this baseline.")
@click.option(
    "--scores",
    type=OUTPUT,
    help="Write the learned evidence after each event there, a JSON line; needs --baseline.",
)
@click.option("--partitions", type=click.IntRange(1, 4_096), default=1, show_default=True)
@click.option(
    "--slots",
    type=click.IntRange(64, 16_000_000),
    default=200_000,
    show_default=True,
    help="How many workloads the files may have.",
)
@json_option
def replay(
    *,
    files: tuple[str, ...],
    environment: dict[str, str],
    commands: str | None,
    findings: str | None,
    baseline: str | None,
    scores: str | None,
    partitions: int,
    slots: int,
    is_json: bool,
) -> int:
    """Judge recorded events without Kafka or Redis.

    Each line of a FILE (`-` for stdin, gzip is recognised) is one event in JSON, in the order of
    time. The commands are those that the live system would give: the same bodies, byte for byte.
    Without a configured hash key a public one is used: bodies and findings hold no hashes. What is
    no event is told and counted; exit code 1 if nothing was one, or --slots had no room for some.
    """
    if scores and not baseline:
        raise click.UsageError("--scores needs --baseline: evidence is against what was learned")
    read = environment.get("ENFORCER_POLICY"), environment.get("ENFORCER_CONFIG")
    check_apart((commands, findings, scores), (*files, baseline, *read))
    compiled = policy_of(load_config("", environment))
    key = replay_key(environment)
    screen, tally = Screen(is_json=is_json), Tally()
    faults = FaultNotes(screen)
    machine = Replay(compiled, key, partitions, slots)
    version = expect(machine, baseline) if baseline else ""
    with (
        line_writer(commands) as write_command,
        line_writer(findings) as write_finding,
        line_writer(scores) as write_score,
        screen.progress("replaying", total_bytes(files)) as advance,
    ):
        for lines in line_batches(files, advance):
            part = [each.data for each in lines]
            result, rejects, scored = _applied(machine, part, is_scored=scores is not None)
            faults.add_rejects(lines, rejects)
            tally.add(result, rejects)
            _write(result, write_command, write_finding)
            for line in scored:
                write_score(line)
    summary = {
        "events": tally.events,
        "rejects": dict(tally.rejects),
        "unjudged": tally.unjudged,
        "workloads": len(machine.state.table),
        "policy": compiled.spec.name,
        "policy_hash": compiled.hash,
        "baseline": version,
        "hash_key": "public" if key is PUBLIC_KEY else "configured",
        "rules": tally.rules(),
    }
    # Where the lines go to stdout, the summary must not stand among them.
    is_mixed = STDIN in (commands, findings, scores)
    if is_json:
        click.echo(json_text(summary), err=is_mixed)
    elif not is_mixed:
        _show(screen, tally, summary)
    if tally.unjudged and not is_json:
        said = f"{tally.unjudged:,} events went unjudged: they are of more than {slots:,} workloads"
        screen.note(f"{said}; --slots has room for more", "yellow")
    return NOT_SO if tally.unjudged or (tally.rejects and not tally.events) else 0


def _applied(
    machine: Replay, payloads: Sequence[bytes], *, is_scored: bool
) -> tuple[StepResult, list[Reject], list[bytes]]:
    """Apply payloads; return what followed, what was no event, and lines of evidence if asked."""
    if not is_scored:
        return *machine.apply(payloads), []
    result, rejects, scores = machine.score(payloads)
    return result, rejects, score_lines(scores)


def replay_key(environment: Mapping[str, str]) -> HashKey:
    """Return the configured hash key, the public one where none is configured."""
    names = ("ENFORCER_HASH_KEY", "ENFORCER_HASH_KEY_FILE")
    return hash_key(environment) if any(map(environment.get, names)) else PUBLIC_KEY


def _write(result: StepResult, write_command: Write, write_finding: Write) -> None:
    """Write what a step came to, in its order."""
    for outgoing in result.outgoing:
        write_command(encode(outgoing.command.body))
    for finding in result.findings:
        write_finding(_encoder.encode(finding))


def _show(screen: Screen, tally: Tally, summary: Mapping[str, Any]) -> None:
    rows = [
        (
            each.rule,
            each.detector,
            styled(each.action),
            styled(each.mode),
            each.findings,
            each.commands,
            each.workloads,
        )
        for each in tally.rules()
    ]
    columns = ("rule", "detector", "action", "mode", "findings", "commands", "workloads")
    screen.table("", columns, rows, "no rule found anything")
    screen.line(
        f"{tally.events:,} events of {summary['workloads']:,} workloads under policy "
        f"`{summary['policy']}` {summary['policy_hash']}, {summary['hash_key']} hash key"
    )
    for code, count in sorted(tally.rejects.items()):
        if code != RejectCode.TOO_MANY:
            screen.line(f"{count:,} lines were no events: {code}", "yellow")
