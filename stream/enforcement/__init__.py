"""What is in force: the ledger of a row, the loop that decides, decisions to commands."""

from .arrival import ConditionTables
from .decision import TALLIES, Out, new_out
from .loop import Where, run
from .plan import (
    Held,
    Incident,
    Outgoing,
    held_tail,
    plan_decision,
    printable,
    record_of,
    rehomed,
    restore_held,
)

__all__ = [
    "TALLIES",
    "ConditionTables",
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
