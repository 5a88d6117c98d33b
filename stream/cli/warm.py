"""`warm`: compile the kernels ahead, for images and for a first start that does not wait."""

from __future__ import annotations

import time

import click

from stream.baselines import promote
from stream.detectors import JUDGES
from stream.events import Request, encode_request
from stream.kernel import HashKey, cache_folder
from stream.replay import History

from .options import examples, json_option
from .run import compile_kernels
from .screen import Screen


@click.command("warm", epilog=examples("enforcer warm", "XDG_CACHE_HOME=/opt/cache enforcer warm"))
@json_option
def warm(*, is_json: bool) -> None:
    """Compile the kernels ahead.

    They are kept below XDG_CACHE_HOME (or ~/.cache), in a folder named by their sources and the
    versions of Python, numpy and Numba; other versions compile anew.
    """
    screen = Screen(is_json=is_json)
    began_s = time.monotonic()
    compile_kernels(screen.note)
    warm_learning()
    took_s = time.monotonic() - began_s
    folder = str(cache_folder())
    screen.emit({"seconds": round(took_s, 3), "folder": folder})
    screen.line(f"kernels are in {folder}")


def warm_learning() -> None:
    """Compile the kernels that learn a baseline, which workers do not need, or load them.

    Makes a baseline of some tasks.
    """
    key = HashKey(bytes(16))
    history = History(key)
    calls = [
        Request(
            at_ms=1_000 * number + place,
            workload=f"spiffe://warm/up/{number % 4}",
            operation=f"tool:{name}",
            purpose="warm",
            task=str(number),
            resources=("to:somebody",),
            bytes=1,
        )
        for number in range(8)
        for place, name in enumerate(("read", "send"))
    ]
    history.add([encode_request(each) for each in calls])
    promote(history.tasks(), key.id, JUDGES, {})
