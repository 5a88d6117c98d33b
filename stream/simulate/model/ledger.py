"""A slow model of a row's ledger: a list of eight places, searched anew at each question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stream.events import Action

GRACE_MS = 10_000
PLACES = 8
RANK = {"observe": 0, "throttle": 1, "hold": 2, "revoke": 3}
EXEMPT, SHADOW, ENFORCE = range(3)


@dataclass
class Entry:
    """What a rule has in force on a subject, in how serious a mode."""

    rule: str
    kind: str
    subject: Any
    action: Action
    mode: int
    since_ms: int
    until_ms: int
    repeat: int = 0

    @property
    def strength(self) -> tuple[int, bool, bool, int]:
        """What gives way to what: by mode; what binds; the whole workload; the rung."""
        return self.mode, self.action != "observe", self.kind == "workload", RANK[self.action]

    @property
    def key(self) -> tuple[str, str, Any]:
        """What an entry is found by."""
        return self.rule, self.kind, self.subject


class LedgerModel:
    """The places, free ones being None."""

    def __init__(self) -> None:
        self.places: list[Entry | None] = [None] * PLACES
        self.dropped = 0

    def entries(self) -> list[Entry]:
        """What is there, ended or not."""
        return [each for each in self.places if each is not None]

    def find(self, key: tuple[str, str, Any]) -> Entry | None:
        """The entry of a rule on a subject."""
        return next((each for each in self.entries() if each.key == key), None)

    def purge(self, clock_ms: int) -> bool:
        """Free what ended a grace ago; tell whether what is left refuses requests."""
        for place, entry in enumerate(self.places):
            if entry is not None and entry.until_ms + GRACE_MS <= clock_ms:
                self.places[place] = None
        return any(each.mode == ENFORCE and each.action != "observe" for each in self.entries())

    def bound_by(self, fresh: Entry) -> Entry | None:
        """The subject's own entry of the rule, else the workload's that is as serious."""
        own, whole = self.find(fresh.key), self.find((fresh.rule, "workload", ""))
        if own is not None and own.until_ms > fresh.since_ms:
            return own
        if whole is not None and whole.until_ms > fresh.since_ms and whole.mode >= fresh.mode:
            return whole
        return own

    def put(self, fresh: Entry) -> str:
        """Put an entry in force that lasts from its `since_ms`: issue, renew, or nothing.

        It is of the whole workload where that is bound already, or where its part finds no place.
        """
        known, clock_ms = self.bound_by(fresh), fresh.since_ms
        if known is not None and known.until_ms > clock_ms:
            fresh.kind, fresh.subject, fresh.repeat = known.kind, known.subject, known.repeat + 1
            self.places[self._place_of(known)] = fresh
            return "renew"
        place = self._place_of(known) if known is not None else self._room(fresh, clock_ms)
        if place is None and fresh.kind != "workload":
            fresh.kind, fresh.subject = "workload", ""
            return self.put(fresh)
        if place is None:
            self.dropped += 1
            return ""
        self.places[place] = fresh
        return "issue"

    @property
    def says_dropped(self) -> bool:
        """Whether it is said that the last one that found no place found none."""
        return self.dropped <= 64 or self.dropped % 64 == 0

    def _place_of(self, entry: Entry) -> int:
        return next(place for place, each in enumerate(self.places) if each is entry)

    def _room(self, fresh: Entry, clock_ms: int) -> int | None:
        """The first place that is free or ended, else that of the weakest weaker entry.

        Of equally weak ones that which ends first.
        """
        for place, entry in enumerate(self.places):
            if entry is None or entry.until_ms <= clock_ms:
                return place
        taken = {place: each for place, each in enumerate(self.places) if each}
        weakest = min(taken, key=lambda place: (taken[place].strength, taken[place].until_ms))
        return weakest if taken[weakest].strength < fresh.strength else None
