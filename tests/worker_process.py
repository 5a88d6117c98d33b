"""A worker in a process of its own, for tests that kill it.

python -m tests.worker_process SETTINGS.json
"""

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from stream.config import Config
from stream.engine import warm
from stream.policy import load_policy
from tests.live import worker_of


async def main(settings: dict[str, Any]) -> None:
    """Run until SIGTERM."""
    config = msgspec.convert(settings["config"], Config)
    worker = worker_of(config, load_policy(settings["policy"], "test"), "process")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    warm()
    await worker.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes())))
