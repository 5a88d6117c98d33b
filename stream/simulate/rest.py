"""After the storm: every fault ends, and the estate must come to rest.

Everything applied, stored and checkpointed. What does not come to rest is a violation as much as a
wrong command.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from .estate import Estate

CALM_S: Final = 180.0
STEP_S: Final = 0.25
UNDER_WAY_S: Final = 60.0
SOON_S: Final = 0.05
"""A network without faults has nothing under way for longer."""
QUIET_S: Final = 3.0
"""Longer than whatever follows from what arrives last: heartbeats, saves, a takeover."""
LOOK_EVERY_MS: Final = 1_000
"""How often members look around at rest: nobody is to be caught in the act any more."""


async def at_rest(estate: Estate) -> list[str]:
    """End every fault and let the estate come to rest; return what did not."""
    spec = estate.spec
    estate.set_up(msgspec.structs.replace(spec, look_every_ms=LOOK_EVERY_MS))
    try:
        return await _come_to_rest(estate)
    finally:
        estate.spec = spec


async def _come_to_rest(estate: Estate) -> list[str]:
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
        # Who was told to leave may have stored all, and gone, since it was looked at above.
        if await estate.is_drained() and await _is_quiet(estate) and _is_staffed(estate):
            return []
        await asyncio.sleep(STEP_S)
    ends = [each.end for each in estate.log.partitions(estate.topics.requests)]
    held = await estate.checkpoints()
    return [f"not at rest after {CALM_S:.0f} s: checkpoints {held}, ends {ends}"]


def _is_staffed(estate: Estate) -> bool:
    """Tell whether every member is at work, so that what owners owe can be asked for."""
    return all(
        not each.process.is_dead and each.task is not None and not each.task.done()
        for each in estate.members
    )


async def _is_quiet(estate: Estate) -> bool:
    """Let what is under way arrive, and what follows happen; tell whether all is stored even so.

    Under way is what comes late, or once more, and what befalls processes: who dies has lost its
    partitions only after a while, who is frozen goes on, and who has not heard yet that a call
    never came does nothing else meanwhile.
    """
    networks = [estate.network, *(each.network for each in estate.gates)]
    processes = [each.process for each in networks]
    limit_s = estate.loop.time() + UNDER_WAY_S
    while estate.loop.is_waiting(processes, SOON_S) or any(each.is_awaited for each in networks):
        assert estate.loop.time() < limit_s, "what is under way never arrives"
        await asyncio.sleep(STEP_S)
    await asyncio.sleep(QUIET_S)
    return not estate.loop.is_waiting(processes, SOON_S) and await estate.is_drained()
