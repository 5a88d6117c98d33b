"""A rule on learned evidence comes into force, or is renewed, unless the brake holds it."""

from __future__ import annotations

from typing import Any

from stream.detectors import may_renew
from stream.kernel import kernel
from stream.policy import ENFORCE, SHADOW

from .brake import Brakes, is_closed, is_held, is_settled, may_enforce, take
from .decision import BRAKED, COUNTED, DROP, Cause, Out
from .ledger import find_subject, is_weaker, issue


@kernel
def issue_learned(event: Any, cause: Cause, of: Any, rule: Any, brakes: Brakes, out: Out) -> int:
    """Issue what a rule asks for; return the decision's place, -1 where it is in force already.

    Or where nothing is said of what finds no place. Shapes: of = (table, policy, the row's class).
    Mutates: table, brakes, out.
    """
    table, policy, tier = of
    head, ledger = table.head[cause.slot], table.ledger[cause.slot]
    group = policy.classes[tier]
    place = find_subject(ledger, rule, event, cause)
    enforces = bool(may_enforce(rule, cause.force))
    is_braked = (
        enforces
        and not (_is_live(ledger, place, cause) and ledger[place]["mode"] == ENFORCE)
        and bool(is_closed(event, tier, brakes))
    )
    mine = _with_force(cause, int(SHADOW) if is_braked else int(cause.force))
    if is_braked:
        # What would not do for the rule may do for a shadow of it.
        place = find_subject(ledger, rule, event, mine)
    if (
        _is_live(ledger, place, cause)
        and not may_renew(ledger[place], cause.clock_ms)
        and not is_weaker(ledger[place], rule, mine.force)
    ):
        return -1
    was_held = bool(is_held(ledger, head, policy, group, cause.clock_ms))
    done = int(issue(ledger, head, mine, rule, event, out))
    if done >= 0:
        decision = out.decisions[done]
        is_newly = enforces and not was_held and decision["what"] != DROP
        if is_braked:
            decision["brake"] = BRAKED
        elif is_newly and is_settled(head, cause.clock_ms, policy):
            decision["brake"] = COUNTED
            take(event, tier, brakes)
    return done


@kernel
def _is_live(ledger: Any, place: int, cause: Cause) -> bool:
    """Tell whether there is an entry, and it lasts beyond the event."""
    return bool(place >= 0 and ledger[place]["until_ms"] > cause.clock_ms)


@kernel
def _with_force(cause: Cause, force: int) -> Cause:
    """Return a cause that is enforced as much as this."""
    at_ms, clock_ms = cause.at_ms, cause.clock_ms
    return Cause(cause.event, cause.slot, at_ms, clock_ms, cause.context, force, cause.ordinal)
