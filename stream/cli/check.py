"""`check`: a policy file, judged before anything rests on it."""

from __future__ import annotations

import click

from stream.config import CONFIG_BYTES_MAX, read_text
from stream.policy import Policy, Remark, Rule, lint_policy, read_policy, spell_duration

from .failure import NOT_SO
from .options import examples, json_option
from .screen import Screen, styled


@click.command(
    "check",
    epilog=examples(
        "enforcer check policy.yaml",
        "enforcer check policy.yaml --strict && git commit policy.yaml",
    ),
)
@click.argument("policy", type=click.Path())
@click.option("--strict", is_flag=True, help="Exit with 1 where there is anything to remark.")
@json_option
def check(*, policy: str, strict: bool, is_json: bool) -> int:
    """Check a policy file.

    A mistake is told with file, line, path and what to write instead (exit code 78). What is legal
    and probably not meant is remarked on.
    """
    compiled, document = read_policy(read_text(policy, CONFIG_BYTES_MAX), policy)
    remarks = lint_policy(compiled, document.line_of)
    screen = Screen(is_json=is_json)
    screen.emit(
        {
            "file": policy,
            "name": compiled.spec.name,
            "hash": compiled.hash,
            "rules": len(compiled.rules),
            "windows": len(compiled.pairs),
            "row_bytes": compiled.layout.dtype.itemsize,
            "remarks": [each._asdict() for each in remarks],
        }
    )
    _show(screen, policy, compiled, remarks)
    return NOT_SO if strict and remarks else 0


def _show(screen: Screen, file: str, policy: Policy, remarks: list[Remark]) -> None:
    screen.table("", ("rule", "fires at", "action", "mode"), [_row(each) for each in policy.rules])
    if remarks:
        screen.line("remarks", "bold")
    for remark in remarks:
        screen.line(f"{file}:{remark.line}: {remark.text} - at {remark.path}", "yellow")
        screen.line(f"    {remark.hint}", "dim")
    row_bytes = policy.layout.dtype.itemsize
    screen.line(
        f"{file}: policy `{policy.spec.name}` {policy.hash} is good: {len(policy.rules)} rules, "
        f"{len(policy.pairs)} windows, rows of {row_bytes:,} bytes, {len(remarks)} remarks",
        "green",
    )


def _row(rule: Rule) -> tuple[str, str, str, tuple[str, str]]:
    spec = rule.spec
    if rule.pair is not None:
        what = " ".join(filter(None, (rule.pair.effect, rule.pair.measure)))
        fires = f"> {rule.at_most:,} {what} in {spell_duration(rule.pair.window_ms)}"
    elif spec.anomaly:
        fires = f"{spec.anomaly.of}, for {spec.anomaly.false_alarms} in error"
    else:
        fires = f"a forbidden sequence within {spell_duration(rule.within_ms)}"
    action = f"{spec.action} {spec.rate}" if spec.rate else spec.action
    on = f"{action} on {spec.on}" if spec.action != "observe" else action
    return rule.name, fires, on, styled(spec.mode)
