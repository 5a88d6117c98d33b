"""Options and values that several verbs share. Light: every verb's `--help` loads this."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Final

import click

from stream.identity import InvalidIdentity, canonical_workload

Command = Callable[..., Any]


def _without_password(url: str | None) -> str | None:
    """Return the url. Errors: BadParameter where it holds a password, which it does not repeat."""
    if url and ":" in url.rpartition("@")[0].partition("://")[2]:
        raise click.BadParameter(
            "whoever lists processes would read the password: leave it out, and set"
            " ENFORCER_REDIS_PASSWORD, or redis.password_file in the settings"
        )
    return url


json_option = click.option(
    "--json", "is_json", is_flag=True, help="Print the result as JSON, for programs."
)
_settings: Final = {
    "config": click.option(
        "--config",
        metavar="FILE",
        type=click.Path(),
        help="Settings, a YAML file [ENFORCER_CONFIG].",
    ),
    "kafka": click.option(
        "--kafka", metavar="HOST:PORT", help="Where Kafka is, several with commas [ENFORCER_KAFKA]."
    ),
    "redis": click.option(
        "--redis",
        metavar="URL",
        callback=lambda ctx, param, value: _without_password(value),
        help="Where Redis or Valkey is, without a password [ENFORCER_REDIS].",
    ),
    "prefix": click.option(
        "--prefix",
        metavar="WORD",
        help="Of topics, keys and group, for several installations [ENFORCER_PREFIX].",
    ),
    "policy": click.option(
        "--policy",
        metavar="FILE",
        type=click.Path(),
        help="Policy; the shipped default without one [ENFORCER_POLICY].",
    ),
}


def configured(*names: str) -> Callable[[Command], Command]:
    """Add options for settings; the command gets `environment`.

    That is ours, with what the options say in their variables' places, so that there is one order
    of precedence (file, environment, options) and one reader of it.
    """

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def with_environment(**given: Any) -> Any:
            environment = dict(os.environ)
            for name in names:
                value = given.pop(name)
                if value:
                    environment[f"ENFORCER_{name.upper()}"] = value
            return command(environment=environment, **given)

        for name in reversed(names):
            with_environment = _settings[name](with_environment)
        return with_environment

    return add


reaching: Final = configured("config", "kafka", "redis", "prefix")
"""Adds the options that say where the installation is."""


def examples(*lines: str) -> str:
    """Return examples as the end of a verb's help; click keeps their lines."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


class WorkloadType(click.ParamType[str]):
    """A SPIFFE ID; the verb gets its canonical form."""

    name = "spiffe-id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the canonical form. Errors: BadParameter with what is wrong."""
        try:
            return canonical_workload(str(value))
        except InvalidIdentity as error:
            self.fail(f"{value!r:.80} names no workload: {error.message}", param, ctx)


class SpanType(click.ParamType[int]):
    """A duration such as 90s, 24h or 7d, within bounds; the verb gets milliseconds."""

    name = "duration"

    def __init__(self, ms_min: int, ms_max: int) -> None:
        self._ms_min, self._ms_max = ms_min, ms_max

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return milliseconds. Errors: BadParameter with what to write."""
        from stream.errors import PolicyError
        from stream.policy import duration_ms, spell_duration

        try:
            span_ms = value if isinstance(value, int) else duration_ms(str(value))
        except PolicyError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)
        if not self._ms_min <= span_ms <= self._ms_max:
            bounds = f"{spell_duration(self._ms_min)} to {spell_duration(self._ms_max)}"
            self.fail(f"{value!s:.40} is out of bounds: {bounds}", param, ctx)
        return span_ms


class SentenceType(click.ParamType[str]):
    """One line of printable text, such as a reason."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text. Errors: BadParameter."""
        text = str(value).strip()
        if not 1 <= len(text) <= 512 or not text.isprintable():
            self.fail("write one line of 1 to 512 printable characters", param, ctx)
        return text


WORKLOAD: Final = WorkloadType()
SENTENCE: Final = SentenceType()
INPUT: Final = click.Path(exists=True, dir_okay=False, allow_dash=True)
"""A file to read, `-` for stdin."""

OUTPUT: Final = click.Path(dir_okay=False, allow_dash=True, writable=True)
"""A file to write, `-` for stdout."""

WHOLE_INPUT: Final = click.Path(exists=True, dir_okay=False)
"""A file that is read as a whole, so no stream."""

WHOLE_OUTPUT: Final = click.Path(dir_okay=False, writable=True)
"""A file that is written as a whole: it is complete or not there."""
