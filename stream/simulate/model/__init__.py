"""A slow model of the step, from which the auditor tells what rows and commands must be.

Nothing here is shared with the engine but the words of events, commands and policies: dicts and
lists, each rule as its definition reads.
"""

from .cause import Change, Held, Newly, Outcome, Row
from .commands import without_texts
from .enforcer import Enforcer
from .meaning import Line, has_room

__all__ = [
    "Change",
    "Enforcer",
    "Held",
    "Line",
    "Newly",
    "Outcome",
    "Row",
    "has_room",
    "without_texts",
]
