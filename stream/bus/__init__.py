"""The log: who reads it in a group, who appends in order, who reads it alone, what topics are.

`contract` is what the rest of the system knows; `memory` is the broker in a process, for unit
tests and simulation; the Kafka doors are the real thing. No numpy here: a gateway needs this room.
"""

from __future__ import annotations

from .contract import (
    Bounds,
    Chunk,
    Committed,
    EventSource,
    Listener,
    LogReader,
    Publisher,
    Record,
    Sending,
    TogetherPublisher,
    TopicAdmin,
    TopicSpec,
    TopicState,
)
from .kafka import KafkaSpec
from .kafka_publisher import KafkaPublisher
from .kafka_reader import KafkaReader
from .kafka_source import KafkaSource
from .kafka_static import StaticNames
from .kafka_together import KafkaTogether
from .kafka_topics import KafkaTopics
from .memory import MemoryLog, MemoryPublisher, MemoryReader, MemoryTogether, MemoryTopics
from .memory_source import MemorySource
from .rarely import Rarely
from .reading import RECORDS_AT_ONCE, read_through

__all__ = [
    "RECORDS_AT_ONCE",
    "Bounds",
    "Chunk",
    "Committed",
    "EventSource",
    "KafkaPublisher",
    "KafkaReader",
    "KafkaSource",
    "KafkaSpec",
    "KafkaTogether",
    "KafkaTopics",
    "Listener",
    "LogReader",
    "MemoryLog",
    "MemoryPublisher",
    "MemoryReader",
    "MemorySource",
    "MemoryTogether",
    "MemoryTopics",
    "Publisher",
    "Rarely",
    "Record",
    "Sending",
    "StaticNames",
    "TogetherPublisher",
    "TopicAdmin",
    "TopicSpec",
    "TopicState",
    "read_through",
]
