"""The brake of a policy with its numbers: how many workloads of a class may be newly enforced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from stream.errors import PolicyError

from .converting import converted_at, span_at
from .hints import choice_hint
from .spec import BrakeSpec, PolicySpec
from .units import share_ppm, spell_duration

WINDOW_MS_MIN: Final = 1_000
WINDOW_MS_MAX: Final = 86_400_000
SETTLED_MS_MAX: Final = 30 * 86_400_000


class Tier(NamedTuple):
    """What holds for one class: millionths of its workloads, and how many at least."""

    share_ppm: int
    at_least: int
    share: str


class BrakeMeaning(NamedTuple):
    """How many may be newly enforced within `window_ms`; `tiers` by index of the class."""

    window_ms: int
    settled_ms: int
    tiers: tuple[Tier, ...]

    def allowed(self, tier: int, settled: int) -> int:
        """Return how many of a class may be, of which so many have been there for long."""
        share, at_least, _ = self.tiers[tier]
        return max(at_least, settled * share // 1_000_000)

    def spelled(self, tier: int) -> str:
        """Return what is allowed, for a sentence."""
        _, at_least, share = self.tiers[tier]
        return f"{share} of them in {spell_duration(self.window_ms)}, or {at_least}"


def brake_meaning(spec: PolicySpec, classes: Sequence[str]) -> BrakeMeaning | None:
    """Return the brake for classes by index, the last one being of all others; None for none.

    Errors: PolicyError `reason - at $.path`.
    """
    if spec.brake == "off":
        return None
    said = spec.brake if isinstance(spec.brake, BrakeSpec) else BrakeSpec()
    window_ms = span_at(said.window, "$.brake.window", WINDOW_MS_MIN, WINDOW_MS_MAX)
    settled_ms = span_at(said.settled_after, "$.brake.settled_after", 0, SETTLED_MS_MAX)
    usual = Tier(converted_at("$.brake.share", share_ppm, said.share), said.at_least, said.share)
    tiers = dict.fromkeys(classes, usual)
    seen: set[str] = set()
    for index, each in enumerate(said.classes):
        at = f"$.brake.classes[{index}]"
        if each.name not in tiers:
            hint = choice_hint(each.name, classes)
            raise PolicyError(f"there is no class `{each.name}` - at {at}.name", hint=hint)
        if each.name in seen:
            raise PolicyError(f"`{each.name}` is there twice - at {at}.name")
        seen.add(each.name)
        share = said.share if each.share is None else each.share
        ppm = converted_at(f"{at}.share", share_ppm, share)
        at_least = said.at_least if each.at_least is None else each.at_least
        tiers[each.name] = Tier(ppm, at_least, share)
    return BrakeMeaning(window_ms, settled_ms, tuple(tiers.values()))
