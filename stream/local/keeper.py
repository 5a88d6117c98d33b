"""The keeper: a small process that runs one server and ends it when its parent is gone.

Run as a script (`python -I -S keeper.py ...`), so it imports the standard library only and starts
in some 20 ms. Why a process of our own and not `PR_SET_PDEATHSIG` alone: that signal follows the
*thread* that forked, so a server started from a worker thread would die with the thread; it does
not exist on macOS; and it cannot first ask politely, so every crash of the parent would leave Kafka
an unclean log. Invariants:

* The server lives no longer than the keeper: on Linux by parent-death signal (the keeper has one
  thread, so the trap above is not there).
* The keeper lives no longer than its parent: its standard input is a pipe whose other end only the
  parent holds, and it also looks once a second whether its parent is still the same, for a parent
  whose forked children hold the pipe open.
* It has a session of its own, so Ctrl-C in the terminal reaches the worker, not the servers that
  the worker needs to shut down cleanly.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

PARENT_CHECK_S = 1.0
_PR_SET_PDEATHSIG = 1


def die_with(keeper_pid: int) -> None:
    """Have the kernel kill this process when the keeper, which forked it, ends.

    Elsewhere than on Linux nothing happens; the keeper's own watch remains.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper_pid:  # It ended before the kernel knew of our wish.
            os._exit(1)


def keep(parent_pid: int, stop_within_s: float, pid_file: Path, command: list[str]) -> int:
    """Run `command` until it ends or the parent is gone; return its exit code.

    The pid file names keeper and server while the server runs, and is gone after a watched end.
    """
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    keeper_pid = os.getpid()
    # preexec_fn is unsafe beside other threads; the keeper has one.
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, preexec_fn=lambda: die_with(keeper_pid)
    )
    written = pid_file.with_suffix(".new")
    written.write_text(json.dumps({"keeper": keeper_pid, "server": server.pid}))
    written.replace(pid_file)
    _wait_for_a_reason(server, parent_pid, wake_read)
    _end(server, stop_within_s)
    pid_file.unlink(missing_ok=True)
    return server.returncode


def _wait_for_a_reason(server: subprocess.Popen[bytes], parent_pid: int, wake_read: int) -> None:
    """Return when the server ended, the parent closed the pipe or died, or a signal says stop."""
    while server.poll() is None and os.getppid() == parent_pid:
        readable, _, _ = select.select([0, wake_read], [], [], PARENT_CHECK_S)
        if 0 in readable and not os.read(0, 64):
            return
        if wake_read in readable and set(os.read(wake_read, 64)) - {signal.SIGCHLD}:
            return


def _end(server: subprocess.Popen[bytes], stop_within_s: float) -> None:
    """End the server: ask, wait, then kill."""
    if server.poll() is None:
        server.terminate()
    try:
        server.wait(timeout=stop_within_s)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    code = keep(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    sys.exit(code if code >= 0 else 128 - code)
