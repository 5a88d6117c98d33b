"""`warm`: compile the kernels ahead, for images and for a first start that does not wait."""

from __future__ import annotations

import click

from stream.kernel import cache_folder

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
    took_s = compile_kernels(screen.note, learning=True)
    folder = str(cache_folder())
    screen.emit({"seconds": round(took_s, 3), "folder": folder})
    screen.line(f"kernels are in {folder}")
