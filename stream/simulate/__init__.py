"""The whole product in virtual time, under faults that a seed draws, with an auditor at the end.

Real runtime, engine and codecs on the doors in memory; nothing is mocked but time, network and
processes. The same seed gives the same run anywhere, so a failure is a number.
"""

from .chance import FAULTS, Plan, plan_of
from .loop import Process, VirtualLoop
from .story import Outcome, run, shown, simulate
from .zones import with_zones

__all__ = [
    "FAULTS",
    "Outcome",
    "Plan",
    "Process",
    "VirtualLoop",
    "plan_of",
    "run",
    "shown",
    "simulate",
    "with_zones",
]
