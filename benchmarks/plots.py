"""Plots as SVG. matplotlib is the extra `plots`: without it a benchmark says so and goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import say

SIZE_INCHES = (8, 4.5)
# The same bytes for the same figures: no date, no random ids.
SALT = "stream-enforcer"


def _figure() -> tuple[Any, Any] | None:
    """A figure and its axes, drawn without a screen; None where matplotlib is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        say("no plot is written: pip install -e '.[plots]'")
        return None
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = SALT
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=SIZE_INCHES, layout="constrained")
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _written(file: Path, figure: Any) -> None:
    from matplotlib import pyplot as plt

    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)


def quantiles_plot(file: Path, spans_ms: Mapping[str, Sequence[float]]) -> None:
    """Write which share of the spans exceeds how many milliseconds."""
    made = _figure()
    if made is None:
        return
    figure, axes = made
    for name, spans in spans_ms.items():
        ordered = sorted(spans)
        shares = [1 - place / len(ordered) for place in range(len(ordered))]
        axes.step(ordered, shares, label=name, where="post")
    axes.set(xscale="log", yscale="log", xlabel="milliseconds", ylabel="share that takes longer")
    axes.legend()
    _written(file, figure)


def bars_plot(file: Path, values: Mapping[str, float], label: str) -> None:
    """Write one bar for each name, on a logarithmic scale."""
    made = _figure()
    if made is None:
        return
    figure, axes = made
    bars = axes.barh(list(values), list(values.values()))
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel=label)
    _written(file, figure)


def curves_plot(
    file: Path, curves: Mapping[str, Mapping[float, float]], labels: tuple[str, str]
) -> None:
    """Write a curve for each name; both axes are logarithmic, and the lower starts at half."""
    made = _figure()
    if made is None:
        return
    figure, axes = made
    for name, points in curves.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)
    least = min(value for points in curves.values() for value in points.values())
    axes.set(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1])
    axes.set_ylim(bottom=least / 2)
    axes.legend()
    _written(file, figure)


def shares_plot(
    file: Path, curves: Mapping[str, Mapping[float, float]], labels: tuple[str, str]
) -> None:
    """Write a curve of percent for each name, over a logarithmic axis."""
    made = _figure()
    if made is None:
        return
    figure, axes = made
    for name, points in curves.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)
    axes.set(xscale="log", xlabel=labels[0], ylabel=labels[1], ylim=(0, 101))
    axes.legend(fontsize="small")
    _written(file, figure)


def grouped_plot(file: Path, groups: Mapping[str, Mapping[str, float]], label: str) -> None:
    """Write a bar for each name in each group, groups beside each other."""
    made = _figure()
    if made is None:
        return
    figure, axes = made
    names = list(dict.fromkeys(name for each in groups.values() for name in each))
    height = 0.8 / len(groups)
    for place, (group, values) in enumerate(groups.items()):
        at = [names.index(name) + place * height for name in values]
        axes.barh(at, list(values.values()), height, label=group)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(names))], names)
    axes.invert_yaxis()
    axes.set(xlabel=label, xlim=(0, 101))
    axes.legend(fontsize="small")
    _written(file, figure)
