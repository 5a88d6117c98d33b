"""A slow model of the step, from which the auditor tells what rows and commands must be.

Nothing here is shared with the engine but the words of events, commands and policies: dicts and
lists, each rule as its definition reads.
"""

from .enforcer import Change, Enforcer, Held, Outcome, Row, without_texts
from .meaning import Line, has_room

__all__ = ["Change", "Enforcer", "Held", "Line", "Outcome", "Row", "has_room", "without_texts"]
