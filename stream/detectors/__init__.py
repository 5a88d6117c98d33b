"""Pure kernels from row and event to evidence; they know nothing of actions.

Declared detectors are exact: a limit is over or it is not, a sequence matched or it did not.
Learned ones give evidence in bits (1/1024 bit, integers) and say whether they are ready to: not
warm is not zero. Each is a kernel over a state that this room declares as a dtype of integers, of
a multiple of eight bytes, whose all-zero value is the empty one; who holds the rows lays them out.
"""

from typing import Final

from .bits import BIT, BITS_MAX, log2_of, odds_of
from .facts import ASSERTED, CLASS, POOLED, UNREADY, Facts
from .fallback import FALLBACK, FALLBACK_PARTS, fallback_bits, follow_fallback, learn_fallbacks
from .forbid import is_match, may_renew, set_mark
from .habit_tasks import LEARNED_HABITS, asserted_tails, learn_habits, most_habits
from .habits import (
    HABIT_NAMES,
    HABIT_PARTS,
    HABITS,
    HELD,
    begin_rates,
    is_sound_workload,
    no_details,
    observe_workload,
)
from .interval import EXPECTED, OBSERVED, RATE, RATE_PARTS, SINCE_MS, is_rate_ready, observe_rate
from .level import (
    AMOUNTS,
    BITS,
    COUNTED,
    DRIFTING,
    LEVEL_PARTS,
    MEASURED,
    RECORD,
    REPORTED,
    SUDDEN,
    SUSTAINED,
    counted,
    expected_of,
    is_warm,
    peek_level,
    score_level,
)
from .limit import amount_of, belongs, count_windows, demand_of, is_under, total_of
from .loops import LOOP_PARTS, LOOPS, STRETCH, end_stretch, follow_loops, learn_loops, loop_bits
from .novelty import (
    KNOWN,
    MODES,
    NEW,
    NOT_READY,
    PART_NAMES,
    UNDECLARED,
    find_group,
    mode_of,
    score_call,
)
from .novelty_tasks import score_tasks
from .rarity import RARITY_MAX, SHARE, STEPS, rarity_of, worth_of
from .rate_watch import RateWatch
from .sequence import FIRST_PART, SEQUENCE, SEQUENCE_PARTS, ask_sequence, score_sequence
from .sequence_learning import BenignTask, learn_sequences
from .series import LEVEL
from .shares import (
    DENIAL,
    ERROR,
    SHARE_PARTS,
    SHARES,
    USUAL,
    follow_share,
    learn_shares,
    usual_share,
    usual_shares,
)
from .spread import SPREAD, observe_spread
from .workload import (
    CONTEXT_HABITS,
    CONTEXT_NAMES,
    CONTEXT_PARTS,
    DETAILS,
    WORKLOAD,
    WORKLOAD_NAMES,
    WORKLOAD_PARTS,
    follow_context,
    follow_workload,
    is_sound_context,
)

JUDGES: Final = (score_tasks, LEARNED_HABITS)  # what `promote` learns and measures by

__all__ = [
    "AMOUNTS",
    "ASSERTED",
    "BIT",
    "BITS",
    "BITS_MAX",
    "CLASS",
    "CONTEXT_HABITS",
    "CONTEXT_NAMES",
    "CONTEXT_PARTS",
    "COUNTED",
    "DENIAL",
    "DETAILS",
    "DRIFTING",
    "ERROR",
    "EXPECTED",
    "FALLBACK",
    "FALLBACK_PARTS",
    "FIRST_PART",
    "HABITS",
    "HABIT_NAMES",
    "HABIT_PARTS",
    "HELD",
    "JUDGES",
    "KNOWN",
    "LEARNED_HABITS",
    "LEVEL",
    "LEVEL_PARTS",
    "LOOPS",
    "LOOP_PARTS",
    "MEASURED",
    "MODES",
    "NEW",
    "NOT_READY",
    "OBSERVED",
    "PART_NAMES",
    "POOLED",
    "RARITY_MAX",
    "RATE",
    "RATE_PARTS",
    "RECORD",
    "REPORTED",
    "SEQUENCE",
    "SEQUENCE_PARTS",
    "SHARE",
    "SHARES",
    "SHARE_PARTS",
    "SINCE_MS",
    "SPREAD",
    "STEPS",
    "STRETCH",
    "SUDDEN",
    "SUSTAINED",
    "UNDECLARED",
    "UNREADY",
    "USUAL",
    "WORKLOAD",
    "WORKLOAD_NAMES",
    "WORKLOAD_PARTS",
    "BenignTask",
    "Facts",
    "RateWatch",
    "amount_of",
    "ask_sequence",
    "asserted_tails",
    "begin_rates",
    "belongs",
    "count_windows",
    "counted",
    "demand_of",
    "end_stretch",
    "expected_of",
    "fallback_bits",
    "find_group",
    "follow_context",
    "follow_fallback",
    "follow_loops",
    "follow_share",
    "follow_workload",
    "is_match",
    "is_rate_ready",
    "is_sound_context",
    "is_sound_workload",
    "is_under",
    "is_warm",
    "learn_fallbacks",
    "learn_habits",
    "learn_loops",
    "learn_sequences",
    "learn_shares",
    "log2_of",
    "loop_bits",
    "may_renew",
    "mode_of",
    "most_habits",
    "no_details",
    "observe_rate",
    "observe_spread",
    "observe_workload",
    "odds_of",
    "peek_level",
    "rarity_of",
    "score_call",
    "score_level",
    "score_sequence",
    "score_tasks",
    "set_mark",
    "total_of",
    "usual_share",
    "usual_shares",
    "worth_of",
]
