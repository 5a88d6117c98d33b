"""The whole product in virtual time, under faults that a seed draws, with an auditor at the end.

Real runtime, engine and codecs on the doors in memory; nothing is mocked but time, network and
processes. The same seed gives the same run anywhere, so a failure is a number.
"""

from .chance import FAULTS, Plan, plan_of, shown
from .loop import Process, VirtualLoop
from .network import HOWS, Operation
from .scenarios import SCENARIOS, Scenario
from .story import Outcome, run, simulate
from .sweep import Broken, Fault, broken_of, faults_of, operations_of, scenario_of, swept
from .zones import with_zones

__all__ = [
    "FAULTS",
    "HOWS",
    "SCENARIOS",
    "Broken",
    "Fault",
    "Operation",
    "Outcome",
    "Plan",
    "Process",
    "Scenario",
    "VirtualLoop",
    "broken_of",
    "faults_of",
    "operations_of",
    "plan_of",
    "run",
    "scenario_of",
    "shown",
    "simulate",
    "swept",
    "with_zones",
]
