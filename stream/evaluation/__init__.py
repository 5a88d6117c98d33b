"""How well learned evidence finds what somebody labelled: figures and plots of scored trials.

A trial is one task (or all that a workload did outside of tasks) as the engine scored it. Labels
come from files (`labels`), scores from a replay; this room knows of neither events nor baselines.
"""

from .figures import (
    PERCENT,
    Delays,
    Peaks,
    Point,
    Trial,
    alarms_of,
    by_part,
    delays_of,
    early_of,
    most_of,
    part_named,
    peaks_of,
    roc_of,
    threshold_at,
)
from .labels import LABELS_MAX, Labels, read_labels
from .plots import delay_plot, growth_plot, roc_plot

__all__ = [
    "LABELS_MAX",
    "PERCENT",
    "Delays",
    "Labels",
    "Peaks",
    "Point",
    "Trial",
    "alarms_of",
    "by_part",
    "delay_plot",
    "delays_of",
    "early_of",
    "growth_plot",
    "most_of",
    "part_named",
    "peaks_of",
    "read_labels",
    "roc_of",
    "roc_plot",
    "threshold_at",
]
