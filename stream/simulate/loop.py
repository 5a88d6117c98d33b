"""An event loop in virtual time: the same seed gives the same run, step for step.

Nothing sleeps: when nothing is ready, the clock jumps to the next timer. There is no I/O here, no
thread and no signal; a program that needs one does not belong into a simulation. What asyncio
leaves to chance is fixed: tasks and futures hash by their number, so sets of them iterate alike in
every process.

A `Process` stands for one operating-system process. Its tasks carry it in their context; once it
is dead, nothing of it ever runs again, no `finally` either: as after SIGKILL. While it is frozen,
its turns wait: as after SIGSTOP.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Generator
from typing import Any, TypeVar, cast

Result = TypeVar("Result")
Turn = tuple[float, int, "_Handle"]

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
STEPS_MAX = 20_000_000
ENDING_ROUNDS = 20
ENDING_TURNS = 500


class Stuck(Exception):
    """Nothing is left that could happen, or more happens than ever should."""


class Process:
    """One simulated operating-system process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self._is_frozen = False
        self._waiting: list[_Handle] = []

    def freeze(self) -> None:
        """Let nothing of it run until `thaw`."""
        self._is_frozen = True

    def thaw(self, loop: VirtualLoop) -> None:
        """Let it go on where it stood."""
        self._is_frozen = False
        self._release(loop)

    def bury(self, loop: VirtualLoop) -> None:
        """Let what is left of it end, once the simulation is over."""
        self.is_dead = False
        self.thaw(loop)

    def _release(self, loop: VirtualLoop) -> None:
        waiting, self._waiting = self._waiting, []
        for handle in waiting:
            loop.ready(handle)

    def holds_back(self, handle: _Handle) -> bool:
        """Tell whether a turn may not run now; keep it if it may later."""
        is_held = self._is_frozen or self.is_dead
        if is_held:
            self._waiting.append(handle)
        return is_held


class _Handle(asyncio.Handle):
    """A turn that its process may hold back.

    Made a quarter of a million times a run, so it is filled here: asyncio's own way costs as much
    as the turn itself.
    """

    __slots__ = ("process",)

    def __init__(
        self,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        loop: VirtualLoop,
        context: contextvars.Context,
    ) -> None:
        self._callback, self._args = call, args
        self._loop, self._context = cast(Any, loop), context
        self._cancelled = False
        self._repr = self._source_traceback = None
        self.process = context.get(_process)

    def cancel(self) -> None:
        """Leave the turn out."""
        self._cancelled = True


class _Future(asyncio.Future[Any]):
    """A future that hashes by its number, not by its address."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.number = loop.number()
        super().__init__(loop=cast(Any, loop))

    def __hash__(self) -> int:
        return self.number


class _Task(asyncio.Task[Any]):
    """A task that hashes by its number, not by its address."""

    def __init__(self, coro: Any, loop: VirtualLoop, **options: Any) -> None:
        self.number = loop.number()
        super().__init__(coro, loop=cast(Any, loop), **options)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop:
    """What asyncio needs of a loop: runs ready turns in order, jumps to the next timer if none is.

    `faults` are errors outside of every task; a simulation that has some has failed.
    """

    def __init__(self) -> None:
        self._now_s = 0.0
        self._ready: deque[_Handle] = deque()
        self._timers: list[Turn] = []
        self._numbers = 0
        self._is_stopping = False
        self.steps = 0
        self.faults: list[str] = []
        self.tasks: list[_Task] = []
        self.processes: set[Process] = set()

    # What asyncio asks of a loop.

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._now_s

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> _Handle:
        """Run a callback in the next round."""
        handle = _Handle(callback, args, self, context or contextvars.copy_context())
        self._ready.append(handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> _Handle:
        """Run a callback at a virtual time."""
        handle = _Handle(callback, args, self, context or contextvars.copy_context())
        heapq.heappush(self._timers, (when, self.number(), handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> _Handle:
        """Run a callback after a virtual span."""
        return self.call_at(self._now_s + max(0.0, delay), callback, *args, context=context)

    def run_in_executor(self, _: Any, function: Callable[..., Any], *args: Any) -> _Future:
        """Do at once what another thread would do meanwhile."""
        done = self.create_future()
        done.set_result(function(*args))
        return done

    def create_future(self) -> _Future:
        """Make a future of this loop."""
        return _Future(self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any] | Generator[Any, Any, Any], **options: Any
    ) -> _Task:
        """Make a task of this loop, in the current process."""
        task = _Task(coro, self, **options)
        self.tasks.append(task)
        if len(self.tasks) > 4_096:  # what is done need not be ended with the process
            self.tasks = [each for each in self.tasks if not each.done()]
        return task

    def get_debug(self) -> bool:
        """Tell that asyncio's own checks are off."""
        return False

    def is_running(self) -> bool:
        """Tell whether turns are being run."""
        return events._get_running_loop() is cast(Any, self)

    def is_closed(self) -> bool:
        """Tell that the loop is usable."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Remember what went wrong outside of every task.

        That nobody asked for a task's error is noticed only when the garbage is collected, which
        is no part of a run; it is left out.
        """
        if "never retrieved" in str(context.get("message")):
            return
        error = context.get("exception")
        who = context.get("task") or context.get("future") or context.get("handle")
        self.faults.append(f"{context.get('message')}: {error!r} {who!r:.200}")

    def _asyncgen_firstiter_hook(self, agen: Any) -> None:
        """Nothing: generators are closed by who opened them."""

    async def shutdown_asyncgens(self) -> None:
        """Nothing to shut down."""

    # What a simulation asks.

    def spawn(self, process: Process, coro: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Start a coroutine as a part of a process."""
        self.processes.add(process)
        return self.run_in(process, lambda: self.create_task(coro))

    def run_in(self, process: Process | None, call: Callable[[], Result]) -> Result:
        """Call a function so that what it starts is a part of a process."""
        context = contextvars.copy_context()
        context.run(_process.set, process)
        return context.run(call)

    def is_waiting(self, processes: Collection[Process], beyond_s: float) -> bool:
        """Tell whether something of these processes is still to happen, later than so soon."""
        after_s = self._now_s + beyond_s
        return any(
            when > after_s and handle.process in processes and not handle._cancelled
            for when, _, handle in self._timers
        )

    def ready(self, handle: _Handle) -> None:
        """Run a turn that was held back."""
        self._ready.append(handle)

    def run(self, coro: Coroutine[Any, Any, Result]) -> Result:
        """Run until a coroutine is done; return what it returns."""
        before = events._get_running_loop()
        events._set_running_loop(cast(Any, self))
        try:
            task = self.create_task(coro)
            while not task.done():
                self._turn()
                if self.steps > STEPS_MAX:
                    raise Stuck("the simulation does not end")
            result: Result = task.result()
            return result
        finally:
            events._set_running_loop(before)

    def end(self) -> None:
        """Cancel every task that is left, and let it come to its end.

        Requires: nothing that the tasks do from here on matters any more.
        """
        before = events._get_running_loop()
        events._set_running_loop(cast(Any, self))
        try:
            for process in self.processes:
                process.bury(self)
            for _ in range(ENDING_ROUNDS):
                left = [each for each in self.tasks if not each.done()]
                for task in left:
                    task.cancel()
                for _ in range(ENDING_TURNS):
                    if not left or not (self._ready or self._timers):
                        break
                    self._turn()
        finally:
            events._set_running_loop(before)

    def _turn(self) -> None:
        """Run all that is ready, after jumping to the next timer if nothing is."""
        if not self._ready:
            if not self._timers:
                raise Stuck("the simulation waits for nothing: a deadlock")
            self._now_s = max(self._now_s, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now_s:
            self._ready.append(heapq.heappop(self._timers)[2])
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._cancelled or (handle.process and handle.process.holds_back(handle)):
                continue
            self.steps += 1
            handle._run()

    def number(self) -> int:
        """Return the next number of what this loop makes."""
        self._numbers += 1
        return self._numbers


def current_process() -> Process | None:
    """Return the process whose turn it is."""
    return _process.get()
