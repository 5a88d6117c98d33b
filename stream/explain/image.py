"""A stored row, opened: the same restore that the engine uses, into a table of one.

Operations are looked up by hash only after the row is open, so opening and reading are two steps:
`open_row`, then ask the store for the texts of `operations`, then `read_profile`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from stream.enforcement import Held, restore_held
from stream.errors import RowCorrupt
from stream.identity import positive_murmur2
from stream.kernel import HashKey
from stream.policy import Policy
from stream.profiles import ProfileTable, RowFormat


class StoredRow(NamedTuple):
    """Bytes from the store, and whose they are."""

    workload: str
    partition: int
    row: bytes


class RowImage(NamedTuple):
    """One open row.

    Shapes: fields of `row` as in `profiles.layout`, without the slot; `held` by rule, kind,
    subject; `tasks` the texts of task hashes that commands name.
    """

    workload: str
    partition: int
    row: Any
    held: Held
    tasks: dict[int, str]

    def operations(self) -> list[int]:
        """Return the hashes of all operations in the row, each once."""
        row = self.row
        found = {int(each) for context in row["contexts"] for each in context["recent"]}
        found |= {int(each) for each in row["marks"]["operation"].ravel()}
        for end in ("source", "target"):
            found |= {int(each) for each in row["transitions"][end]}
        return sorted(found - {0})


def open_row(key: HashKey, policy: Policy, stored: StoredRow) -> RowImage:
    """Return a stored row as the policy's windows and sequences see it.

    Errors: RowCorrupt.
    """
    table = ProfileTable(policy.layout, 1)
    name = stored.workload
    slot = table.admit(key.hash(name), name, positive_murmur2(name.encode()), stored.partition)
    tail = RowFormat(policy.layout, key.id).restore(table, slot, stored.row)
    try:
        held = restore_held(key, tail)
    except (ValueError, RecursionError) as error:
        raise RowCorrupt(f"what is in force on {name} cannot be read: {error}") from error
    tasks = {command.body.subject.task for command in held.values()} - {""}
    by_hash = {key.hash(task): task for task in sorted(tasks)}
    return RowImage(name, stored.partition, table.rows[slot], held, by_hash)
