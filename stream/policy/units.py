"""Durations, quantities and rates as policy files write them, converted once to integers."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from stream.errors import PolicyError
from stream.events import Rate

_DURATION_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_QUANTITY: Final = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_PART = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_RATE = re.compile(r"([0-9]{1,9}) ?/ ?((?:[0-9]{1,9}(?:ms|s|m|h|d))+|ms|s|m|h|d)")
_AMOUNT = re.compile(r"([0-9]{1,15}) ?([A-Za-z]{0,3})")
_PER_WORKLOAD = re.compile(r"([0-9]{1,4}) per workload per ([0-9]{1,4}) ?(hour|day|week)s?")
_SPAN_MS: Final = {"hour": 3_600_000, "day": 86_400_000, "week": 7 * 86_400_000}
SPAN_MS_MAX: Final = 366 * 86_400_000
_SHARE = re.compile(r"([0-9]{1,2})(?:\.([0-9]{1,4}))? ?% of tasks")
_PERCENT = re.compile(r"([0-9]{1,2})(?:\.([0-9]{1,4}))? ?%")
PERCENT_PPM_MAX: Final = 500_000
SHARE_PPM_MIN: Final = 10
SHARE_PPM_MAX: Final = 100_000
PERMITS_MAX: Final = 1_000_000


def duration_ms(text: str) -> int:
    """Return the milliseconds of a duration such as `10s`, `5m` or `1h30m`.

    Errors: PolicyError.
    """
    place, total = 0, 0
    while place < len(text):
        part = _PART.match(text, place)
        if part is None:
            break
        total += int(part[1]) * _DURATION_MS[part[2]]
        place = part.end()
    if not text or place < len(text) or len(text) > 32:
        raise PolicyError(f"{text[:40]!r} is not a duration", hint="write 10s, 5m, 1h30m or 7d")
    return total


def quantity(amount: int | str) -> int:
    """Return a plain number for `100`, `"100k"`, `"20 MB"` or `"1GiB"`.

    Errors: PolicyError.
    """
    if isinstance(amount, int):
        return amount
    match = _AMOUNT.fullmatch(amount)
    if match is None or match[2] not in _QUANTITY:
        raise PolicyError(f"{amount[:40]!r} is not a quantity", hint="write 100, 100k or 20MB")
    return int(match[1]) * _QUANTITY[match[2]]


def rate(text: str) -> Rate:
    """Return the rate of `5/s`, `300/5m` or `1/1m30s`.

    Errors: PolicyError.
    """
    match = _RATE.fullmatch(text)
    if match is not None:
        span = f"1{match[2]}" if match[2] in _DURATION_MS else match[2]
        count, per_ms = int(match[1]), duration_ms(span)
        if 1 <= count <= PERMITS_MAX and 1 <= per_ms <= _DURATION_MS["d"]:
            return Rate(count, per_ms)
    raise PolicyError(
        f"{text[:40]!r} is not a rate", hint=f"write 5/s or 300/5m: 1..{PERMITS_MAX} in 1ms..1d"
    )


class AlarmBudget(NamedTuple):
    """How many false alarms are allowed: millionths of tasks, or a number a workload in a span."""

    ppm: int
    alarms: int = 0
    per_ms: int = 0


def alarm_budget(text: str) -> AlarmBudget:
    """Return the budget of `0.5% of tasks` or `1 per workload per 30 days`.

    Errors: PolicyError.
    """
    match = _SHARE.fullmatch(text)
    if match is not None:
        ppm = _ppm(match)
        if SHARE_PPM_MIN <= ppm <= SHARE_PPM_MAX:
            return AlarmBudget(ppm)
    match = _PER_WORKLOAD.fullmatch(text)
    if match is not None:
        count, per_ms = int(match[1]), int(match[2]) * _SPAN_MS[match[3]]
        if count and 0 < per_ms <= SPAN_MS_MAX:
            return AlarmBudget(0, count, per_ms)
    raise PolicyError(
        f"{text[:40]!r} is no budget of false alarms",
        hint="write 0.5% of tasks (0.001 to 10 percent), or 1 per workload per 30 days (hours,"
        " days or weeks, at most a year)",
    )


def share_ppm(text: str) -> int:
    """Return the millionths of `10%` or `0.5 %`.

    Errors: PolicyError.
    """
    match = _PERCENT.fullmatch(text)
    if match is None or not 0 < _ppm(match) <= PERCENT_PPM_MAX:
        raise PolicyError(f"{text[:40]!r} is no share", hint="write 10% or 0.5%, at most 50%")
    return _ppm(match)


def _ppm(match: re.Match[str]) -> int:
    """Return the millionths of a percentage in whole and ten-thousandth parts."""
    return int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0"))


def spell_duration(span_ms: int) -> str:
    """Return the shortest spelling of a duration that `duration_ms` reads back."""
    if span_ms == 0:
        return "0ms"
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        size = _DURATION_MS[unit]
        if span_ms >= size:
            parts.append(f"{span_ms // size}{unit}")
            span_ms %= size
    return "".join(parts)
