"""What is in force: the ledger of a row, the loop that decides, decisions to commands."""

from .admission import Closed, closed_by, domains_of, shut_out
from .anomaly import SCORE
from .arrival import ConditionTables
from .brake import NEVER_CLOSED, Brakes, new_brakes
from .decision import COUNTED, TALLIES, Out, new_out
from .expectation import DEFAULT_PPM, NOTHING_EXPECTED, Expectation, rarity_at
from .habits import KEPT_HABITS, follow_habits, forget_unsound
from .held import Held, held_tail, restore_held, workload_of
from .loop import Where, run
from .plan import Incident, Outgoing, plan_decision, record_of, rehomed
from .soundness import are_sound
from .words import printable

__all__ = [
    "COUNTED",
    "DEFAULT_PPM",
    "KEPT_HABITS",
    "NEVER_CLOSED",
    "NOTHING_EXPECTED",
    "SCORE",
    "TALLIES",
    "Brakes",
    "Closed",
    "ConditionTables",
    "Expectation",
    "Held",
    "Incident",
    "Out",
    "Outgoing",
    "Where",
    "are_sound",
    "closed_by",
    "domains_of",
    "follow_habits",
    "forget_unsound",
    "held_tail",
    "new_brakes",
    "new_out",
    "plan_decision",
    "printable",
    "rarity_at",
    "record_of",
    "rehomed",
    "restore_held",
    "run",
    "shut_out",
    "workload_of",
]
