"""A thread beside the loop that rests as long as it works, for work that hurries nobody.

Kernels and copies hold no lock, and take the loop's processor all the same; and a virtual machine
may have to wait for each part of new memory that it touches, milliseconds in which a processor does
nothing else.
"""

from __future__ import annotations

import time
from typing import Final

REST_S_MAX: Final = 0.1


class Resting:
    """Rests when called, as long as has passed since it was made or has rested."""

    def __init__(self) -> None:
        self._since_s = time.perf_counter()

    def __call__(self) -> None:
        """Rest. Units: REST_S_MAX at most."""
        time.sleep(min(time.perf_counter() - self._since_s, REST_S_MAX))
        self._since_s = time.perf_counter()
