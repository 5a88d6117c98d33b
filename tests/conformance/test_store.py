"""What a store keeps: the laws of its contents, over every store there is."""

import msgspec
import pytest

from stream.errors import NewerFormat, RowCorrupt
from stream.store import BUCKETS, NAMES_MAX, ROWS_PER_SAVE_MAX, SAVE_BYTES_MAX, Store
from tests.stores import CHECKPOINT, ID_LAST, Lab, everything, play, save, take_over

# What a careless store might take for an end, a separator, a number or text.
BYTES = [b"", b"\0", b"\r\n", b"\xff\xfe", b"nil", b"12", bytes(range(256)), b"x" * 5000]


def test_facts_say_that_nothing_is_evicted(lab: Lab) -> None:
    """A store that starts says what it is, and never evicts."""

    async def scene(store: Store) -> None:
        facts = await store.start()
        assert facts.maxmemory_policy == "noeviction"
        assert facts.server
        assert facts.version
        assert facts.mode == "standalone"

    play(lab, scene)


def test_new_partition_is_empty(lab: Lab) -> None:
    """A partition that nobody ever owned has nothing in it, and its first claim is epoch 1."""

    async def scene(store: Store) -> None:
        assert await everything(store, 3) == ([], {}, None)
        assert await store.load(3, [0, 1, ID_LAST]) == [None, None, None]
        assert await store.load(3, []) == []
        assert await store.names(3, []) == {}
        claim = await take_over(store, 3, "a")
        assert claim == (1, 0, None, {}, "")

    play(lab, scene)


def test_load_returns_what_was_saved(lab: Lab) -> None:
    """Rows come back as they were, whatever their bytes and ids, in the order asked for."""
    ids = [0, 1, 255, 256, 2**32, 2**53 + 1, 2**56 - 1, 2**56, 2**63 - 1, 2**63, ID_LAST]
    rows = [(row_id, BYTES[n % len(BYTES)]) for n, row_id in enumerate(ids)]

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        assert await store.save(0, save(0, rows=rows)) == 1
        asked = [*reversed(ids), 2, ids[3], ids[3]]
        stored = dict(rows)
        assert await store.load(0, asked) == [stored.get(row_id) for row_id in asked]

    play(lab, scene)


def test_large_save_and_load(lab: Lab) -> None:
    """The largest save allowed comes back whole, with many rows in one bucket and few in others."""
    crowded = [(n * 7 + (5 << 56), b"%d" % n) for n in range(ROWS_PER_SAVE_MAX - 2000)]
    spread = [((n * 0x9E3779B97F4A7C15) % 2**64, b"s%d" % n) for n in range(2000)]
    rows = crowded + spread

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        records = {b"k%d" % n: b"v%d" % n for n in range(3000)}
        names = {n: f"name {n}" for n in range(3000)}
        await store.save(0, save(0, rows=rows, records=records, names=names))
        assert await store.load(0, [row_id for row_id, _ in rows]) == [row for _, row in rows]
        assert await store.names(0, range(4000)) == names
        forget = [row_id for row_id, _ in crowded]
        await store.save(0, save(1, forget=forget, records_gone=list(records)[:2500]))
        assert await store.load(0, forget) == [None] * len(forget)
        assert (await take_over(store, 0, "b")).records == dict(list(records.items())[2500:])

    play(lab, scene)


def test_scan_enumerates_every_row_once(lab: Lab) -> None:
    """The buckets together hold every row once, each in the bucket of its id, in order."""
    rows = {(n * 0x9E3779B97F4A7C15) % 2**64: b"%d" % n for n in range(2000)}
    rows |= {0: b"first", ID_LAST: b"last"}

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        await store.save(0, save(0, rows=list(rows.items())))
        seen = []
        for bucket in range(BUCKETS):
            found = await store.scan(0, bucket)
            assert all(row_id >> 56 == bucket for row_id, _ in found)
            seen += found
        assert seen == sorted(rows.items())

    play(lab, scene)


def test_records_of_a_claim_are_those_saved_minus_those_gone(lab: Lab) -> None:
    """A new owner finds every record that was saved and not removed, byte for byte."""

    async def scene(old: Store, new: Store) -> None:
        await take_over(old, 0, "a")
        records = {key: value for key in BYTES for value in BYTES}
        await old.save(0, save(0, records=records))
        await old.save(0, save(1, records_gone=[b"nil", b"never there"], records={b"12": b"new"}))
        expected = {**records, b"12": b"new"}
        del expected[b"nil"]
        assert (await take_over(new, 0, "b")).records == expected

    play(lab, scene)


def test_what_is_written_outlives_what_is_forgotten(lab: Lab) -> None:
    """A save that forgets and writes the same row or record leaves it written."""

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        both = save(0, rows=[(1, b"1")], forget=[1], records={b"r": b"1"}, records_gone=[b"r"])
        await store.save(0, both)
        assert await store.load(0, [1]) == [b"1"]
        assert (await take_over(store, 0, "b")).records == {b"r": b"1"}

    play(lab, scene)


def test_forgotten_rows_are_gone(lab: Lab) -> None:
    """A row that is forgotten is not there, for load and scan; an unknown one does no harm."""

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        await store.save(0, save(0, rows=[(0, b"0"), (ID_LAST, b"1")]))
        await store.save(0, save(1, forget=[0, 17]))
        assert await store.load(0, [0, ID_LAST]) == [None, b"1"]
        assert await everything(store, 0) == ([(ID_LAST, b"1")], {}, None)

    play(lab, scene)


def test_checkpoint_stays_until_another_is_saved(lab: Lab) -> None:
    """A save without a checkpoint leaves the last one; a new owner gets it."""

    async def scene(old: Store, new: Store) -> None:
        await take_over(old, 0, "a")
        await old.save(0, save(0, checkpoint=CHECKPOINT))
        await old.save(0, save(1, rows=[(1, b"1")]))
        assert await new.checkpoint(0) == CHECKPOINT
        assert (await take_over(new, 0, "b")).checkpoint == CHECKPOINT

    play(lab, scene)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 2000,
        b"null",
        b"{}",
        msgspec.json.encode(msgspec.structs.replace(CHECKPOINT, era=2**64)),
        msgspec.json.encode(CHECKPOINT) + b" " * 2_000_000,
        msgspec.json.encode(CHECKPOINT).replace(b"3,", b"99999999999999999999999,"),
    ],
)
def test_spoiled_checkpoint_is_named(lab: Lab, stored: bytes) -> None:
    """A checkpoint that we cannot have written is RowCorrupt; a claim does without, and says so."""

    async def scene(store: Store) -> None:
        await take_over(store, 4, "a")
        await store.save(4, save(0, checkpoint=CHECKPOINT))
        lab.spoil_checkpoint(4, stored)
        with pytest.raises(RowCorrupt, match="partition 4"):
            await store.checkpoint(4)
        claim = await take_over(store, 4, "b")
        assert (claim.number, claim.checkpoint) == (1, None)
        assert "partition 4" in claim.damage

    play(lab, scene)


NEWER = [
    b'{"format":3}',
    b'{"format":3,"next_offset":"elsewhere"}',
    msgspec.json.encode(msgspec.structs.replace(CHECKPOINT, format=7)),
]


@pytest.mark.parametrize("stored", NEWER)
def test_a_newer_checkpoint_is_left_alone(lab: Lab, stored: bytes) -> None:
    """What a newer version wrote is named as such, and is there afterwards as it was."""

    async def scene(store: Store) -> None:
        await take_over(store, 4, "a")
        await store.save(4, save(0, checkpoint=CHECKPOINT))
        lab.spoil_checkpoint(4, stored)
        for _ in range(2):
            with pytest.raises(NewerFormat, match=r"partition 4 has format .* upgrade"):
                await store.checkpoint(4)
            with pytest.raises(NewerFormat, match=r"partition 4 has format .* upgrade"):
                await take_over(store, 4, "b")

    play(lab, scene)


def test_names_are_kept(lab: Lab) -> None:
    """A name comes back as it was, with what attackers write; the first text of a hash stays."""
    names = {0: "GET /a", 1: "", 2: "tool:\x00\x1b[2J\r\n", 3: "ünïcödé \U0001f600", ID_LAST: "x"}

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        await store.save(0, save(0, names=names))
        await store.save(0, save(1, names={0: "POST /b", 4: "four"}))
        assert await store.names(0, [*names, 4, 5]) == {**names, 4: "four"}
        assert store.names_refused == 0

    play(lab, scene)


def test_names_are_bounded(lab: Lab) -> None:
    """Beyond NAMES_MAX new names are left out and counted; known ones and the rows are saved."""

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        await store.save(0, save(0, names=dict.fromkeys(range(NAMES_MAX - 1), "n")))
        late = {0: "known", NAMES_MAX: "fits", NAMES_MAX + 1: "not", NAMES_MAX + 2: "not"}
        last = save(1, names=late, rows=[(1, b"1")])
        assert await store.save(0, last) == 2
        assert store.names_refused == 2
        assert await store.save(0, last) == 2
        assert store.names_refused == 2
        assert await store.names(0, list(late)) == {0: "n", NAMES_MAX: "fits"}
        assert await store.load(0, [1]) == [b"1"]

    play(lab, scene)


def test_partitions_are_independent(lab: Lab) -> None:
    """What happens to one partition is not seen in another, whatever their numbers."""

    async def scene(one: Store, two: Store) -> None:
        numbers = (1, 11, 111)
        for partition in numbers:
            await take_over(one, partition, "a")
            await one.save(partition, save(0, rows=[(1, b"%d" % partition)], names={1: "n"}))
        await take_over(two, 11, "b")
        assert await one.save(1, save(1, forget=[1], checkpoint=CHECKPOINT)) == 2
        assert await one.load(1, [1]) == [None]
        assert await one.load(11, [1]) == [b"11"]
        assert await one.load(111, [1]) == [b"111"]
        assert await one.checkpoint(11) is None
        assert await one.save(111, save(1, rows=[(1, b"new")])) == 2

    play(lab, scene)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": [(n, b"") for n in range(ROWS_PER_SAVE_MAX)], "forget": [1]},
        {"rows": [(1, bytes(SAVE_BYTES_MAX + 1))]},
        {"rows": [(2**64, b"")]},
        {"forget": [-1]},
        {"names": {2**64: "n"}},
        {"nonce": ""},
    ],
)
def test_impossible_save_crashes(lab: Lab, wrong: dict) -> None:
    """A save that no caller may make is our own bug, found before anything is sent."""

    async def scene(store: Store) -> None:
        await take_over(store, 0, "a")
        with pytest.raises(AssertionError):
            await store.save(0, save(0, **wrong))
        assert await everything(store, 0) == ([], {}, None)

    play(lab, scene)
