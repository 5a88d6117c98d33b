"""Fuzzing from the command line: `python -m tests.fuzz --inputs 1000000 --seed 1`.

The same seed gives the same inputs. With `--json` one object `{"figures": {...}}`; exit code 1 if
anything crashed. Crashing inputs are printed as base64, and `--input` runs one of them again.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import sys
import time
from collections.abc import Sequence

from stream.warm import warm

from .endpoints import ENDPOINTS
from .files import FILES
from .loop import Outcome, fuzz
from .seeds import keep
from .targets import TARGETS, shares

ALL = TARGETS | ENDPOINTS | FILES
TARGET_INPUTS = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, tell, and return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=TARGET_INPUTS, help="so many in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", choices=list(ALL), help="only this one")
    parser.add_argument("--input", help="run this input, base64, on the --target, and end")
    parser.add_argument("--save", action="store_true", help="keep what reached new code")
    parser.add_argument("--json", action="store_true", dest="is_json")
    given = parser.parse_args(arguments)
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        return fuzz_all(given)
    finally:
        logging.disable(before)


def fuzz_all(given: argparse.Namespace) -> int:
    """Fuzz what is asked for, tell, and return an exit code."""
    names = given.target or list(ALL)
    if given.input:
        ALL[names[0]].open()(base64.b64decode(given.input))
        return 0
    warm()  # A kernel that is compiled while an input's time runs looks like a hang.
    began_s = time.monotonic()
    outcomes = {}
    for name, inputs in shares(names, given.inputs, ALL).items():
        outcomes[name] = fuzz(name, ALL[name], inputs, given.seed)
        if given.save:
            keep(name, outcomes[name].found)
        if not given.is_json:
            tell(name, outcomes[name])
    return conclude(outcomes, time.monotonic() - began_s, given.is_json)


def tell(name: str, outcome: Outcome) -> None:
    """Print one target's run."""
    per_s = outcome.inputs / max(outcome.seconds, 1e-9)
    sys.stdout.write(
        f"{name:12} {outcome.inputs:9,} inputs {per_s:9,.0f}/s {outcome.lines:6,} lines"
        f" {len(outcome.found):5,} kept {len(outcome.crashes):3} crashes\n"
    )
    for crash in outcome.crashes[:5]:
        text = base64.b64encode(crash.data[:3_000]).decode()
        sys.stdout.write(f"    {crash.what}\n    --target {name} --input '{text}'\n")
    sys.stdout.flush()


def conclude(outcomes: dict[str, Outcome], seconds: float, is_json: bool) -> int:
    """Print the figures; return the exit code."""
    inputs = sum(each.inputs for each in outcomes.values())
    crashes = [crash for each in outcomes.values() for crash in each.crashes]
    figures = {
        "fuzz.inputs": {"value": inputs, "target": TARGET_INPUTS, "met": inputs >= TARGET_INPUTS},
        "fuzz.crashes": {"value": len(crashes), "target": 0, "met": not crashes},
    }
    if is_json:
        targets = {
            name: {
                "inputs": each.inputs,
                "inputs_per_s": round(each.inputs / max(each.seconds, 1e-9)),
                "lines": each.lines,
                "crashes": [
                    [crash.what, base64.b64encode(crash.data).decode()] for crash in each.crashes
                ],
            }
            for name, each in outcomes.items()
        }
        result = {"figures": figures, "seconds": round(seconds, 1), "targets": targets}
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write(
            f"{inputs:,} inputs in {seconds:.0f} s, {inputs / seconds:,.0f}/s,"
            f" {len(crashes)} crashes\n"
        )
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())
