"""What is in force: the ledger of a row, the loop that decides, decisions to commands."""

from .anomaly import SCORE
from .arrival import ConditionTables
from .decision import TALLIES, Out, new_out
from .expectation import NOTHING_EXPECTED, Expectation
from .loop import Where, run
from .plan import (
    Held,
    Incident,
    Outgoing,
    held_tail,
    plan_decision,
    record_of,
    rehomed,
    restore_held,
)
from .words import printable

__all__ = [
    "NOTHING_EXPECTED",
    "SCORE",
    "TALLIES",
    "ConditionTables",
    "Expectation",
    "Held",
    "Incident",
    "Out",
    "Outgoing",
    "Where",
    "held_tail",
    "new_out",
    "plan_decision",
    "printable",
    "record_of",
    "rehomed",
    "restore_held",
    "run",
]
