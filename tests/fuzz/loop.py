"""The loop: inputs from a seeded generator, guided by the lines of ours that they reach.

One input in `TRACED` runs under a tracer; if it reaches a line of `stream/` that none reached
before, it becomes a seed itself. Per input there is a bound of CPU time and of memory, and an alarm
for one that never ends. What breaks a bound twice, or a law, is a crash.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final, NamedTuple

from .mutate import Mutator
from .seeds import corpus, seeds_of, words_of
from .targets import Run, Target

TRACED: Final = 12
MEASURED: Final = 2_000
SLOW_S: Final = 0.5
HANG_S: Final = 10
PEAK_BYTES: Final = 32 << 20  # and as many as 200 a byte of the input
CORPUS_MAX: Final = 2_000
CRASHES_MAX: Final = 20
OURS: Final = str(Path(__file__).parents[2] / "stream")


class Crash(NamedTuple):
    """One input that broke a law or a bound."""

    target: str
    data: bytes
    what: str


class Outcome(NamedTuple):
    """What a run of one target came to."""

    inputs: int
    seconds: float
    lines: int
    crashes: list[Crash]
    found: list[bytes]


class Hang(BaseException):
    """An input did not end."""


class Coverage:
    """The lines of ours that were reached."""

    def __init__(self) -> None:
        self.lines: set[tuple[str, int]] = set()
        self._fresh = False

    def run(self, run: Run, data: bytes) -> bool:
        """Run under the tracer; tell whether a line was new. Errors: as `run`."""
        self._fresh = False
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            run(data)
        finally:
            sys.settrace(before)
        return self._fresh

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._line if frame.f_code.co_filename.startswith(OURS) else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        place = frame.f_code.co_filename, frame.f_lineno
        if place not in self.lines:
            self.lines.add(place)
            self._fresh = True
        return self._line


def fuzz(name: str, target: Target, inputs: int, seed: int) -> Outcome:
    """Run so many inputs through a target."""
    # A string seeds the generator the same way in every process, whatever PYTHONHASHSEED is.
    random = Random(f"{seed} {name}")
    seeds = seeds_of(target.seeds) + corpus(name)
    mutator = Mutator(random, words_of(seeds), target.fixed)
    run, coverage = target.open(), Coverage()
    crashes: list[Crash] = []
    found: list[bytes] = []
    began_s = time.monotonic()
    with _alarm():
        done = 0
        for data in _inputs(random, mutator, seeds, inputs):
            is_traced = done < len(seeds) or done % TRACED == 0
            what, is_fresh = _try(run, data, coverage if is_traced else None)
            if what is None and done % MEASURED == 0:
                what = _too_much(run, data)
            if what is not None:
                crashes.append(Crash(name, data, what))
                _close(run)
                run = target.open()
                if len(crashes) >= CRASHES_MAX:
                    break
            elif is_fresh and done >= len(seeds) and len(seeds) < CORPUS_MAX:
                seeds.append(data)
                found.append(data)
            done += 1
    _close(run)
    return Outcome(done, time.monotonic() - began_s, len(coverage.lines), crashes, found)


def _close(run: Run) -> None:
    """Close what a runner holds open, if it holds anything."""
    getattr(run, "close", lambda: None)()


def _inputs(random: Random, mutator: Mutator, seeds: list[bytes], inputs: int) -> Iterator[bytes]:
    yield from list(seeds)[:inputs]
    for _ in range(inputs - min(len(seeds), inputs)):
        # What was found last is where the frontier is.
        recent = random.random() < 0.3
        pool = seeds[-20:] if recent else seeds
        yield mutator.mutated(random.choice(pool), random.choice(seeds))


def _try(run: Run, data: bytes, coverage: Coverage | None) -> tuple[str | None, bool]:
    """Run one input; return what it broke, and whether it reached something new."""
    is_fresh = False
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    began_s = time.process_time()
    try:
        if coverage is not None:
            is_fresh = coverage.run(run, data)
        else:
            run(data)
    except Hang:
        return f"it did not end within {HANG_S} s", False
    except Exception as error:  # noqa: BLE001 - whatever a target raises is what is looked for
        return f"{type(error).__name__}: {error}"[:500], False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if time.process_time() - began_s > SLOW_S and coverage is None:
        again_s = time.process_time()
        run(data)
        if time.process_time() - again_s > SLOW_S:
            return f"it took {time.process_time() - again_s:.1f} s of CPU", False
    return None, is_fresh


def _too_much(run: Run, data: bytes) -> str | None:
    """Tell whether an input takes more memory than its bound."""
    tracemalloc.start()
    try:
        run(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return f"it took {peak:,} bytes" if peak > PEAK_BYTES + 200 * len(data) else None


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
