"""Whether no more workloads were newly enforced than a brake allows, since the last owner came.

Before that, takeovers may each have let as many more in, and what waited at one is not braked. How
many workloads an owner knows is no matter here: all there are bound the share. Where clocks step, a
window of the log says nothing.

An event that was forwarded came to its source long before it came home. An owner's clock is that of
the home, which it looks at between batches; so what is too many must be so by either time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from stream.bus import Record
from stream.events import Owner, decode_entry

from .estate import Estate
from .model import Newly


def audit_brake(estate: Estate, partition: int, enforced: list[Newly]) -> list[str]:
    """Return where more were newly enforced within a window than may be."""
    if "clock" in estate.plan.faults:
        return []
    journal = [each for each in estate.log.of(estate.topics.journal) if each.partition == partition]
    taken_ms = _taken_ms(journal)
    found = [
        _too_many(estate, [each for each in times if each.append_ms > taken_ms])
        for times in (enforced, _at_home(estate, partition, enforced))
    ]
    return found[1] if all(found) else []


def _at_home(estate: Estate, partition: int, enforced: list[Newly]) -> list[Newly]:
    """Return the same at the times at which their home had them."""
    lines = estate.lines(partition)
    clock_ms = dict(zip((each.offset for each in lines), _risen(lines), strict=True))
    return [each._replace(append_ms=clock_ms.get(each.offset, each.append_ms)) for each in enforced]


def _risen(lines: Sequence[Record]) -> Iterable[int]:
    return itertools.accumulate((each.append_ms for each in lines), max)


def _too_many(estate: Estate, mine: list[Newly]) -> list[str]:
    for place, last in enumerate(mine):
        brake = last.policy.brake
        if brake is None:
            continue
        count = 0
        for each in reversed(mine[: place + 1]):
            is_within = each.append_ms > last.append_ms - brake.window_ms
            if not is_within or each.policy.hash != last.policy.hash:
                break
            count += each.tier == last.tier
        most = brake.allowed(last.policy.tiers[last.tier], estate.plan.workloads)
        if count > most:
            return [f"{count} of class {last.tier} newly enforced in a window, {most} may be"]
    return []


def _taken_ms(journal: list[Record]) -> int:
    """Return when the last owner came to a partition, by the log's clock."""
    taken_ms, epoch = 0, -1
    for record in journal:
        entry = decode_entry(record.value or b"")
        if isinstance(entry, Owner) and entry.epoch > epoch:
            taken_ms, epoch = record.append_ms, entry.epoch
    return taken_ms
