"""What a gateway reports: one Struct for a request, a grant or a completion, every field bounded.

A tick reports nothing: it asks whether a workload that says nothing should have, at a time that is
in the log so that everybody answers alike. Workers write them (`runtime.ticks`), of a partition
that they own. One that is forged, late or there twice asks the same.

The bounds hold on decode (msgspec checks `Meta` only then), so a `Request` comes from
`codec.decode_request`, in tests too. Text that must fit the int64 columns of a batch is bounded
here: a 23-digit integer is valid JSON and breaks later.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

TIME_MS_MAX: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
COUNT_MAX: Final = 1_000_000
BYTES_MAX: Final = 1 << 44  # 16 TiB in one request
COST_MICRO_MAX: Final = 10**15  # a billion units in one request
RESOURCES_MAX: Final = 8
REQUESTS_MAX: Final = 1_000  # in one record
SCOPES_MAX: Final = 32
ACTORS_MAX: Final = 16
STATUS_MAX: Final = 999
# In characters.
WORKLOAD_LENGTH_MAX: Final = 2_048
OPERATION_LENGTH_MAX: Final = 256
LABEL_LENGTH_MAX: Final = 256
SHORT_LENGTH_MAX: Final = 128
RESOURCE_LENGTH_MIN: Final = 3
RESOURCE_LENGTH_MAX: Final = 1_024

TimeMs = Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]
WorkloadText = Annotated[str, msgspec.Meta(min_length=1, max_length=WORKLOAD_LENGTH_MAX)]
OperationText = Annotated[str, msgspec.Meta(min_length=1, max_length=OPERATION_LENGTH_MAX)]
Label = Annotated[str, msgspec.Meta(max_length=LABEL_LENGTH_MAX)]
ShortLabel = Annotated[str, msgspec.Meta(max_length=SHORT_LENGTH_MAX)]
ResourceText = Annotated[
    str, msgspec.Meta(min_length=RESOURCE_LENGTH_MIN, max_length=RESOURCE_LENGTH_MAX)
]

Kind = Literal["request", "grant", "completion", "tick"]
Effect = Literal["", "read", "change"]
Outcome = Literal["served", "failed", "denied", "refused"]

KINDS: Final[tuple[Kind, ...]] = ("request", "grant", "completion", "tick")
EFFECTS: Final[tuple[Effect, ...]] = ("", "read", "change")
OUTCOMES: Final[tuple[Outcome, ...]] = ("served", "failed", "denied", "refused")


class Token(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The credential used: who issued it, its id (`jti`), and its life in Unix milliseconds."""

    issuer: Label = ""
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=LABEL_LENGTH_MAX)]
    issued_at_ms: TimeMs = 0
    expires_at_ms: TimeMs = 0


class Request(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One event of the topic `requests`; only the first three fields are required.

    Units: `at_ms` Unix milliseconds of the request at the gateway; `bytes` of the response;
    `cost` micro-units of whatever the operator bills in; `count` requests this event stands for.
    `effect` empty means: derive it (`profiles.batch`). `resources` are `name:value` pairs.
    """

    at_ms: TimeMs
    workload: WorkloadText
    operation: OperationText
    kind: Kind = "request"
    effect: Effect = ""
    outcome: Outcome = "served"
    status: Annotated[int, msgspec.Meta(ge=0, le=STATUS_MAX)] = 0
    bytes: Annotated[int, msgspec.Meta(ge=0, le=BYTES_MAX)] = 0
    cost: Annotated[int, msgspec.Meta(ge=0, le=COST_MICRO_MAX)] = 0
    count: Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)] = 1
    purpose: Label = ""
    task: Label = ""
    token: Token | None = None
    resources: Annotated[tuple[ResourceText, ...], msgspec.Meta(max_length=RESOURCES_MAX)] = ()
    scopes: Annotated[tuple[ShortLabel, ...], msgspec.Meta(max_length=SCOPES_MAX)] = ()
    actors: Annotated[tuple[WorkloadText, ...], msgspec.Meta(max_length=ACTORS_MAX)] = ()
    authenticated: bool = True
    gateway: ShortLabel = ""
    id: ShortLabel = ""


class Brief(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A `Request` that names no other fields than most do: the others have their defaults."""

    at_ms: TimeMs
    workload: WorkloadText
    operation: OperationText
    outcome: Outcome = "served"
    status: Annotated[int, msgspec.Meta(ge=0, le=STATUS_MAX)] = 0
    bytes: Annotated[int, msgspec.Meta(ge=0, le=BYTES_MAX)] = 0
