"""CloudTrail: attack techniques played by Stratus Red Team, and a breach through an EC2 proxy.

    python -m benchmarks.quality.cloudtrail --out events.jsonl.gz --labels labels.jsonl

The data are records reduced to a few fields. They are written back into the form of CloudTrail and
go through the product's own converter, so that recorded and live records become the same events.
User agent and session are never read: the labels were derived from them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.quality import Labelled, main, read_lines
from stream.events import Request
from stream.events.convert import CloudTrailSpec, Fault, convert_cloudtrail

FILE: Final = "cloudtrail/events.jsonl.gz"
TRUST_DOMAIN: Final = "cloudtrail.example"


class Record(msgspec.Struct, frozen=True):
    """One record as reduced; `ts` in Unix seconds."""

    ts: int
    identity: str
    identity_type: str
    service: str
    api: str
    region: str
    event_id: str
    phase: str
    malicious: int
    src: str
    technique: str | None = None
    key: str | None = None
    read_only: bool | None = None
    error: str | None = None


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an event: whether it was the attack, and which."""

    mal: int
    phase: str
    technique: str
    src: str


def read(folder: Path) -> Labelled[Label]:
    """Return all events below a data folder in order of time, and a label for each.

    Errors: ValueError if a recorded call is none.
    """
    decoder = msgspec.json.Decoder(Record)
    records = [decoder.decode(line) for line in read_lines(folder / FILE)]
    records.sort(key=attrgetter("ts"))
    spec = CloudTrailSpec(trust_domain=TRUST_DOMAIN)
    made = list(convert_cloudtrail(map(_original, records), spec))
    events = [each for each in made if isinstance(each, Request)]
    if len(events) < len(records):
        fault = next(each for each in made if isinstance(each, Fault))
        raise ValueError(f"{FILE}: record {fault.line} in order of time: {fault.message}")
    labels: dict[str, Label] = {
        record.event_id: Label(
            mal=record.malicious,
            phase=record.phase,
            technique=record.technique or "",
            src=record.src,
        )
        for record in records
    }
    return Labelled(events, labels)


def read_events(folder: Path) -> Iterator[Request]:
    """Yield all events below a data folder, in order of time."""
    yield from read(folder).events


def marks_of(found: Labelled[Label]) -> Iterator[dict[str, str]]:
    """Yield what `enforcer evaluate` is told of each event."""
    for name, label in found.labels.items():
        yield {"id": name, "label": "attack" if label.mal else "benign"}


def _original(record: Record) -> bytes:
    """Return a record as CloudTrail would have written what is left of it.

    An identity is the end of an ARN; where its session had a random end, the data have a star.
    """
    identity = record.identity.replace("*", "0" * 16)
    names = {"arn": f"arn:aws:iam:::{identity}"} if "/" in identity else {"invokedBy": identity}
    return msgspec.json.encode(
        {
            "eventTime": dt.datetime.fromtimestamp(record.ts, dt.UTC).isoformat(),
            "eventSource": f"{record.service}.amazonaws.com",
            "eventName": record.api,
            "userIdentity": {"type": record.identity_type, "accessKeyId": record.key, **names},
            "readOnly": record.read_only,
            "errorCode": record.error,
            "awsRegion": record.region,
            "eventID": record.event_id,
        }
    )


if __name__ == "__main__":
    main(read, "Write the recorded CloudTrail events as events.", marks_of)
