"""Who gets which partitions: as even as can be, and each where it was, if it can stay there.

The client's own default deals partitions out anew at each change of the group, so that most of them
move when a member comes. Its sticky assignor (KIP-54) moves as few as it can; members say what they
have. It keeps that in its class, which two consumers of one process would share, so here each
consumer has a class of its own.

It goes by the name of the default, `roundrobin`. So members of versions without it and those with
it are in one group: whoever leads deals, an older leader as before, and an older member says
nothing of what it has. To offer both under two names is what the protocol has for this, but the
client then joins once for each of them: the second time says something else than the first, so each
join makes all others join again, and a group whose members begin together may never come to rest.
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
        name = {"name": RoundRobinPartitionAssignor.name}
        self._own: Any = type("OwnSticky", (StickyPartitionAssignor,), name)

    def assignors(self) -> tuple[Any]:
        """Return the one that the client is to use."""
        return (self._own,)

    def note(self, consumer: AIOKafkaConsumer, given: Collection[TopicPartition]) -> None:
        """Remember what a consumer was given, by whomever, and in which generation.

        By that a later claim is told from that of a member which slept through a change.
        """
        self._own.member_assignment = list(given)
        self._own.on_generation_assignment(consumer._coordinator.generation)
