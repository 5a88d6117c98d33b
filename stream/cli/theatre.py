"""How `demo` looks: a live picture on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .plain import escaped
from .screen import Screen
from .story import Outcome, Seen, Story

COLUMNS: Final = 5
MOMENTS_SHOWN: Final = 6
LINES_EVERY_S: Final = 2.0
_STATES: Final = {
    "allow": ("green", "●"),
    "throttle": ("yellow", "◐"),
    "revoke": ("bold red", "■"),
}


class Theatre(Protocol):
    """What shows a story."""

    def say(self, text: str, style: str = "") -> None:
        """Tell a moment."""
        ...

    def show(self, story: Story) -> None:
        """Show how things stand; called several times a second."""
        ...

    def stage(self) -> contextlib.AbstractContextManager[None]:
        """Be shown for as long as the block lasts."""
        ...


class PlainTheatre:
    """Lines on stderr: what happens, and every two seconds how things stand."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._next_s = 0.0

    def say(self, text: str, style: str = "") -> None:
        """Tell a moment."""
        self._screen.note(text, style)

    def show(self, story: Story) -> None:
        """Write a line, if it is time for one."""
        if story.elapsed_s >= self._next_s:
            self._next_s = story.elapsed_s + LINES_EVERY_S
            states = [each.state for each in story.seen.values()]
            bound = len(states) - states.count("allow")
            self.say(
                f"{story.elapsed_s:5.1f} s: {story.events:,} calls of {len(states)} agents, "
                f"{rate(story):,.0f}/s, {bound} throttled or stopped"
            )

    @contextlib.contextmanager
    def stage(self) -> Iterator[None]:
        """Lines need no stage."""
        yield


class LiveTheatre:
    """A picture that is redrawn: the fleet, its pace, the last moments."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._live: Live | None = None
        self._moments: deque[tuple[str, str]] = deque(maxlen=MOMENTS_SHOWN)

    def say(self, text: str, style: str = "") -> None:
        """Tell a moment: in the picture while there is one, else as a line."""
        if self._live is None:
            self._screen.note(text, style)
        else:
            self._moments.append((text, style))

    def show(self, story: Story) -> None:
        """Draw how things stand."""
        if self._live is not None:
            self._live.update(self._picture(story))

    @contextlib.contextmanager
    def stage(self) -> Iterator[None]:
        """Draw the picture for as long as the block lasts, and leave the moments on the screen."""
        with Live(console=self._screen.err, refresh_per_second=8, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None
        for text, style in self._moments:
            self._screen.note(text, style)

    def _picture(self, story: Story) -> Group:
        head = Text.assemble(
            (f"{story.elapsed_s:5.1f} s   ", "bold"),
            (f"{len(story.agents)} agents   ", ""),
            (f"{rate(story):,.0f} calls/s   ", "bold"),
            (f"{story.events:,} calls, each checked by the gateway and reported through Kafka", ""),
        )
        grid = Table.grid(padding=(0, 2))
        cells = [_cell(each.name, story.seen[each.name]) for each in story.agents]
        rows = -(-len(cells) // COLUMNS)
        for row in range(rows):
            grid.add_row(*cells[row::rows])
        lines = [Text(escaped(text), style=style) for text, style in self._moments]
        return Group(head, Text(), grid, Text(), *lines)


def rate(story: Story) -> float:
    """Return the calls a second so far."""
    return story.events / story.elapsed_s if story.elapsed_s > 0 else 0.0


def _cell(name: str, seen: Seen) -> Text:
    style, mark = _STATES.get(seen.state, ("cyan", "●"))
    refused = f" -{seen.refused}" if seen.refused else ""
    return Text(f"{mark} {name:14} {seen.served:4}{refused}", style=style)


def show_outcome(screen: Screen, outcome: Outcome) -> None:
    """Show how a story ended."""
    screen.line()
    stopped = outcome.stopped_after_ms is not None
    rows = [
        ("calls", f"{outcome.events:,} in {outcome.seconds:g} s, {outcome.rate_per_s:,}/s"),
        ("agents", f"{outcome.agents}, of which one went bad: {outcome.bad}"),
        ("first refusal", _spelled(outcome.throttled_after_events, outcome.throttled_after_ms)),
        ("stopped", _spelled(outcome.stopped_after_events, outcome.stopped_after_ms)),
        ("because", outcome.reason or "-"),
        ("by rule", outcome.rule or "-"),
        ("reaction", _spelled_reaction(outcome.reaction_ms)),
        ("refused calls", f"{outcome.refused:,}"),
        ("benign agents touched", ", ".join(outcome.benign_touched) or "none"),
    ]
    screen.facts("what happened", rows)
    for problem in outcome.problems:
        screen.line(f"failed: {problem}", "bold red")
    if stopped and not outcome.problems:
        screen.line("the bad agent was stopped, and nobody else was touched", "bold green")


def _spelled(events: int | None, after_ms: int | None) -> str:
    if events is None or after_ms is None:
        return "never"
    return f"after {events} bad calls, {after_ms:,} ms after the first of them"


def _spelled_reaction(reaction_ms: int | None) -> str:
    if reaction_ms is None or reaction_ms < 0:
        return "unknown"
    return f"refused {reaction_ms:,} ms after the broker had the event that broke the rule"
