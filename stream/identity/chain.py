"""Delegation chains: who asked whom, before this workload made the call.

`actors` is the chain behind a call, root first: the workload that started it, then each one it was
handed to. RFC 8693 nests the other way round: in a token the outermost `act` is the current actor
and the innermost the first one, so a gateway that unpacks a token reverses it.

A workload may stand in its own chain, and more than once (A asks B, which asks A): that is what
agents do, and for detectors to judge. What is bounded here is only depth.

Source: RFC 8693, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .spiffe import IdentityFault, InvalidIdentity, canonical_workload

ACTORS_MAX: Final = 16


def canonical_actors(actors: Sequence[str]) -> tuple[str, ...]:
    """Return the chain with each actor in canonical form, root first.

    Errors: InvalidIdentity: `chain_too_deep` above ACTORS_MAX, judged before any actor is read;
            else the fault of the first bad actor, its position (root = 0) in the message.
    """
    if len(actors) > ACTORS_MAX:
        message = f"a delegation chain of {len(actors)} actors, at most {ACTORS_MAX}"
        raise InvalidIdentity(IdentityFault.CHAIN_TOO_DEEP, message)
    canonical = []
    for position, actor in enumerate(actors):
        try:
            canonical.append(canonical_workload(actor))
        except InvalidIdentity as fault:
            message = f"actor {position}: {fault.message}"
            raise InvalidIdentity(fault.why, message) from fault
    return tuple(canonical)


def root(actors: Sequence[str], workload: str) -> str:
    """Return the workload that started the call: the first actor, or the caller without any.

    Requires: `actors` as `canonical_actors` returns them, `workload` canonical.
    """
    return actors[0] if actors else workload
