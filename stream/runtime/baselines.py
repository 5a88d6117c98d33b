"""Which baselines a worker has, and which one is wanted in a partition.

That of the file holds where nobody has said anything yet, one that an operator promoted or reloaded
everywhere that has not heard of it: later words win over earlier ones, told apart by their time in
the journal. A new owner goes on with what is journalled, whatever its file says. A version takes
effect where its bytes are here, made ready beside the loop; where they are nowhere, the partition
is in mode BASELINE_MISSING: nothing is compared, and everything exact goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final, NamedTuple

import msgspec

from stream.baselines import decode_baseline, version_of
from stream.bus import Publisher
from stream.enforcement import NOTHING_EXPECTED, Expectation
from stream.errors import ConfigError, NewerFormat
from stream.events import LEARNED_FORMAT, Conditions, InForce
from stream.kernel import HashKey

from .library import Library, Promoted
from .modes import BEHIND
from .resting import Resting

log = logging.getLogger(__name__)

BASELINE_MISSING: Final = "baseline_missing"
KNOWN_MAX: Final = 4  # beyond those in use, and
KNOWN_BYTES_MAX: Final = 1 << 28  # of these together: a large one is fetched again if it comes back


class Offer(NamedTuple):
    """A baseline of a file that is not in the library yet, reloaded when, 0 for never."""

    data: bytes
    made: Expectation
    reloaded_ms: int


class Baselines:
    """The baselines in memory, by version, and what is wanted; one for a worker's life."""

    def __init__(self, key: HashKey) -> None:
        self._key = key
        self._known: dict[str, Expectation] = {}
        self._without: dict[tuple[str, str], Expectation] = {}
        self._library: Library | None = None
        self._offered: Offer | None = None
        self._absent: dict[str, int] = {}
        self._wanted: Promoted | None = None
        self._latest_ms = 0

    def made(self, data: bytes | memoryview, name: str) -> Expectation:
        """Return what comes of a baseline's bytes; touches nothing, so any thread may do it.

        Errors: ConfigError, NewerFormat.
        """
        known, version = decode_baseline(data, name), version_of(data)
        return Expectation(known, version, self._key, between=Resting())

    def offer(self, data: bytes, made: Expectation, reloaded_ms: int = 0) -> None:
        """Let a baseline take effect where nobody has said anything, or everywhere if reloaded.

        It does once every worker can have its bytes.
        """
        self._offered = Offer(data, made, reloaded_ms)

    async def begin(self, library: Library, publisher: Publisher, now_ms: int) -> None:
        """Read what there is in this session's library, and go on as `look` does."""
        self._library, self._absent = library, {}
        await self.look(publisher, now_ms)

    async def look(self, publisher: Publisher, now_ms: int, missing: Collection[str] = ()) -> None:
        """Put there what was offered, hear what is promoted, make ready what is missing.

        Errors: BusUnavailable.
        """
        library = self._library
        assert library is not None, "a session begins with its library"
        await library.look()
        if self._offered is not None:
            await self._put(library, publisher, self._offered, now_ms)
        await self._follow(library)
        for version in missing:
            await self.has(version)

    async def _put(
        self, library: Library, publisher: Publisher, offered: Offer, now_ms: int
    ) -> None:
        """Have what is offered in the library, and want it then."""
        data, made, reloaded_ms = offered
        try:
            await library.put(publisher, data, now_ms, self._kept())
        except ConfigError as error:
            log.error("baseline %s does not take effect: %s", made.version, error)  # noqa: TRY400
        else:
            self._know(made)
            at_ms = max(reloaded_ms, self._latest_ms + 1) if reloaded_ms else 0
            self._want(Promoted(version=made.version, at_ms=at_ms))
        if self._offered is offered:
            self._offered = None

    async def _follow(self, library: Library) -> None:
        promoted = library.promoted
        if promoted is not None and await self.has(promoted.version):
            self._want(promoted)

    def _want(self, promoted: Promoted) -> None:
        if self._wanted is None or promoted.at_ms > self._wanted.at_ms:
            self._wanted = promoted

    async def has(self, version: str) -> bool:
        """Tell whether a version can be compared with, having read it where it was not here.

        Errors: BusUnavailable.
        """
        if not version or version in self._known:
            return True
        library = self._library
        if library is not None and version not in library.held:
            await library.look()  # it may have been promoted, and journalled, a moment ago
        held = library.held.get(version) if library is not None else None
        if library is None or held is None or self._absent.get(version) == held.at_ms:
            return False
        data = await library.fetch(version)
        try:
            if data is not None:
                self._know(await asyncio.to_thread(self.made, data, f"baseline {version}"))
        except (ConfigError, NewerFormat) as error:
            log.error("baseline %s cannot be used here: %s", version, error)  # noqa: TRY400
        if version not in self._known:
            self._absent[version] = held.at_ms
        return version in self._known

    def _know(self, made: Expectation) -> None:
        self._known.pop(made.version, None)
        self._known[made.version] = made

    def _kept(self) -> set[str]:
        """Return the versions that must not go from the library for what we know."""
        wanted = {self._wanted.version} if self._wanted else set()
        return wanted | self._known.keys()

    def forget(self, in_use: Collection[str]) -> None:
        """Forget versions beyond KNOWN_MAX that nobody uses, those known longest first.

        And those that together take more than KNOWN_BYTES_MAX.
        """
        kept = {self._wanted.version} if self._wanted else set()
        spare = [each for each in self._known if each not in in_use and each not in kept]
        taken = sum(self._known[each].nbytes for each in spare)
        for gone, version in enumerate(spare):
            if len(spare) - gone <= KNOWN_MAX and taken <= KNOWN_BYTES_MAX:
                break
            taken -= self._known.pop(version).nbytes
        self._without = {name: each for name, each in self._without.items() if name[0] in in_use}

    def expectation(self, conditions: Conditions) -> Expectation:
        """Return what conditions have tasks compared with: one value for all that say the same.

        Requires: `has` said so of their version, where it is not shed.
        """
        held = conditions.baseline or None
        if held is not None:
            self._latest_ms = max(self._latest_ms, held.at_ms)
        if held is None or not held.version:
            return NOTHING_EXPECTED
        if not held.shed:
            return self._known[held.version]
        name = held.version, held.shed
        return self._without.setdefault(name, Expectation.without(*name))

    def wanted(self, conditions: Conditions, *, is_behind: bool) -> Conditions:
        """Return conditions under the baseline that is wanted, shed where it must be."""
        held = conditions.baseline or None
        target = self._wanted
        if target is not None and (held is None or target.at_ms > held.at_ms):
            # Also where it is the one in force: who heads what came before would go back to that.
            before = held.version if held else ""
            if held and target.version == before:
                before = held.previous
            held = InForce(target.version, before, target.at_ms)
        if held is None:
            return conditions
        shed = ""
        if held.version and held.version not in self._known:
            shed = BASELINE_MISSING
        elif held.version and is_behind:
            shed = BEHIND
        return with_baseline(conditions, msgspec.structs.replace(held, shed=shed))


def with_baseline(conditions: Conditions, held: InForce) -> Conditions:
    """Return conditions with a baseline in force, of a format that says that it matters."""
    return msgspec.structs.replace(
        conditions, baseline=held, format=max(conditions.format, LEARNED_FORMAT)
    )


def is_behind(conditions: Conditions, lag: int, behind_events: int) -> bool:
    """Tell whether learned detectors are shed: from the bound on, until under half of it."""
    return lag > (behind_events // 2 if conditions.shed == BEHIND else behind_events)
