"""What an operator sets of a gateway; every bound is here and printed at start."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

GatewayMode = Literal["open", "closed", "last"]
"""What a gateway says while it does not know: allow all, deny all, or what it knew last.

`last` allows everything before anything was ever known, so wait for `ready` where that matters.
"""

ZoneText = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{0,48}$")]
TopicText = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]


class TableSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind",
    tag="table",
):  # fmt: skip
    """The table of commands in force.

    `records_max` and `bytes_max` (of the records as they came) bound its memory: of a record its
    bytes are held and 0.6 KiB beside them, one KiB where it is about a task, a token or an
    operation, or was told of in a refusal; so the default is about 450 MB at worst. A heartbeat
    older than `heartbeats_missed_max` of its own intervals proves nothing any more; that age, like
    a command's expiry, compares the broker's time with this machine's clock, so they must agree.
    `tombstone_after_ms` is that of the workers (`worker.tombstone_after_ms`), and matters only
    where keys are configured.
    """

    mode: GatewayMode = "last"
    heartbeats_missed_max: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 5
    records_max: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 200_000
    bytes_max: Annotated[int, msgspec.Meta(ge=1_024, le=1 << 40)] = 256 << 20
    tombstone_after_ms: Annotated[int, msgspec.Meta(ge=0, le=86_400_000)] = 60_000


class ReportSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind",
    tag="report",
):  # fmt: skip
    """How much may wait to be reported.

    `events_max` and `bytes_max` bound the events that wait one by one; `sums_max` the groups
    that are summed up beyond; `in_flight_max` those that the broker has not acknowledged yet.
    `together_max`: how many events one record may hold; above 1 it costs a gateway a fraction, and
    every worker must know of arrays.
    """

    events_max: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 20_000
    bytes_max: Annotated[int, msgspec.Meta(ge=1_024, le=1 << 34)] = 16 << 20
    sums_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2_000
    in_flight_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2_000
    together_max: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1


class GatewaySpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind",
    tag="gateway",
):  # fmt: skip
    """A gateway: its name in events that name no other, its topics, how long it waits for what.

    `zone`: the zone it speaks for, whose topic it then reports to; empty for none.
    `io_s` is the deadline of one call to Kafka, above the deadlines of its own client; `close_s`
    what is left at the end for events that still wait; `reload_s` how long a table may disagree
    with its heartbeats before it is read again from the start of the log (doubled each time that
    did not help, up to an hour).
    """

    name: Annotated[str, msgspec.Meta(max_length=128)] = ""
    requests: TopicText = "requests"
    zone: ZoneText = ""
    enforcement: TopicText = "enforcement"
    table: TableSpec = TableSpec()
    report: ReportSpec = ReportSpec()
    io_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 45.0
    close_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 5.0
    reload_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 10.0

    @property
    def reports_to(self) -> str:
        """Return the topic that requests are reported to."""
        return f"{self.requests}.{self.zone}" if self.zone else self.requests
