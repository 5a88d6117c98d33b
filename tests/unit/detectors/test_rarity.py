"""Rarity: one currency for parts that have none in common."""

from __future__ import annotations

import numpy as np
import pytest

from stream.detectors import BIT, RARITY_MAX, STEPS, asserted_tails, rarity_of, worth_of

SCALE = np.arange(1, STEPS + 1) * 3 * BIT


def test_rarity_is_read_off_the_scale() -> None:
    """At a step its number, between two in proportion, beyond the last at the last's pace."""
    assert [rarity_of(SCALE, bits * BIT) for bits in (0, 2, 3, 6)] == [0, 0, BIT, 2 * BIT]
    assert rarity_of(SCALE, 3 * BIT + 3 * BIT // 2) == BIT + BIT // 2
    assert rarity_of(SCALE, 3 * BIT * (STEPS + 4)) == (STEPS + 4) * BIT
    assert rarity_of(SCALE, 1 << 20) == RARITY_MAX


def test_more_evidence_is_never_less_rare() -> None:
    """Rarity and what it is worth never fall, even where steps adjoin."""
    scale = np.concatenate([np.arange(1, 10), np.arange(1, STEPS - 8) * 700]).astype(np.int64)
    rarities = [rarity_of(scale, bits) for bits in range(0, 40_000, 7)]
    assert rarities == sorted(rarities)
    worths = [worth_of(scale, rarity) for rarity in range(0, RARITY_MAX, 97)]
    assert worths == sorted(worths)


def test_what_is_as_rare_is_worth_the_same() -> None:
    """Evidence on its own scale is worth itself; less than 1 in 2 is worth nothing."""
    for bits in (3 * BIT, 10 * BIT, 50 * BIT, 80 * BIT):
        assert worth_of(SCALE, rarity_of(SCALE, bits)) == pytest.approx(bits, abs=4)
    assert worth_of(SCALE, BIT - 1) == 0


def test_no_evidence_is_worth_more_than_fits() -> None:
    """Scales may come from a file that somebody made: evidence stays within 32 bits."""
    wild = (np.arange(STEPS) + 1) * (1 << 30)
    assert 0 < worth_of(wild, RARITY_MAX) < 1 << 31


def test_asserted_tails_alone_alarm_for_floods_only() -> None:
    """Where nothing was learned no part alarms below 13 bits, and rates do not below 30."""
    tails = asserted_tails()
    alarm = 13.1
    for tail in tails:
        at_alarm = float(np.interp(alarm, np.arange(1, len(tail.bits) + 1), tail.bits))
        assert at_alarm > 12
    assert tails[4].bits[13] > 30
