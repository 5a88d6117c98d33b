"""`topics`: what the four topics are, made where they are missing."""

from __future__ import annotations

import click

from stream.bus import KafkaTopics, TopicState
from stream.config import Config, load_config
from stream.policy import spell_duration

from .doors import opened, wait_for
from .options import examples, json_option, reaching
from .screen import Screen

FOREVER: str = "-1"
HIDDEN: str = "(no right to look)"


@click.command(
    "topics",
    epilog=examples("enforcer topics", "enforcer topics --kafka kafka:9092 --json"),
)
@reaching
@json_option
def topics(*, environment: dict[str, str], is_json: bool) -> None:
    """Create the topics, or check them.

    Missing ones are made with the right settings; one that exists with wrong settings is refused
    with what it is, what it must be, and the command that repairs it (exit code 78).
    """
    config = load_config("", environment)
    states = wait_for(make_topics(config))
    screen = Screen(is_json=is_json)
    screen.emit(states)
    screen.table(
        f"Kafka at {config.kafka.bootstrap}",
        ("topic", "partitions", "copies", "cleanup", "keeps", "times"),
        [_row(each) for each in states],
    )


async def make_topics(config: Config) -> list[TopicState]:
    """Have all topics of an installation; return what they are.

    Errors: ConfigError, BusUnavailable.
    """
    async with opened(KafkaTopics(config.kafka)) as admin:
        return await admin.ensure(config.topics.specs())


def _row(state: TopicState) -> tuple[str, int, int, str, str, str]:
    if state.is_config_hidden:
        return (state.name, state.partitions, state.replicas, HIDDEN, HIDDEN, HIDDEN)
    settings = state.config
    keeps = settings.get("retention.ms", "unknown")
    if settings.get("cleanup.policy") == "compact":
        keeps = "the last of each key"
    elif keeps == FOREVER:
        keeps = "for ever"
    elif keeps.isdigit():
        keeps = spell_duration(int(keeps))
    return (
        state.name,
        state.partitions,
        state.replicas,
        settings.get("cleanup.policy", "unknown"),
        keeps,
        settings.get("message.timestamp.type", "unknown"),
    )
