"""How rare evidence of a part is among benign tasks, and what that is worth beside other evidence.

Parts do not speak one currency: 20 bits of a rate are usual, 12 of a loop are not. So each part has
a scale, from its benign tail: the bits that one in 2, 4, 8, .. benign tasks passes. Rarity is that
number's logarithm, between two steps in proportion, beyond the last at the last step's pace.

Rarities are compared and never added, because parts depend on one another. Each part has a share of
the budget of false alarms, one in SHARE: it alarms where it is so many times rarer than the budget.

All integers, 1/1024 bit.
"""

from __future__ import annotations

from typing import Any, Final

from stream.kernel import kernel

from .bits import BIT

STEPS: Final = 30  # of a scale: 1 in 2 .. 1 in 2^30
RARITY_MAX: Final = 60 * BIT
WORTH_MAX: Final = (1 << 30) - 1
SHARE: Final = 48  # all twelve parts together may add a quarter to a budget


@kernel
def rarity_of(scale: Any, bits: int) -> int:
    """Return how rare so many bits are; 0 where more than half of the benign tasks have them.

    Shapes: scale [STEPS], rising strictly.
    """
    if bits <= 0 or bits < scale[0]:
        return 0
    step = 0
    while step < STEPS - 2 and bits >= scale[step + 1]:
        step += 1
    below, above = int(scale[step]), int(scale[step + 1])
    return min((step + 1) * BIT + (bits - below) * BIT // (above - below), RARITY_MAX)


@kernel
def worth_of(scale: Any, rarity: int) -> int:
    """Return what evidence of another kind is as rare.

    Shapes: scale [STEPS]: that evidence at 1 in 2 .. 1 in 2^STEPS, never falling.
    """
    step = min(rarity // BIT, STEPS - 1)
    if step < 1:
        return 0
    below, above = int(scale[step - 1]), int(scale[step])
    return min(below + (rarity - step * BIT) * (above - below) // BIT, WORTH_MAX)
