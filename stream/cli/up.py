"""`up`: everything that the system needs, on this machine, until Ctrl-C."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final

import click

from .child import WorkerProcess
from .installation import Installation, end_by_signals, installed
from .options import configured, examples, json_option
from .screen import Screen

READY_WITHIN_S: Final = 180.0
LOOK_EVERY_S: Final = 0.5


@click.command(
    "up",
    epilog=examples(
        "enforcer up",
        "enforcer up --policy policy.yaml --folder /var/tmp/enforcer",
        ". .enforcer/environment && enforcer list      in another terminal",
    ),
)
@click.option(
    "--folder", default=".enforcer", show_default=True, type=click.Path(), help="Data lives there."
)
@click.option("--worker/--no-worker", "has_worker", default=True, help="Run a worker, too.")
@click.option(
    "--keep-data/--discard-data",
    "keeps_data",
    default=True,
    help="Whether data outlives the end; without --discard-data it does.",
)
@configured("policy", "config", "prefix")
@json_option
def up(
    *, folder: str, has_worker: bool, keeps_data: bool, environment: dict[str, str], is_json: bool
) -> int:
    """Start a Kafka, a Valkey and a worker on this machine.

    Real servers on the loopback address, without Docker, root or Java; the first time they are
    downloaded. Prints where everything is, and ends it all on Ctrl-C. A policy that is named takes
    effect also on data that was judged under another one.
    """
    screen = Screen(is_json=is_json)
    end_by_signals()
    is_up = False
    with contextlib.ExitStack() as stack:
        try:
            here = stack.enter_context(
                installed(Path(folder), environment, screen.note, keeps_data=keeps_data)
            )
            worker = None
            if has_worker:
                options = ("--reload",) if environment.get("ENFORCER_POLICY") else ()
                worker = stack.enter_context(WorkerProcess(here.environment, options, None))
                worker.wait_ready(READY_WITHIN_S)
            _show(screen, here, worker)
            is_up = True
            while True:
                here.servers.check_alive()
                if worker is not None:
                    worker.check_alive()
                time.sleep(LOOK_EVERY_S)
        except KeyboardInterrupt:
            if not is_up:
                raise
            screen.note("stopping")
    screen.note("stopped")
    return 0


def _show(screen: Screen, here: Installation, worker: WorkerProcess | None) -> None:
    """Say where everything is, once it is there."""
    here.announce()
    places = {
        "kafka": here.config.kafka.bootstrap,
        "redis": here.environment["ENFORCER_REDIS"],
        "folder": str(here.folder),
        "environment": str(here.environment_file),
    }
    if worker is not None:
        places["metrics"] = worker.metrics
    screen.emit({**places, "exports": here.exports()})
    screen.facts("", places.items())
    for line in here.exports():
        screen.line(line)
    screen.line("Ctrl-C ends it all", "dim")
