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
from stream.metrics import Metrics, MetricsServer
from stream.policy import load_policy
from stream.warm import warm
from tests.live import worker_of


def tell_tasks() -> None:
    """Say where every task stands, for whoever reads the log of a test that failed."""
    for task in asyncio.all_tasks():
        sys.stderr.write(f"{task!r:.1000}\n")
        task.print_stack(limit=6, file=sys.stderr)


async def main(settings: dict[str, Any]) -> None:
    """Run until SIGTERM."""
    config = msgspec.convert(settings["config"], Config)
    metrics = Metrics()
    worker = worker_of(config, load_policy(settings["policy"], "test"), "process", metrics)
    address = config.metrics.host, config.metrics.port
    server = MetricsServer(metrics, address, worker.ready, worker.healthy)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.stop)
    loop.add_signal_handler(signal.SIGUSR1, tell_tasks)
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
