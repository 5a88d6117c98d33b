"""The worker: a member of the group that applies events, keeps rows and publishes commands."""

from .baselines import BASELINE_MISSING, Baselines
from .beginning import Place, Start, where_to_start
from .claiming import valid_entries
from .counting import known_counts
from .doors import NO_KEYS, Doors, Keys, SystemClock
from .entries import conditions_in
from .growth import Counts, extended, parent_of
from .heard import Heard
from .library import KEPT, Held, Library, Promoted, oldest_first
from .operators import OPERATORS_MAX, Operators
from .outbox import count_unstored_names
from .published import RECORDS_MAX, Published
from .spec import ZONES_MAX, TopicsSpec, WorkerSpec
from .worker import NO_PARTITIONS, Worker

__all__ = [
    "BASELINE_MISSING",
    "KEPT",
    "NO_KEYS",
    "NO_PARTITIONS",
    "OPERATORS_MAX",
    "RECORDS_MAX",
    "ZONES_MAX",
    "Baselines",
    "Counts",
    "Doors",
    "Heard",
    "Held",
    "Keys",
    "Library",
    "Operators",
    "Place",
    "Promoted",
    "Published",
    "Start",
    "SystemClock",
    "TopicsSpec",
    "Worker",
    "WorkerSpec",
    "conditions_in",
    "count_unstored_names",
    "extended",
    "known_counts",
    "oldest_first",
    "parent_of",
    "valid_entries",
    "where_to_start",
]
