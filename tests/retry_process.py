"""`enforcer dlq retry --all` that stops between two steps and waits to be killed.

python -m tests.retry_process KAFKA PREFIX STEP, where STEP is `began`, `sent` or `committed`.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from stream.bus import KafkaTogether, Sending
from stream.cli import main


async def stand_still(step: str) -> None:
    """Say how far it is, and wait."""
    sys.stdout.write(f"{step}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


class _Stopping:
    """A producer of the client's that stops at one step."""

    def __init__(self, producer: Any, step: str) -> None:
        self._producer = producer
        self._step = step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    async def begin_transaction(self) -> None:
        await self._producer.begin_transaction()
        if self._step == "began":
            await stand_still("began")

    async def commit_transaction(self) -> None:
        if self._step == "sent":
            await stand_still("sent")
        await self._producer.commit_transaction()
        await stand_still("committed")


if __name__ == "__main__":
    KAFKA, PREFIX, STEP = sys.argv[1:]
    commit = KafkaTogether._commit

    async def commit_slowly(
        self: KafkaTogether, producer: Any, sendings: Sequence[Sending]
    ) -> list[int]:
        return await commit(self, _Stopping(producer, STEP), sendings)

    KafkaTogether._commit = commit_slowly  # type: ignore[method-assign] # the crash under test
    main(["dlq", "retry", "--all", "--kafka", KAFKA, "--prefix", PREFIX])
