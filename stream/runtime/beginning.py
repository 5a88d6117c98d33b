"""Where a partition begins: at its checkpoint, or by a name that says why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from stream.bus import Bounds
from stream.events import Conditions
from stream.signing import Trust
from stream.store import Checkpoint

from .baselines import BASELINE_MISSING
from .growth import Counts

STORE_FORGOT = "store_forgot"
LOG_CHANGED = "log_changed"
LOG_CUT = "log_cut"
JOURNAL_CUT = "journal_cut"
CHECKPOINT_CORRUPT = "checkpoint_corrupt"
RECORDS_CORRUPT = "records_corrupt"


class Place(NamedTuple):
    """The log of a partition as it is now, the topics around it, and who takes it.

    `epoch` is that of its claim, once there is one. `counts` are the numbers of partitions as the
    session knows them, `least` those that must hold because partitions have been born by them.
    `trust` are the keys without whose signature nothing of `enforcement` is believed.
    """

    partition: int
    bounds: Bounds
    topic_id: str
    requests_topic: str
    journal_topic: str
    enforcement: tuple[str, int]
    worker: str
    nonce: str
    counts: Counts = ()
    least: Counts = ()
    epoch: int = -1
    trust: Trust | None = None


class Start(NamedTuple):
    """Where a partition begins: offset and eras, and the named modes it begins in.

    `log_era` and `fresh_era` are those of `events.Conditions`.
    """

    offset: int
    era: int
    log_era: int
    fresh_era: int
    modes: tuple[str, ...]

    @property
    def is_afresh(self) -> bool:
        """Tell whether rows are gone and everything in the log is counted again."""
        return bool(self.modes) and self.fresh_era == self.era


def where_to_start(
    place: Place, checkpoint: Checkpoint | None, entries: Sequence[Conditions]
) -> Start:
    """Return where to begin, and why if not at the checkpoint; `entries` are the journal's."""
    start, end = place.bounds
    if checkpoint is None:
        return _without_store(place, entries)
    era, log_era, fresh_era = checkpoint.era, checkpoint.log_era, checkpoint.fresh_era
    if len({place.topic_id, checkpoint.topic_id} - {""}) > 1:
        return Start(start, era + 1, era + 1, fresh_era, (LOG_CHANGED,))
    if era < max((each.era for each in entries), default=0):
        # An older copy of the store, from before the era that has begun since.
        return _without_store(place, entries)
    if max(checkpoint.next_offset, checkpoint.check_offset + 1) > end:
        # Where it was cut is not known: it may have grown again since, short of where it was.
        return rebuilt(place, era, LOG_CHANGED)
    if checkpoint.next_offset < start:
        return Start(start, era + 1, log_era, fresh_era, (LOG_CUT,))
    return Start(checkpoint.next_offset, era, log_era, fresh_era, ())


def _without_store(place: Place, entries: Sequence[Conditions]) -> Start:
    """Begin with no checkpoint: what is in the log is all that counts, once."""
    start = place.bounds.start
    if not entries:
        return Start(start, 0, 0, 0, ())
    last = max(entries, key=lambda each: each.era)
    if len({place.topic_id, last.topic_id} - {""}) > 1:
        return rebuilt(place, last.era, LOG_CHANGED)
    if last.era == 0 and start == 0:
        # The whole log is there: the same is decided again, under the same versions.
        return Start(0, 0, 0, 0, (STORE_FORGOT,))
    era = last.era + 1
    return Start(start, era, last.log_era, era, (STORE_FORGOT,))


def rebuilt(place: Place, era: int, mode: str) -> Start:
    """Begin in a new era with a log whose relation to the rows is not known."""
    return Start(place.bounds.start, era + 1, era + 1, era + 1, (mode,))


def without_baseline(start: Start, eras: Sequence[int]) -> Start:
    """Begin where a baseline that is in force is nowhere: what is decided may differ.

    That is a new era, if the start itself is none; rows stay what they are.
    """
    modes = (*start.modes, BASELINE_MISSING)
    if start.era not in eras:
        return start._replace(modes=modes)
    fresh_era = start.era + 1 if start.is_afresh else start.fresh_era
    return start._replace(era=start.era + 1, fresh_era=fresh_era, modes=modes)


def reborn(place: Place, birth: Checkpoint, lived: Sequence[Conditions]) -> Checkpoint:
    """Return the birth of a partition as it begins with it that has lived before.

    The store has forgotten that life, its journal has not. In the same era of the same log the same
    is decided again; otherwise an era begins that none of them had. `lived` are its own entries.
    """
    if not lived:
        return birth
    last = max(lived, key=lambda each: each.era)
    is_same_log = len({place.topic_id, last.topic_id} - {""}) < 2
    era, log_era = birth.era, last.log_era
    if not (is_same_log and era == last.era):
        era = max(era, last.era + 1)
    return msgspec.structs.replace(birth, era=era, log_era=log_era if is_same_log else era)
