"""Pure kernels from row and event to evidence; they know nothing of actions.

Declared detectors are exact: a limit is over or it is not, a sequence matched or it did not.
Learned ones give evidence in bits (1/1024 bit, integers) and say whether they are ready to: not
warm is not zero. Each is a kernel over a state that this room declares as a dtype of integers, of
a multiple of eight bytes, whose all-zero value is the empty one; who holds the rows lays them out.
"""

from .bits import BIT, BITS_MAX, log2_of
from .forbid import is_match, may_renew, set_mark
from .interval import EXPECTED, OBSERVED, RATE, RATE_PARTS, SINCE_MS, is_rate_ready, observe_rate
from .level import (
    BITS,
    COUNTED,
    DRIFTING,
    MEASURED,
    PARTS,
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
from .series import LEVEL

__all__ = [
    "BIT",
    "BITS",
    "BITS_MAX",
    "COUNTED",
    "DRIFTING",
    "EXPECTED",
    "LEVEL",
    "MEASURED",
    "OBSERVED",
    "PARTS",
    "RATE",
    "RATE_PARTS",
    "RECORD",
    "REPORTED",
    "SINCE_MS",
    "SUDDEN",
    "SUSTAINED",
    "amount_of",
    "belongs",
    "count_windows",
    "counted",
    "demand_of",
    "expected_of",
    "is_match",
    "is_rate_ready",
    "is_under",
    "is_warm",
    "log2_of",
    "may_renew",
    "observe_rate",
    "peek_level",
    "score_level",
    "set_mark",
    "total_of",
]
