"""The same targets under libFuzzer, where `atheris` is installed: `pip install -e '.[fuzz]'`.

    python -m tests.fuzz.libfuzzer TARGET [-runs=100000] [-max_len=4000] [FOLDER of inputs]

It sees branches and comparisons of the Python below `stream/` that has no kernels (Numba compiles
the others from the bytecode that instrumenting would change), so it finds what compares a text with
another. Options behind the target are libFuzzer's own; it writes a crashing input to a file.
"""

from __future__ import annotations

import importlib
import logging
import sys
import tempfile
from pathlib import Path
from typing import Final

INSTRUMENTED: Final = ["stream.events", "stream.identity", "stream.gateway", "stream.cli.letters"]


def main() -> None:
    """Fuzz one target until libFuzzer has enough; it ends the process."""
    if len(sys.argv) < 2:
        sys.stderr.write(__doc__ or "")
        sys.exit(2)
    # Looked up by its name, so that nobody who has no libFuzzer needs it.
    atheris = importlib.import_module("atheris")
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=INSTRUMENTED):
        from .endpoints import ENDPOINTS
        from .files import FILES
        from .seeds import corpus, seeds_of
        from .targets import TARGETS
    logging.disable(logging.CRITICAL)
    target = (TARGETS | ENDPOINTS | FILES)[name]
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate([*seeds_of(target.seeds), *corpus(name)]):
            (Path(folder) / str(number)).write_bytes(data)
        atheris.Setup([sys.argv[0], *options, folder], target.open())
        atheris.Fuzz()


if __name__ == "__main__":
    main()
