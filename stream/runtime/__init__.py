"""The worker: a member of the group that applies events, keeps rows and publishes commands."""

from .beginning import Place, Start, where_to_start
from .counting import known_counts
from .doors import NO_KEYS, Doors, Keys, SystemClock
from .growth import Counts, extended, parent_of
from .heard import Heard
from .operators import OPERATORS_MAX, Operators
from .published import RECORDS_MAX, Published
from .spec import ZONES_MAX, TopicsSpec, WorkerSpec
from .takeover import valid_entries
from .worker import NO_PARTITIONS, Worker

__all__ = [
    "NO_KEYS",
    "NO_PARTITIONS",
    "OPERATORS_MAX",
    "RECORDS_MAX",
    "ZONES_MAX",
    "Counts",
    "Doors",
    "Heard",
    "Keys",
    "Operators",
    "Place",
    "Published",
    "Start",
    "SystemClock",
    "TopicsSpec",
    "Worker",
    "WorkerSpec",
    "extended",
    "known_counts",
    "parent_of",
    "valid_entries",
    "where_to_start",
]
