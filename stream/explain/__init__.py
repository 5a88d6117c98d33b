"""A stored row as a person reads it: how far from each limit, what is in force, and why.

Pure: rows, names, a policy and a time in; values out. Who fetches them is the shell's business.
"""

from .image import RowImage, StoredRow, open_row
from .profile import (
    Distance,
    InForce,
    Profile,
    SequenceMark,
    TaskContext,
    Transition,
    WindowTotal,
)
from .reading import read_profile

__all__ = [
    "Distance",
    "InForce",
    "Profile",
    "RowImage",
    "SequenceMark",
    "StoredRow",
    "TaskContext",
    "Transition",
    "WindowTotal",
    "open_row",
    "read_profile",
]
