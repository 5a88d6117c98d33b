"""Who gets which partitions: as even as can be, and each where it was, if it can stay there.

The client's own default deals partitions out anew at each change of the group, so that most of them
move when a member comes. Its sticky assignor (KIP-54) moves as few as it can; members say what they
have. It keeps that in its class, which two consumers of one process would share, so here each
consumer has a class of its own.

Members of a version without it deal as before: it is used once all members know it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor


class Sticky:
    """How one consumer says what it has, and how it deals out partitions where it leads."""

    def __init__(self) -> None:
        self._own: Any = type("OwnSticky", (StickyPartitionAssignor,), {})

    def assignors(self) -> tuple[Any, ...]:
        """Return the client's assignors, best first."""
        return self._own, RoundRobinPartitionAssignor

    def note(self, consumer: AIOKafkaConsumer, given: Collection[TopicPartition]) -> None:
        """Remember what a consumer was given, by whatever assignor, and in which generation.

        By that a later claim is told from that of a member which slept through a change.
        """
        self._own.member_assignment = list(given)
        self._own.on_generation_assignment(consumer._coordinator.generation)
