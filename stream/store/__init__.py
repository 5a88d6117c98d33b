"""What outlives a worker: rows, names, subject records and checkpoints of home partitions.

`contract` says what a store does, `agreed` what all do alike; `redis` is the store of the product
and the door of that dependency, `memory` has the same laws for tests, simulation and replay.
"""

from __future__ import annotations

from .contract import (
    BUCKETS,
    CHECKPOINT_FORMAT,
    DOMAINS_MAX,
    GROWN_FORMAT,
    NAMES_MAX,
    OTHERS,
    ROWS_PER_SAVE_MAX,
    SAVE_BYTES_MAX,
    Bequest,
    Birth,
    Checkpoint,
    Claim,
    Fence,
    Grown,
    Save,
    Store,
    StoreFacts,
    StoreForgot,
)
from .memory import MemoryServer, MemoryStore
from .redis import RedisStore
from .redis_link import RedisSpec
from .redis_rights import redis_rules

__all__ = [
    "BUCKETS",
    "CHECKPOINT_FORMAT",
    "DOMAINS_MAX",
    "GROWN_FORMAT",
    "NAMES_MAX",
    "OTHERS",
    "ROWS_PER_SAVE_MAX",
    "SAVE_BYTES_MAX",
    "Bequest",
    "Birth",
    "Checkpoint",
    "Claim",
    "Fence",
    "Grown",
    "MemoryServer",
    "MemoryStore",
    "RedisSpec",
    "RedisStore",
    "Save",
    "Store",
    "StoreFacts",
    "StoreForgot",
    "redis_rules",
]
