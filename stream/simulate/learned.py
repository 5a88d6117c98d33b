"""Baselines in a simulation: promoted, taken back and reloaded while all else happens.

Added to a run by `with_baselines`, as it is in some seeds, so that other runs are what they were.
Gateways then declare purposes and name resources, every policy has rules on learned evidence, most
of them with a brake that soon holds, and few events that wait are already too many, so that learned
detectors are shed and come back. The auditor's own laws: at rest nothing is shed, and no partition
has missed what was promoted last.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Final

import msgspec

from stream.baselines import encode_baseline, promote, version_of
from stream.bus import MemoryPublisher, MemoryReader
from stream.detectors import JUDGES
from stream.events import Request, decode_request, encode_request
from stream.replay import History
from stream.runtime import Baselines, Library, Promoted, Worker

from .audit import valid_conditions
from .chance import stream
from .doors import SimReader
from .estate import BEGAN_MS, KEY, Estate, compiled
from .traffic import payload, policies, workload

SHARE: Final = 0.15
RULE: Final = """
- name: odd
  anomaly: {of: task-novelty, false_alarms: 5% of tasks}
  action: revoke
  on: task
  for: 5s
  mode: enforce
- name: unusual
  anomaly: {of: behaviour, false_alarms: 10% of tasks}
  action: revoke
  on: task
  for: 5s
  mode: enforce
"""
# Whatever is odd is soon too much, and then not for long; one policy has no brake.
BRAKES: Final = (
    "brake: {at_least: 1, window: 4s, settled_after: 1s}\n",
    "brake: {at_least: 2, share: 50%, window: 2s, settled_after: 0s}\n",
    "brake: off\n",
)
PURPOSES: Final = ("", "mail", "mail", "file", "file", "never-seen")
RESOURCES: Final[tuple[tuple[str, ...], ...]] = (
    (),
    ("to:alice@example.org",),
    ("to:alice@example.org", "subject:report"),
    ("to:mallory@elsewhere.example",),
    ("path:report.txt",),
    ("path:secret-4711.txt",),
)
MAIL: Final = (("tool:read_mail", 0), ("tool:send_mail", 1), ("tool:send_mail", 2))
FILE: Final = (("tool:read_file", 4), ("GET /a", 0), ("tool:read_file", 4))
AGENTS: Final = 12
SHOWN: Final = 5
BURST: Final = 200


def is_learned(seed: int) -> bool:
    """Tell whether a seed's run has baselines."""
    return stream(seed, "versions").random() < SHARE


def with_baselines(estate: Estate) -> None:
    """Let what is expected be learned, and change while a run lasts."""
    world = _prepared(estate)
    is_slow = world.chance.random() < 0.6
    estate.spec = msgspec.structs.replace(
        estate.spec,
        # An event at a time, so that some wait when the log's end is looked for.
        batch_events_max=1 if is_slow else estate.spec.batch_events_max,
        behind_events=2 if is_slow else 100_000,
        look_every_ms=40 if is_slow else 1_000,
        learned_max=64,
    )
    estate.dress, estate.starts = world.dress, world.starts
    estate.storms.append(world.storm)


def with_promotions(estate: Estate) -> None:
    """Let a story promote baselines, and have rules that enforce what they find odd."""
    estate.promote = _prepared(estate).promote


def _prepared(estate: Estate) -> _World:
    """Let an estate have rules on learned evidence, and a library of baselines."""
    world = _World(estate)
    estate.policies = tuple(
        text + RULE + brake for text, brake in zip(policies(), BRAKES, strict=True)
    )
    estate.policy = compiled(estate.policies[0], "simulation")
    known = Baselines(KEY)
    estate.baselines = {version_of(each): known.made(each, "simulation") for each in versions()}
    estate.library = lambda: SimReader(estate.log, estate.network)
    estate.laws.append(world.laws)
    return world


@cache
def versions() -> tuple[bytes, ...]:
    """Return the bytes of two baselines of what gateways of a simulation send."""
    return _learned(5), _learned(8)


def _learned(rounds: int) -> bytes:
    """Return the bytes of a baseline of some usual tasks of each agent."""
    history, events = History(KEY), []
    for number in range(AGENTS * rounds):
        purpose, calls = (("mail", MAIL), ("file", FILE))[number % 2]
        for place, (operation, said) in enumerate(calls):
            request = Request(
                at_ms=BEGAN_MS - 10**9 + number * 60_000 + place * 1_000,
                workload=workload(number % AGENTS),
                operation=operation,
                purpose=purpose,
                task=f"h{number}",
                resources=RESOURCES[said],
                bytes=100,
            )
            events.append(encode_request(request))
    history.add(events)
    return encode_baseline(promote(history.tasks(), KEY.id, JUDGES, {}))


class _World:
    """What gateways and operators do in a run with baselines."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self.chance = stream(estate.plan.seed, "learned")
        self._library = Library(MemoryReader(estate.log), estate.topics.baselines)
        self._publisher = MemoryPublisher(estate.log)
        self._at_ms = 0

    def dress(self, value: bytes) -> bytes:
        """Return an event with a purpose and resources, what is none as it is."""
        try:
            request = decode_request(value)
        except (ValueError, RecursionError):
            return value
        said = self.chance.choice(RESOURCES)
        purpose = self.chance.choice(PURPOSES)
        return encode_request(msgspec.structs.replace(request, purpose=purpose, resources=said))

    def starts(self, worker: Worker) -> None:
        """Let the settings of some workers name a baseline."""
        if self.chance.random() < 0.7:
            data = self.chance.choice(versions())
            worker.baselines.offer(data, worker.baselines.made(data, "simulation"))

    async def storm(self) -> None:
        """Promote, roll back and reload, now and then."""
        estate = self._estate
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / 5.0))
            data = self.chance.choice((*versions(), b""))
            at_ms = self._next_ms()
            if self.chance.random() < 0.4:
                self._burst()
            if data and self.chance.random() < 0.3:
                for member in estate.members:
                    if member.worker is not None and not member.process.is_dead:
                        baselines = member.worker.baselines
                        baselines.offer(data, baselines.made(data, "simulation"), at_ms)
                continue
            await self._say(data, at_ms)

    def _next_ms(self) -> int:
        self._at_ms = max(self._at_ms + 1, self._estate.broker_clock.wall_ms())
        return self._at_ms

    async def promote(self, data: bytes) -> None:
        """Let a baseline take effect everywhere, or none."""
        await self._say(data, self._next_ms())

    async def _say(self, data: bytes, at_ms: int) -> None:
        library, publisher = self._library, self._publisher
        await library.look()
        if data:
            await library.put(publisher, data, at_ms, ())
        version = version_of(data) if data else ""
        await library.promote(publisher, Promoted(version=version, at_ms=at_ms))
        self._estate.network.happened["promote"] += 1

    def _burst(self) -> None:
        """Send more at once than is worked on before anybody looks."""
        estate, now_ms = self._estate, self._estate.broker_clock.wall_ms()
        for _ in range(BURST):
            key, value = payload(estate.plan, self.chance, now_ms)
            place = estate.route(key, estate.partitions)
            estate.log.append(*place, key, self.dress(value))

    def laws(self) -> list[str]:
        """Return what does not hold at rest."""
        estate, promoted, broken = self._estate, self._library.promoted, []
        for partition in range(estate.partitions):
            journal = [
                each for each in estate.log.of(estate.topics.journal) if each.partition == partition
            ]
            entries = [each for _, each in valid_conditions(journal)]
            # Whoever takes over journals an earlier offset anew; what was said of later ones holds,
            # but for another log.
            log_era = max(entries, key=lambda each: each.era).log_era if entries else 0
            entries = [each for each in entries if each.era >= log_era]
            entries.sort(key=lambda each: each.from_offset)
            held = entries[-1].baseline or None if entries else None
            estate.network.happened["braked"] += sum(bool(each.braked) for each in entries)
            estate.network.happened["shed"] += sum(bool(each.shed) for each in entries)
            if held is not None and held.shed:
                broken.append(f"partition {partition}: shed at rest, {held.shed}")
            missed = promoted is not None and (held is None or held.at_ms < promoted.at_ms)
            if missed and promoted and (held is None or held.version != promoted.version):
                broken.append(f"partition {partition}: {promoted} is not in force, but {held}")
        return broken[:SHOWN]
