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

from stream.cli.standing import say_standing
from stream.config import Config
from stream.metrics import Metrics, MetricsServer
from stream.policy import load_policy
from stream.warm import warm
from tests.live import worker_of


async def main(settings: dict[str, Any]) -> None:
    """Run until SIGTERM."""
    config = msgspec.convert(settings["config"], Config)
    metrics = Metrics()
    worker = worker_of(config, load_policy(settings["policy"], "test"), "process", metrics)
    address = config.metrics.host, config.metrics.port
    server = MetricsServer(metrics, address, worker.ready, worker.healthy)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.stop)
    loop.add_signal_handler(signal.SIGUSR1, say_standing)
    warm()
    server.start()
    logging.getLogger("process").info("metrics at port %d", server.port)
    try:
        await worker.run()
    finally:
        server.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes())))
