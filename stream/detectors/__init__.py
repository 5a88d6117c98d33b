"""Pure kernels from row and event to evidence; they know nothing of actions.

Declared detectors are exact: a limit is over or it is not, a sequence matched or it did not.
"""

from .forbid import is_match, may_renew, set_mark
from .limit import amount_of, belongs, count_windows, demand_of, is_under, total_of

__all__ = [
    "amount_of",
    "belongs",
    "count_windows",
    "demand_of",
    "is_match",
    "is_under",
    "may_renew",
    "set_mark",
    "total_of",
]
