"""From all that binds a request to one verdict: the strongest command that has not expired.

A hold or a revoke outranks every throttle; between equals the one that lasts longest speaks. Of
several throttles each must let the request pass, and a permit is taken from all of them or none.
A command in shadow is judged beside, with a bucket of its own, and changes nothing.
"""

from __future__ import annotations

import msgspec

from .binding import HOLD, Binding, Throttle
from .verdict import ALLOW, STATUS_DENY, STATUS_THROTTLE, Verdict, WouldHave


def judge(found: tuple[Binding, ...], now_ms: int, lifted_ms: int) -> Verdict:
    """Return the verdict on one request; commands caused before `lifted_ms` are cancelled.

    Mutates: the buckets of throttles, those in shadow too.
    """
    strongest: Binding | None = None
    throttles: list[Binding] | None = None
    shadows: list[Binding] | None = None
    for binding in found:
        if now_ms >= binding.expires_at_ms or binding.caused_at_ms < lifted_ms:
            continue
        if binding.is_shadow:
            shadows = [*(shadows or ()), binding]
        elif binding.rank >= HOLD:
            if strongest is None or _is_stronger(binding, strongest):
                strongest = binding
        else:
            throttles = [*(throttles or ()), binding]
    if strongest is not None:
        verdict = _denial(strongest, now_ms)
    else:
        verdict = ALLOW if throttles is None else _throttled(throttles, now_ms)
    if shadows is None:
        return verdict
    would_have = tuple(_would_have(shadows, now_ms))
    return msgspec.structs.replace(verdict, shadow=would_have) if would_have else verdict


def judge_one(binding: Binding, now_ms: int, lifted_ms: int) -> Verdict:
    """Return the same for the usual case, one command, without a list.

    Cost: reads of memory that is cold are what a check costs, so nothing is read in vain.
    Mutates: the bucket of a throttle.
    """
    if now_ms >= binding.expires_at_ms or (lifted_ms and binding.caused_at_ms < lifted_ms):
        return ALLOW
    if isinstance(binding, Throttle):
        return binding.verdict(now_ms)
    if binding.is_shadow:
        return judge((binding,), now_ms, lifted_ms)
    return _denial(binding, now_ms)


def _is_stronger(one: Binding, other: Binding) -> bool:
    return (one.rank, one.expires_at_ms) > (other.rank, other.expires_at_ms)


def _denial(binding: Binding, now_ms: int) -> Verdict:
    return Verdict("deny", STATUS_DENY, binding, now_ms)


def _throttled(throttles: list[Binding], now_ms: int) -> Verdict:
    """Return ALLOW and take a permit of each, or the verdict of the one to wait for longest."""
    longest: Binding | None = None
    wait_ms = 0
    for binding in throttles:
        wait = _wait_ms(binding, now_ms)
        if wait > wait_ms:
            longest, wait_ms = binding, wait
    if longest is not None:
        return _wait(longest, wait_ms)
    for binding in throttles:
        _take(binding)
    return ALLOW


def _wait_ms(binding: Binding, now_ms: int) -> int:
    """Return how long a throttle makes a request wait; one that expires is waited for no longer.

    Mutates: the bucket, which earns what time has passed.
    """
    assert binding.bucket is not None, "a throttle has a bucket"
    wait_ms = binding.bucket.refill(now_ms)
    return min(wait_ms, binding.expires_at_ms - now_ms) if wait_ms else 0


def _take(binding: Binding) -> None:
    assert binding.bucket is not None, "a throttle has a bucket"
    binding.bucket.take()


def _wait(binding: Binding, wait_ms: int) -> Verdict:
    return Verdict("throttle", STATUS_THROTTLE, binding, 0, wait_ms)


def _would_have(shadows: list[Binding], now_ms: int) -> list[WouldHave]:
    """Return what commands in shadow would have said; who would have allowed says nothing."""
    said = []
    for binding in shadows:
        if binding.bucket is None:
            said.append(WouldHave("deny", binding.rule, binding.told.command))
        elif binding.bucket.refill(now_ms):
            said.append(WouldHave("throttle", binding.rule, binding.told.command))
        else:
            binding.bucket.take()
    return said
