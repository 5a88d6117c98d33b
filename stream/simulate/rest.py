"""After the storm: every fault ends, and the estate must come to rest.

Everything applied, stored and checkpointed. What does not come to rest is a violation as much as a
wrong command.
"""

from __future__ import annotations

import asyncio
from typing import Final

from .estate import Estate

CALM_S: Final = 180.0
STEP_S: Final = 0.25
QUIET_S: Final = 12.0


async def at_rest(estate: Estate) -> list[str]:
    """End every fault and let the estate come to rest; return what did not."""
    estate.network.calm()
    for gate in estate.gates:
        gate.network.calm()
    limit_s = estate.loop.time() + CALM_S
    while estate.loop.time() < limit_s:
        violations = []
        for member in estate.members:
            failure = member.failure
            if failure is not None and not member.process.is_dead:
                violations.append(f"{member.name} ended: {type(failure).__name__}: {failure}")
            elif member.process.is_dead or (member.task is not None and member.task.done()):
                member.start()
        for gate in estate.gates:
            if gate.process.is_dead:
                gate.start()
            elif gate.task is not None and gate.task.done():
                violations.append(f"the gateway ended: {gate.task.exception()!r}")
        if violations:
            return violations
        if await estate.is_drained() and await _is_quiet(estate):
            return []
        await asyncio.sleep(STEP_S)
    ends = [each.end for each in estate.log.partitions(estate.topics.requests)]
    held = await estate.checkpoints()
    return [f"not at rest after {CALM_S:.0f} s: checkpoints {held}, ends {ends}"]


async def _is_quiet(estate: Estate) -> bool:
    """Let what is under way arrive; tell whether all is stored even so."""
    await asyncio.sleep(QUIET_S)
    return await estate.is_drained()
