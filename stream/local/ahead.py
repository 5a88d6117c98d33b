"""Kafka's classes, read and linked ahead: a broker is up with a third of the processor time.

Java calls it an AOT cache and writes one at the end of a run that is told to. It fits the Java that
wrote it and the jars where they were, so its name holds both. One that does not fit after all is
told in the broker's output and not used.

Source: JEP 483 and JEP 514 (Java 25).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .jars import Fetch, cache_folder, extra_missing, fetch_by_jgo, locked_jars
from .kafka import ARCHIVES, archive_of, java_binary
from .servers import Addresses, LocalServers, LocalSpec

# What is written takes as long as all else together, on a slow machine half a minute.
_SPEC: Final = LocalSpec(durable=False, stop_within_s=120.0)


def read_ahead(
    work: Callable[[Addresses], None],
    *,
    on_progress: Callable[[str], None] = lambda line: None,
    fetch: Fetch = fetch_by_jgo,
) -> Path:
    """Have Kafka's classes read ahead, by a broker that does some work; return where they are.

    Takes some 15 seconds, and no time where it is done already.
    Errors: ConfigError as `LocalServers.start` has them; whatever `work` raises.
    """
    java, cache = java_binary(), cache_folder(os.environ)
    if java is None:
        raise extra_missing()
    archive = archive_of(java, tuple(cache / jar.file_name for jar in locked_jars()))
    if archive.exists():
        return archive
    with tempfile.TemporaryDirectory(prefix="stream-enforcer-ahead-") as folder:
        written = Path(folder) / "classes.aot"
        servers = LocalServers(
            Path(folder) / "servers", _SPEC, on_progress=on_progress, fetch=fetch, archive=written
        )
        with servers:
            work(servers.addresses)
        if written.exists():
            for old in cache.glob(f"{ARCHIVES}*"):
                old.unlink()
            _keep(written, archive)
    return archive


def _keep(written: Path, archive: Path) -> None:
    """Move a file that may lie on another device to where readers must see all of it or nothing."""
    beside = archive.with_name(f"{archive.name}.{os.getpid()}")
    beside.write_bytes(written.read_bytes())
    beside.replace(archive)
