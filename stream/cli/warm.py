"""`warm`: compile the kernels ahead, for images and for a first start that does not wait."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from stream.baselines import promote
from stream.bus import KafkaPublisher, KafkaReader
from stream.config import load_config
from stream.detectors import JUDGES
from stream.events import Request, encode_request
from stream.kernel import HashKey, cache_folder
from stream.local import Addresses, read_ahead
from stream.replay import History

from .doors import opened
from .options import examples, json_option
from .run import compile_kernels
from .screen import Screen
from .topics import make_topics


@click.command(
    "warm",
    epilog=examples(
        "enforcer warm",
        "XDG_CACHE_HOME=/opt/cache enforcer warm",
        "enforcer warm --servers        so that `up` and `demo` begin sooner",
    ),
)
@click.option(
    "--servers",
    is_flag=True,
    help="Also fetch the Kafka of `up` and `demo`, and read its classes ahead.",
)
@json_option
def warm(*, servers: bool, is_json: bool) -> None:
    """Compile the kernels ahead.

    They are kept below XDG_CACHE_HOME (or ~/.cache), in a folder named by their sources and the
    versions of Python, numpy and Numba; other versions compile anew.
    """
    screen = Screen(is_json=is_json)
    began_s = time.monotonic()
    found: dict[str, Any] = {}
    with ThreadPoolExecutor(max_workers=1) as beside:
        reading = beside.submit(read_ahead, use, on_progress=screen.note) if servers else None
        compile_kernels(screen.note)
        warm_learning()
        if reading is not None:
            found["classes"] = str(reading.result())
    took_s = time.monotonic() - began_s
    folder = str(cache_folder())
    screen.emit({"seconds": round(took_s, 3), "folder": folder, **found})
    screen.line(f"kernels are in {folder}")
    if servers:
        screen.line(f"Kafka's classes are in {found['classes']}")


def use(addresses: Addresses) -> None:
    """Let a broker do what it does for us: topics, a record in, a record out."""
    config = load_config("", {"ENFORCER_KAFKA": addresses.kafka, "ENFORCER_REDIS": addresses.redis})

    async def using() -> None:
        await make_topics(config)
        topic = config.topics.requests
        async with (
            opened(KafkaPublisher(config.kafka)) as publisher,
            opened(KafkaReader(config.kafka)) as reader,
        ):
            offset = await (await publisher.send(topic, b"warm", b"{}", 0))
            await reader.read(topic, 0, offset, offset + 1)

    asyncio.run(using())


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
