"""step(): the one place that orders find -> resolve -> count -> judge -> plan.

No I/O, no clock, no random: live, replay, backtest, tests and simulation all run this same step.
What differs between them is who made the batch and who carries the results away. The order of
events within a partition decides everything; how they are cut into batches decides nothing.
"""

from .missed import missed_now
from .room import make_room, trim_learned
from .state import PARTITIONS_MAX, Bound, State
from .steps import Enforced, StepResult, missing, step

__all__ = [
    "PARTITIONS_MAX",
    "Bound",
    "Enforced",
    "State",
    "StepResult",
    "make_room",
    "missed_now",
    "missing",
    "step",
    "trim_learned",
]
