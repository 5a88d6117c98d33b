"""Where every task of this process stands, for whoever has to find out why it does nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, Final

TASKS_MAX: Final = 256
FRAMES_MAX: Final = 32
# What a coroutine, a generator and an asynchronous generator call what they wait for.
AWAITS: Final = {"cr": "cr_await", "gi": "gi_yieldfrom", "ag": "ag_await"}

log = logging.getLogger("stream.tasks")


def say_standing() -> None:
    """Log a line a task: what it is in, outermost first, as far as its own awaits go."""
    tasks = sorted(asyncio.all_tasks(), key=lambda each: each.get_name())
    for task in tasks[:TASKS_MAX]:
        log.info("%s stands at %s", task.get_name(), " > ".join(_frames(task.get_coro())))
    if len(tasks) > TASKS_MAX:
        log.info("and %d tasks more", len(tasks) - TASKS_MAX)


def _frames(awaited: Any) -> Iterator[str]:
    """Yield the frames from a coroutine on down to what nobody of Python's awaits."""
    for _ in range(FRAMES_MAX):
        kind = next((each for each in AWAITS if hasattr(awaited, f"{each}_frame")), None)
        frame = getattr(awaited, f"{kind}_frame", None)
        if kind is None or frame is None:
            return
        yield f"{frame.f_globals.get('__name__')}:{frame.f_lineno} {frame.f_code.co_qualname}"
        awaited = getattr(awaited, AWAITS[kind])
