"""A slow model of the level of a series: the formulas in floats, without units or rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

COUNTED, AMOUNTS = 0, 2
FLOORS = ((1.47, 0.07), (0.94, 0.02), (0.70, 0.035))


@dataclass
class TailModel:
    """A running quantile and the excesses over it."""

    threshold: float = 0.0
    distance: float = 0.0
    excess: float = 0.0
    square: float = 0.0
    exceeded: int = 0

    def bits(self, value: float, floors: tuple[float, float]) -> float:
        """The surprise of a value."""
        threshold = max(self.threshold, floors[0])
        if value <= threshold:
            return 0.0
        variance = self.square - self.excess**2
        shape = 0.0
        if variance > 0.0:
            shape = min(0.5, max(0.0, (1.0 - self.excess**2 / variance) / 2.0))
        ratio = (value - threshold) / max(1e-12, max(self.excess, floors[1]) + threshold / 1000.0)
        if shape < 0.001:
            return -math.log2(0.03) + ratio * math.log2(math.e)
        return -math.log2(0.03) + math.log2(1.0 + shape * ratio / (1.0 - shape)) / shape

    def learn(self, value: float, points: int) -> None:
        """Learn a value."""
        if points == 0:
            self.threshold = value
            return
        weight = max(0.002, 1.0 / (points + 1))
        self.distance += weight * (abs(value - self.threshold) - self.distance)
        step = 2.0 * weight * self.distance
        if value > self.threshold:
            self.exceeded += 1
            share = min(1.0, max(0.002 / 0.03, 1.0 / (self.exceeded + 1)))
            excess = value - self.threshold
            self.excess += share * (excess - self.excess)
            self.square += share * (excess**2 - self.square)
            self.threshold += 0.97 * step
        else:
            self.threshold -= 0.03 * step


@dataclass
class LevelModel:
    """Level, hour profile, spreads, tails and record of one series."""

    kind: int
    points: int = 0
    level: float = 0.0
    highest: float = 0.0
    lowest: float = 0.0
    spread: float = 0.0
    sustained: float = 0.0
    drift: float = 0.0
    profile: list[float] = field(default_factory=lambda: [0.0] * 24)
    spreads: list[float] = field(default_factory=lambda: [0.0] * 24)
    seen: list[int] = field(default_factory=lambda: [0] * 24)
    tails: list[TailModel] = field(default_factory=lambda: [TailModel() for _ in range(3)])

    def score(self, value: float, at_ms: int) -> tuple[float, float, float, float]:
        """The bits of sudden, sustained, drifting change and of a record; then learn."""
        hour = at_ms // 3_600_000 % 24
        if self.points == 0:
            self.level = self.highest = self.lowest = value
        seen = self.seen[hour]
        residual = value - self.level - self.profile[hour] * seen / (seen + 5)
        share = seen / (seen + 40)
        own = share * self.spreads[hour] + (1 - share) * self.spread + self.spread / 1000
        least = self.least()
        floor = 0.8 * least
        below = max(own, floor)
        relative = residual * max(self.spread, floor) / below if below > 0 else 0.0
        sudden = math.sqrt(abs(relative))
        kept = sudden
        if self.points > 100:
            own_threshold = self.tails[0].threshold
            kept = min(sudden, 1.5 * max(own_threshold, FLOORS[0][0] * math.sqrt(least)))
        self.sustained += 0.06 * (kept - self.sustained)
        self.drift += 0.1 * (relative - self.drift)
        roots = sudden, self.sustained, math.sqrt(abs(self.drift))
        found = [0.0] * 4
        if self.points > 100:
            for place, weight in enumerate((1.0, 0.8, 0.25)):
                floors = tuple(each * math.sqrt(least) for each in FLOORS[place])
                found[place] = weight * self.tails[place].bits(roots[place], floors)
            found[3] = self.record(value)
        for tail, root in zip(self.tails, roots, strict=True):
            tail.learn(root, self.points)
        self.learn(value, residual, hour)
        return found[0], found[1], found[2], found[3]

    def least(self) -> float:
        """The spread that a series of this kind has at least."""
        if self.kind == COUNTED:
            return 1.0
        return max(abs(self.level) / 16, 1024.0) if self.kind == AMOUNTS else 0.0

    def record(self, value: float) -> float:
        """The bits of having passed everything before."""
        beyond = max(value - self.highest, self.lowest - value)
        least = self.least()
        width = max(self.highest - self.lowest, 4.0 * least)
        if beyond <= 0 or width <= 0:
            return 0.0
        full = 0.07 * width
        if least > 0:
            full = max(full, self.spread, least)
        return 1.5 * math.log2(self.points + 1) * min(1.0, beyond / full)

    def learn(self, value: float, residual: float, hour: int) -> None:
        """Learn a value."""
        weight = max(0.002, 1 / (self.points + 2))
        of_hour = max(0.035, 1 / (self.seen[hour] + 1))
        beside = value - self.level - self.profile[hour]
        self.spread += weight * (abs(residual) - self.spread)
        self.spreads[hour] += of_hour * (abs(residual) - self.spreads[hour])
        self.highest = max(self.highest, value)
        self.lowest = min(self.lowest, value)
        self.highest -= 1e-6 * (self.highest - self.level)
        self.lowest += 1e-6 * (self.level - self.lowest)
        self.level += weight * residual
        self.profile[hour] += of_hour * beside
        self.points += 1
        self.seen[hour] += 1
