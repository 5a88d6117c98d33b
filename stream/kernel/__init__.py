"""What kernels are made of: how they are compiled, their arithmetic, their hashes.

`compiling` is the one way to compile one; `arithmetic` wraps the same compiled or not; `memory`
reads words where they lie; `hashing` has the keyed hash and Kafka's.
"""

from __future__ import annotations

from .arithmetic import minus64, mix64, rotate64, zeros64
from .compiling import CACHES_MAX, KERNEL_ROOMS, cache_folder, is_compiled, kernel, routine
from .hashing import KEY_BYTES, HashKey, murmur, sip
from .memory import LINE_BYTES, load64, prefetch_entry, prefetch_line

__all__ = [
    "CACHES_MAX",
    "KERNEL_ROOMS",
    "KEY_BYTES",
    "LINE_BYTES",
    "HashKey",
    "cache_folder",
    "is_compiled",
    "kernel",
    "load64",
    "minus64",
    "mix64",
    "murmur",
    "prefetch_entry",
    "prefetch_line",
    "rotate64",
    "routine",
    "sip",
    "zeros64",
]
