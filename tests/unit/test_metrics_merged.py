"""Several workers' pages as one: sums that never fall, whatever rules are called."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from stream.metrics import Merged, Metrics
from stream.metrics import merged as module

Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def found(page: bytes) -> Found:
    """All series of a page."""
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for metric in text_string_to_metric_families(page.decode())
        for each in metric.samples
    }


def value(page: bytes, name: str, **labels: str) -> float | None:
    """One series of a page, None where there is none."""
    return found(page).get((name, tuple(sorted(labels.items()))))


def worker(rule: str, commands: int, delay_s: float = 0.1) -> Metrics:
    """A worker that published so many commands, and holds two partitions."""
    metrics = Metrics()
    for _ in range(commands):
        metrics.count_command(rule, "throttle", "enforce")
        metrics.delay.observe(delay_s)
    metrics.owned.set(2)
    return metrics


def test_counters_and_histograms_are_summed() -> None:
    """What two processes counted stands as one sum, bucket by bucket."""
    both = Merged(2)
    both.show(0, worker("flood", 3, 0.1).text())
    both.show(1, worker("flood", 4, 0.4).text())
    page = both.text()
    name = "enforcer_commands_total"
    assert value(page, name, rule="flood", action="throttle", mode="enforce") == 7
    delay = "enforcer_detection_delay_seconds"
    assert value(page, f"{delay}_bucket", le="0.2") == 3
    assert value(page, f"{delay}_bucket", le="0.5") == 7
    assert value(page, f"{delay}_bucket", le="+Inf") == 7
    assert value(page, f"{delay}_count") == 7
    assert value(page, f"{delay}_sum") == pytest.approx(3 * 0.1 + 4 * 0.4)
    assert b"# TYPE enforcer_commands_total counter" in page
    assert b"# TYPE enforcer_detection_delay_seconds histogram" in page


def test_gauges_are_summed_or_named() -> None:
    """What adds up is added; what is yes or no says of which process it is."""
    one, other = worker("a", 0), worker("a", 0)
    one.set_mode("behind", holds=True)
    both = Merged(2)
    both.show(0, one.text())
    both.show(1, other.text())
    page = both.text()
    assert value(page, "enforcer_partitions_owned") == 4
    assert value(page, "enforcer_mode", mode="behind", process="0") == 1
    assert value(page, "enforcer_mode", mode="behind", process="1") == 0
    assert value(page, "enforcer_mode", mode="behind") is None


def test_no_sum_falls_when_a_process_dies() -> None:
    """What a life counted stays, over several of them; what it held does not."""
    both = Merged(2)
    labels = {"rule": "flood", "action": "throttle", "mode": "enforce"}
    sums = []
    for life in range(3):
        both.show(0, worker("flood", 5).text())
        both.show(1, worker("flood", 1).text())
        sums.append(value(both.text(), "enforcer_commands_total", **labels))
        both.end_life(0)
        sums.append(value(both.text(), "enforcer_commands_total", **labels))
        assert value(both.text(), "enforcer_partitions_owned") == 2, life
        assert value(both.text(), "enforcer_mode", mode="behind", process="0") is None
    assert sums == [6, 6, 11, 11, 16, 16]
    assert value(both.text(), "enforcer_detection_delay_seconds_count") == 16


def test_processes_themselves() -> None:
    """How many there are to be, which of them run, and how often each was started again."""
    two = Merged(2)
    two.set_up(0, is_up=True)
    two.count_restart(1, "signal")
    page = two.text()
    assert value(page, "enforcer_processes") == 2
    assert value(page, "enforcer_process_up", process="0") == 1
    assert value(page, "enforcer_process_up", process="1") == 0
    assert value(page, "enforcer_process_restarts_total", process="1", how="signal") == 1
    assert value(page, "enforcer_process_restarts_total", process="1", how="exit") == 0
    assert value(page, "enforcer_series_left_out") == 0


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound series are left out and counted, and the sums that are shown are whole."""
    one = Merged(1)
    one.show(0, worker("a", 1).text())
    monkeypatch.setattr(module, "SERIES_MAX", len(found(one.text())))
    two = Merged(2)
    two.show(0, worker("a", 1).text())
    many = worker("a", 2)
    for number in range(200):
        many.count_command(f"rule {number}", "throttle", "enforce")
    two.show(1, many.text())
    page = two.text()
    labels = {"action": "throttle", "mode": "enforce"}
    assert value(page, "enforcer_commands_total", rule="a", **labels) == 3
    left_out = value(page, "enforcer_series_left_out")
    shown = [each for each in found(page) if each[0] == "enforcer_commands_total"]
    assert left_out is not None and len(shown) < 201 <= len(shown) + left_out
    two.end_life(0)
    two.end_life(1)
    assert sum(len(each.series) for over in two._over for each in over.values()) <= 2 * (
        module.SERIES_MAX
    )


@given(st.lists(st.text(max_size=12), max_size=6), st.lists(st.text(max_size=12), max_size=6))
def test_any_name_of_a_rule(first: list[str], second: list[str]) -> None:
    """Quotes, backslashes, braces, line ends of any alphabet: sums are right for each name."""
    both = Merged(2)
    for process, rules in enumerate((first, second)):
        metrics = Metrics()
        for rule in rules:
            metrics.count_finding(rule)
        both.show(process, metrics.text())
    both.end_life(0)
    page = both.text()
    for rule, amount in Counter(first + second).items():
        assert value(page, "enforcer_findings_total", rule=rule) == amount
