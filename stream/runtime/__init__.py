"""The worker: a member of the group that applies events, keeps rows and publishes commands."""

from .doors import Doors, SystemClock
from .operators import Operators
from .spec import TopicsSpec, WorkerSpec
from .takeover import valid_entries
from .worker import Worker

__all__ = [
    "Doors",
    "Operators",
    "SystemClock",
    "TopicsSpec",
    "Worker",
    "WorkerSpec",
    "valid_entries",
]
