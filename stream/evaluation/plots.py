"""Plots as SVG: the same bytes for the same figures. matplotlib is the extra `plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from stream.errors import ConfigError

from .figures import Delays, Point

SIZE_INCHES: Final = (8, 5)
SALT: Final = "stream-enforcer"
PARTS_SHOWN: Final = 6


def roc_plot(file: Path, fused: Sequence[Point], parts: Mapping[str, Sequence[Point]]) -> None:
    """Write what is found at low rates of false positives, fused and by the strongest parts.

    Errors: ConfigError without matplotlib, or where the file cannot be written.
    """
    figure, axes = _figure()
    for name, points in [("all of it", fused), *list(parts.items())[:PARTS_SHOWN]]:
        x, y = [each.percent for each in points], [100 * each.found for each in points]
        axes.plot(x, y, marker="o", label=name, linewidth=2.5 if points is fused else 1.0)
    low, high = [100 * each.low for each in fused], [100 * each.high for each in fused]
    axes.fill_between([each.percent for each in fused], low, high, alpha=0.15)
    axes.set(
        xscale="log",
        xlabel="benign tasks taken for attacks, %",
        ylabel="attacks found, % (band: nine times of ten)",
        ylim=(0, 101),
    )
    axes.legend()
    _write(file, figure)


def delay_plot(file: Path, delays: Mapping[str, Delays]) -> None:
    """Write which share of what is found is found by how many calls after the first malicious one.

    Errors: as of `roc_plot`.
    """
    figure, axes = _figure()
    for name, each in delays.items():
        shares = [100 * (place + 1) / each.attacks for place in range(each.attacks)]
        axes.step(each.calls, shares, where="post", label=f"{name} ({each.attacks} attacks)")
    axes.axvline(0, color="grey", linewidth=1)
    axes.set(xlabel="calls after the first malicious one", ylabel="of attacks found, %")
    axes.legend()
    _write(file, figure)


def growth_plot(file: Path, curves: Mapping[str, Mapping[int, float]]) -> None:
    """Write what is found after so many benign tasks of a purpose. Errors: as of `roc_plot`."""
    figure, axes = _figure()
    for name, points in curves.items():
        axes.plot(list(points), [100 * each for each in points.values()], marker="o", label=name)
    axes.set(xscale="log", xlabel="benign tasks of a purpose learned", ylabel="attacks found, %")
    axes.set_ylim(0, 101)
    axes.legend()
    _write(file, figure)


def _figure() -> tuple[Any, Any]:
    """Return a figure and its axes, drawn without a screen."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only who plots pays for it
    except ImportError as error:
        raise ConfigError(
            "plots need the package `matplotlib`", hint="pip install 'stream-enforcer[plots]'"
        ) from error
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = SALT
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _write(file: Path, figure: Any) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None})
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error
