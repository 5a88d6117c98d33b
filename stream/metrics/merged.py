"""The pages of several workers on one machine as one page.

Counters and histograms are summed over all processes and over the lives that a process has had: the
last page of a life that is over stays in the sum, so no sum ever falls. Gauges are summed over the
lives that are not over; those that are yes or no have a label `process` instead. When a counter was
made (`_created`) means nothing for several and is left out.

What a life counted after its last page was taken is missing; what its heir applies again, from the
checkpoint on, counts again. So these are figures to watch, and never the account of what was done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

APART: Final = frozenset({"enforcer_mode", "enforcer_zone_up", "enforcer_domain_rows"})
LASTING: Final = frozenset({"counter", "histogram"})
SERIES_MAX: Final = 65_536
HOW: Final = ("exit", "hung", "signal")

Series = tuple[str, tuple[tuple[str, str], ...]]


class _Family(NamedTuple):
    """A metric: its type, its text, and its series by name and labels."""

    kind: str
    text: str
    series: dict[Series, float]


class Merged:
    """The metrics of so many processes, and of who watches them.

    Pages are shown and lives are over in one thread; the page of all may be asked for in any.
    """

    def __init__(self, count: int) -> None:
        self._pages = [b""] * count
        self._over: list[dict[str, _Family]] = [{} for _ in range(count)]
        self._lock = threading.Lock()
        self._registry = own = CollectorRegistry()
        Gauge("enforcer_processes", "processes that are to run", registry=own).set(count)
        self._up = Gauge("enforcer_process_up", "1 while it runs", ("process",), registry=own)
        self._restarts = Counter(
            "enforcer_process_restarts",
            "processes that ended by themselves and were started again, by how they ended",
            ("process", "how"),
            registry=own,
        )
        self._left_out = Gauge(
            "enforcer_series_left_out", "series beyond what one page may hold", registry=own
        )
        for process in range(count):
            self._up.labels(str(process)).set(0)
            for how in HOW:
                self._restarts.labels(str(process), how)

    def show(self, process: int, page: bytes) -> None:
        """Take what a process says of itself now. Mutates: self."""
        with self._lock:
            self._pages[process] = page

    def set_up(self, process: int, *, is_up: bool) -> None:
        """Show whether a process runs."""
        self._up.labels(str(process)).set(int(is_up))

    def count_restart(self, process: int, how: str) -> None:
        """Add a process that ended by itself and is started again; `how` is one of HOW."""
        self._restarts.labels(str(process), how).inc()

    def end_life(self, process: int) -> None:
        """Keep what a process has counted, now that it has ended. Mutates: self."""
        with self._lock:
            page, self._pages[process] = self._pages[process], b""
            _add(self._over[process], _lasting(page))

    def text(self) -> bytes:
        """Return the page of all, in Prometheus' text format."""
        with self._lock:
            pages = list(self._pages)
            sums: dict[str, _Family] = {}
            left_out = sum(_add(sums, over) for over in self._over)
        for process, page in enumerate(pages):
            left_out += _add(sums, _labelled(_parsed(page), process))
        self._left_out.set(left_out)
        of_all = bytes(generate_latest(_Collected(sums)))
        return of_all + bytes(generate_latest(self._registry))


class _Collected:
    """Families as Prometheus' client hands them out."""

    def __init__(self, families: dict[str, _Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its samples."""
        for name, family in self._families.items():
            metric = Metric(name, family.text, family.kind)
            metric.samples = [
                Sample(series, dict(labels), value)
                for (series, labels), value in family.series.items()
            ]
            yield metric


def _parsed(page: bytes) -> dict[str, _Family]:
    """Return what a page says, in its order, without the times when series were made."""
    found = {}
    for metric in text_string_to_metric_families(page.decode()):
        if not metric.name.endswith("_created"):
            series = {
                (each.name, tuple(sorted(each.labels.items()))): each.value
                for each in metric.samples
            }
            found[metric.name] = _Family(metric.type, metric.documentation, series)
    return found


def _lasting(page: bytes) -> dict[str, _Family]:
    return {name: each for name, each in _parsed(page).items() if each.kind in LASTING}


def _labelled(families: dict[str, _Family], process: int) -> dict[str, _Family]:
    """Let series that do not add up say of which process they are."""
    for name in APART & families.keys():
        family = families[name]
        series = {
            (each, (*labels, ("process", str(process)))): value
            for (each, labels), value in family.series.items()
        }
        families[name] = family._replace(series=series)
    return families


def _add(sums: dict[str, _Family], families: dict[str, _Family]) -> int:
    """Add families to sums; return how many series found no room.

    What is there already is always added to, so a sum that is shown is whole.
    Mutates: sums, never families.
    """
    room = SERIES_MAX - sum(len(each.series) for each in sums.values())
    left_out = 0
    for name, family in families.items():
        known = sums.setdefault(name, _Family(family.kind, family.text, {})).series
        for series, value in family.series.items():
            if series in known:
                known[series] += value
            elif room > 0:
                known[series] = value
                room -= 1
            else:
                left_out += 1
    return left_out
