"""Every metric of a worker by name.

Labels are bounded: reject codes, stages, modes and actions are closed lists, zones are the few of
the settings; rules come from the policy and are cut at RULES_MAX, what is beyond counts as `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

RULES_MAX: Final = 1_024
DELAY_BUCKETS: Final = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    30.0,
)
BATCH_BUCKETS: Final = (1, 10, 100, 500, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000)
MODES: Final = (
    "store_down",
    "store_full",
    "broker_down",
    "behind",
    "zone_down",
    "store_forgot",
    "checkpoint_corrupt",
    "records_corrupt",
    "log_changed",
    "log_cut",
    "journal_cut",
    "baseline_missing",
    "braked",
    "overspent",
)
STAGES: Final = ("fetch", "read", "decode", "load", "step", "publish", "save", "hand_over")


class Metrics:
    """The worker's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix = "enforcer_"

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(prefix + name, text, labels, registry=self.registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(prefix + name, text, labels, registry=self.registry)

        self._tallies = counter("events", "events by what became of them", ("what",))
        self._forwarded = counter("events_forwarded", "misrouted events that were sent home")
        self._rejects = counter("rejects", "events not counted, by code", ("code",))
        self._zone_events = counter(
            "zone_events", "events of zones' topics by what became of them", ("zone", "what")
        )
        self._zone_missed = counter(
            "zone_events_missed", "events of zones that retention took before us", ("zone",)
        )
        self._zone_lag = gauge("zone_lag_events", "events of a zone not yet read here", ("zone",))
        self._zone_up = gauge("zone_up", "1 while a zone's topic is read", ("zone",))
        self._commands = counter("commands", "commands by rule", ("rule", "action", "mode"))
        self._findings = counter("findings", "findings by rule", ("rule",))
        self._stages = counter("stage_seconds", "seconds spent, by stage", ("stage",))
        self._modes = counter("modes", "partitions that began in a named mode", ("mode",))
        self._refused = counter(
            "operator_records_refused", "operators' records that keys do not bear out", ("why",)
        )
        self._mode = gauge("mode", "1 while a worker is in a degraded mode", ("mode",))
        self._unpublished = counter(
            "records_unpublished", "commands of new subjects beyond what a partition may publish"
        )
        self._restarts = counter("restarts", "sessions begun anew, by cause", ("cause",))
        self._store_retries = counter(
            "store_retries", "attempts at Redis that failed and were repeated", ("cause",)
        )
        self._saved = counter("rows_saved", "rows written to the store")
        self._loaded = counter("rows_loaded", "rows read back from the store")
        self._corrupt = counter("rows_corrupt", "stored rows that were discarded")
        self._evicted = counter("rows_evicted", "rows evicted from memory")
        self.batch = Histogram(
            prefix + "batch_events", "events a step", buckets=BATCH_BUCKETS, registry=self.registry
        )
        self.delay = Histogram(
            prefix + "detection_delay_seconds",
            "from the broker's append time of the cause to the acknowledged command",
            buckets=DELAY_BUCKETS,
            registry=self.registry,
        )
        self._declare_partitions(counter, gauge)
        self.rows = gauge("rows_in_memory", "rows in memory")
        self.rows_max = gauge("rows_in_memory_max", "rows that fit in memory (slots_max)")
        self.records = gauge("records_in_force", "enforcement records not yet tombstoned")
        self._rules: set[str] = set()
        for stage in STAGES:
            self._stages.labels(stage)
        for mode in MODES:
            self._mode.labels(mode).set(0)

    def _declare_partitions(
        self, counter: Callable[..., Counter], gauge: Callable[..., Gauge]
    ) -> None:
        self.pause = Histogram(
            "enforcer_rebalance_seconds",
            "from partitions being asked back until those that came are worked on",
            buckets=DELAY_BUCKETS,
            registry=self.registry,
        )
        self._came = counter(
            "partitions_given", "partitions that the group gave, by what was done", ("what",)
        )
        self._lag = gauge("lag_events", "events in the log and not yet applied", ("partition",))
        self._checkpoint = gauge("replay_events", "events a new owner replays", ("partition",))
        self._shed = gauge(
            "learned_shed",
            "1 where learned detectors are off, by a mode",
            ("partition",),
        )
        self._braked_commands = counter(
            "commands_braked", "commands that the brake made a shadow of, by rule", ("rule",)
        )
        self._braked = gauge(
            "braked_classes",
            "classes in which rules on learned evidence enforce nobody new, by the brake",
            ("partition",),
        )
        self._unstored_names = counter(
            "names_unstored", "texts of operations that found no room in their partition"
        )
        self._alarms = gauge("day_contexts", "contexts of a day by what became of them", ("what",))
        self.owned = gauge("partitions_owned", "home partitions of this worker")
        self._full = gauge("partitions_full", "of those, where a trust domain gets no new workload")
        self._domain_rows = gauge(
            "domain_rows", "stored workloads of the trust domain that has most of them in one"
        )

    def _rule(self, rule: str) -> str:
        if rule not in self._rules:
            if len(self._rules) >= RULES_MAX:
                return "other"
            self._rules.add(rule)
        return rule

    def count_tallies(self, tallies: Mapping[str, int]) -> None:
        """Add what a step counted."""
        for what, amount in tallies.items():
            if amount:
                self._tallies.labels(what).inc(amount)

    def count_forwarded(self, amount: int) -> None:
        """Add events that were sent home."""
        self._forwarded.inc(amount)

    def count_reject(self, code: str, amount: int = 1) -> None:
        """Add rejects of one code."""
        self._rejects.labels(code).inc(amount)

    def count_zone(self, zone: str, what: str, amount: int) -> None:
        """Add events of a zone; `what` is `forwarded` or the code of a reject."""
        self._zone_events.labels(zone, what).inc(amount)

    def count_zone_missed(self, zone: str, amount: int) -> None:
        """Add events of a zone that nobody will read."""
        self._zone_missed.labels(zone).inc(amount)

    def set_zone(self, zone: str, *, lag: int | None = None, is_up: bool | None = None) -> None:
        """Show how far a zone is, and whether it is read."""
        if lag is not None:
            self._zone_lag.labels(zone).set(lag)
        if is_up is not None:
            self._zone_up.labels(zone).set(int(is_up))

    def count_command(self, rule: str, action: str, mode: str) -> None:
        """Add one published command."""
        self._commands.labels(self._rule(rule), action, mode).inc()

    def count_braked(self, rule: str) -> None:
        """Add one command that would be enforced but for the brake."""
        self._braked_commands.labels(self._rule(rule)).inc()

    def count_unpublished(self) -> None:
        """Add one command that was not published for want of room."""
        self._unpublished.inc()

    def count_unstored_names(self, amount: int) -> None:
        """Add texts of operations that are not stored for want of room."""
        self._unstored_names.inc(amount)

    def count_finding(self, rule: str) -> None:
        """Add one finding."""
        self._findings.labels(self._rule(rule)).inc()

    def count_mode(self, mode: str) -> None:
        """Add a partition that began in a named mode."""
        self._modes.labels(mode).inc()

    def set_mode(self, mode: str, *, holds: bool) -> None:
        """Show whether one of MODES holds."""
        self._mode.labels(mode).set(int(holds))

    def count_restart(self, cause: str) -> None:
        """Add a session that ended and is begun anew; `cause` is the class of the error."""
        self._restarts.labels(cause).inc()

    def count_refused(self, why: str) -> None:
        """Add an operators' record that was not believed; `why` is one of a closed list."""
        self._refused.labels(why).inc()

    def count_store_retry(self, cause: str) -> None:
        """Add an attempt at the store that failed; `cause` is of the store's closed list."""
        self._store_retries.labels(cause).inc()

    def count_rows(
        self, *, saved: int = 0, loaded: int = 0, corrupt: int = 0, evicted: int = 0
    ) -> None:
        """Add rows written, read back, discarded, evicted."""
        self._saved.inc(saved)
        self._loaded.inc(loaded)
        self._corrupt.inc(corrupt)
        self._evicted.inc(evicted)

    def count_partitions(self, *, taken: int, kept: int) -> None:
        """Add partitions that the group gave: taken over anew, kept as they were."""
        self._came.labels("taken").inc(taken)
        self._came.labels("kept").inc(kept)

    def spend(self, stage: str, seconds: float) -> None:
        """Add time spent in one of STAGES."""
        self._stages.labels(stage).inc(seconds)

    def set_partition(self, partition: int, lag: int, checkpoint_age: int) -> None:
        """Show how far a partition is."""
        self._lag.labels(str(partition)).set(lag)
        self._checkpoint.labels(str(partition)).set(checkpoint_age)

    def set_full(self, partitions: int, domain_rows: int) -> None:
        """Show how many partitions are full for somebody, and how full the fullest is."""
        self._full.set(partitions)
        self._domain_rows.set(domain_rows)

    def set_shed(self, partition: int, *, is_shed: bool) -> None:
        """Show whether learned detectors are off in a partition."""
        self._shed.labels(str(partition)).set(int(is_shed))

    def set_braked(self, partition: int, classes: int) -> None:
        """Show in how many classes of a partition the brake holds."""
        self._braked.labels(str(partition)).set(classes)

    def set_alarms(self, compared: int, alarmed: int, allowed: float) -> None:
        """Show how many contexts of a day were compared, alarmed, and may by their budget."""
        counts = {"compared": compared, "alarmed": alarmed, "allowed": allowed}
        for what, amount in counts.items():
            self._alarms.labels(what).set(amount)

    def forget_partition(self, partition: int) -> None:
        """Stop showing a partition that another worker has now."""
        for metric in (self._lag, self._checkpoint, self._shed, self._braked):
            if (str(partition),) in metric._metrics:  # noqa: SLF001 - no public test for a label
                metric.remove(str(partition))

    def show_nothing(self, zones: Iterable[str]) -> None:
        """Show a worker that has no partition and reads no zone."""
        for metric in (self._lag, self._checkpoint, self._shed, self._braked, self._zone_lag):
            metric.clear()
        for zone in zones:
            self.set_zone(zone, is_up=False)
        for gauge in (self.owned, self.rows, self.records):
            gauge.set(0)
        self.set_full(0, 0)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return bytes(generate_latest(self.registry))
