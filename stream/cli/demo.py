"""`demo`: the whole system at work, on this machine, in half a minute."""

from __future__ import annotations

import asyncio
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Final

import click
import msgspec

from stream.bus import KafkaPublisher, KafkaReader
from stream.errors import BusUnavailable
from stream.gateway import Gateway
from stream.kernel import cache_folder
from stream.runtime import SystemClock

from .child import WorkerProcess
from .doors import wait_for
from .failure import NOT_SO
from .installation import Installation, end_by_signals, installed
from .options import examples, json_option
from .screen import Screen
from .story import Outcome, Story
from .theatre import LiveTheatre, PlainTheatre, Theatre, show_outcome

READY_WITHIN_S: Final = 180.0
DRAW_EVERY_S: Final = 0.125
BAD_AFTER: Final = 0.4
"""When the story turns, as a part of its length."""


@click.command(
    "demo",
    epilog=examples(
        "enforcer demo",
        "enforcer demo --keep           then, in another terminal: enforcer list",
        "enforcer demo --seed 7 --seconds 30",
    ),
)
@click.option("--keep", is_flag=True, help="Leave it all running at the end, until Ctrl-C.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another agent.")
@click.option(
    "--seconds",
    type=click.FloatRange(8, 3_600),
    default=16,
    show_default=True,
    help="How long the agents work.",
)
@json_option
def demo(*, keep: bool, seed: int, seconds: float, is_json: bool) -> int:
    """Watch a fleet of agents, and one of them being stopped.

    Starts a real Kafka, a real Valkey and a worker in a temporary folder (the first time they are
    downloaded), and forty agents in front of a gateway. One of them is told by a ticket to take
    customers' records outside. Ends by itself; exit code 1 if the bad agent was not stopped, or a
    benign one was touched.
    """
    screen = Screen(is_json=is_json)
    is_live = screen.err.is_terminal and not is_json
    theatre: Theatre = LiveTheatre(screen) if is_live else PlainTheatre(screen)
    end_by_signals()
    # The demo is the same everywhere: no settings of this machine's own installation reach it.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("ENFORCER_")
    }
    folder = Path(tempfile.mkdtemp(prefix="enforcer-demo-"))
    with (
        resources.as_file(resources.files(__package__) / "demo.yaml") as policy,
        installed(folder, environment, theatre.say, keeps_data=False) as here,
    ):
        is_cold = not any(cache_folder().rglob("*.nbc"))
        once = ", compiling its kernels, once: a minute or two" if is_cold else ""
        theatre.say(f"starting a worker{once}")
        options = "--policy", str(policy)
        with WorkerProcess(here.environment, options, here.folder / "worker.log") as worker:
            worker.wait_ready(READY_WITHIN_S)
            outcomes: list[Outcome] = []
            try:
                wait_for(_play(here, worker, (theatre, screen), (seed, seconds, keep), outcomes))
            except KeyboardInterrupt:
                if not outcomes:
                    raise
    return NOT_SO if outcomes[0].problems else 0


async def _play(
    here: Installation,
    worker: WorkerProcess,
    shown: tuple[Theatre, Screen],
    wishes: tuple[int, float, bool],
    outcomes: list[Outcome],
) -> None:
    """Play the story, show how it ended, and stay if that is wished (seed, seconds, keep).

    Mutates: outcomes.
    """
    (theatre, screen), (seed, seconds, keeps_on) = shown, wishes
    config = here.config
    spec = msgspec.structs.replace(config.gateway, name="demo-gateway")
    reader, publisher = KafkaReader(config.kafka), KafkaPublisher(config.kafka)
    async with Gateway(reader, publisher, SystemClock(), spec) as gateway:
        if not await gateway.wait_ready(READY_WITHIN_S):
            raise BusUnavailable(f"the gateway is not ready: {gateway.state().fault}")
        story = Story(gateway, seed, seconds * BAD_AFTER, theatre.say)
        playing = asyncio.create_task(story.play())
        try:
            with theatre.stage():
                while story.elapsed_s < seconds and not playing.done():
                    worker.check_alive()
                    theatre.show(story)
                    await asyncio.sleep(DRAW_EVERY_S)
            if playing.done():
                await playing
            outcome = story.outcome()
            outcomes.append(outcome)
            screen.emit(outcome)
            show_outcome(screen, outcome)
            if keeps_on:
                await _stay(here, worker, screen)
        finally:
            playing.cancel()


async def _stay(here: Installation, worker: WorkerProcess, screen: Screen) -> None:
    """Say where everything is, and wait for Ctrl-C with the agents at work."""
    here.announce()
    screen.line()
    for line in here.exports():
        screen.line(line)
    screen.line(f"worker: {worker.metrics}, {here.folder / 'worker.log'}")
    screen.line("everything keeps running until Ctrl-C", "bold")
    while True:
        worker.check_alive()
        await asyncio.sleep(1)
