"""The laws of a store, over every store there is."""

import asyncio
import inspect
import itertools
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import OwnershipLost, RowCorrupt
from stream.store import (
    BUCKETS,
    NAMES_MAX,
    ROWS_PER_SAVE_MAX,
    SAVE_BYTES_MAX,
    Checkpoint,
    Fence,
    MemoryServer,
    MemoryStore,
    RedisSpec,
    RedisStore,
    Save,
    Store,
    StoreForgot,
)
from tests.valkey import Valkey, running_valkey

ID_LAST = 2**64 - 1
# What a careless store might take for an end, a separator, a number or text.
BYTES = [b"", b"\0", b"\r\n", b"\xff\xfe", b"nil", b"12", bytes(range(256)), b"x" * 5000]
CHECKPOINT = Checkpoint(
    next_offset=7,
    journal_offset=3,
    topic_id="T-äöü",
    era=1,
    check=2**32 - 1,
    version_offset=6,
    version_ordinal=2,
    at_ms=1_700_000_000_000,
)


def save(number: int, nonce: str = "a", **what) -> Save:
    """A save of nothing but what is named."""
    nothing = Save(
        nonce=nonce,
        number=number,
        rows=[],
        names={},
        records={},
        records_gone=[],
        forget=[],
        checkpoint=None,
    )
    return nothing._replace(**what)


class MemoryLab:
    """Stores that share a MemoryServer."""

    def __init__(self) -> None:
        self._server = MemoryServer()

    def store(self) -> Store:
        return MemoryStore(self._server)

    def fresh(self) -> None:
        self._server = MemoryServer()

    def image(self) -> object:
        return self._server.image()

    def restore(self, image: object) -> None:
        self._server.restore(image)

    def spoil_checkpoint(self, partition: int, stored: bytes) -> None:
        self._server.partition(partition).checkpoint = stored


class RedisLab:
    """Stores that share a prefix on a real server."""

    prefixes = itertools.count()

    def __init__(self, server: Valkey) -> None:
        self._client = server.client()
        self._url = server.url
        self.fresh()

    def store(self) -> Store:
        # Small loads, so that splitting them is under test too.
        settings_ = {"kind": "redis", "url": self._url, "prefix": self._prefix, "ids_per_load": 50}
        return RedisStore(msgspec.convert(settings_, RedisSpec))

    def fresh(self) -> None:
        self._prefix = f"t{next(self.prefixes)}"

    def image(self) -> object:
        keys = self._client.keys(f"{self._prefix}:*")
        return {key: self._client.dump(key) for key in keys}

    def restore(self, image: object) -> None:
        for key in self._client.keys(f"{self._prefix}:*"):
            self._client.delete(key)
        for key, dumped in image.items():
            self._client.restore(key, 0, dumped)

    def spoil_checkpoint(self, partition: int, stored: bytes) -> None:
        self._client.hset(f"{self._prefix}:{{{partition}}}:state", "checkpoint", stored)


Lab = MemoryLab | RedisLab


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    if request.param == "memory":
        yield MemoryLab()
        return
    lab = RedisLab(request.getfixturevalue("valkey"))
    yield lab
    lab._client.close()


def play(lab: Lab, scene: Callable[..., Awaitable[None]]) -> None:
    """Run a scene with as many stores as it has parameters, each as another worker has it."""

    async def run() -> None:
        stores = [lab.store() for _ in inspect.signature(scene).parameters]
        try:
            await scene(*stores)
        finally:
            for store in stores:
                await store.stop()

    asyncio.run(run())


async def everything(store: Store, partition: int) -> tuple:
    """All that a partition holds and that a store shows without claiming it."""
    rows = [row for bucket in range(BUCKETS) for row in await store.scan(partition, bucket)]
    return rows, await store.names(partition, range(20)), await store.checkpoint(partition)


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
        claim = await store.claim(3, "a")
        assert claim == (1, 0, None, {})

    play(lab, scene)


def test_load_returns_what_was_saved(lab: Lab) -> None:
    """Rows come back as they were, whatever their bytes and ids, in the order asked for."""
    ids = [0, 1, 255, 256, 2**32, 2**53 + 1, 2**56 - 1, 2**56, 2**63 - 1, 2**63, ID_LAST]
    rows = [(row_id, BYTES[n % len(BYTES)]) for n, row_id in enumerate(ids)]

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
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
        await store.claim(0, "a")
        records = {b"k%d" % n: b"v%d" % n for n in range(3000)}
        names = {n: f"name {n}" for n in range(3000)}
        await store.save(0, save(0, rows=rows, records=records, names=names))
        assert await store.load(0, [row_id for row_id, _ in rows]) == [row for _, row in rows]
        assert await store.names(0, range(4000)) == names
        forget = [row_id for row_id, _ in crowded]
        await store.save(0, save(1, forget=forget, records_gone=list(records)[:2500]))
        assert await store.load(0, forget) == [None] * len(forget)
        assert (await store.claim(0, "b")).records == dict(list(records.items())[2500:])

    play(lab, scene)


def test_scan_enumerates_every_row_once(lab: Lab) -> None:
    """The buckets together hold every row once, each in the bucket of its id, in order."""
    rows = {(n * 0x9E3779B97F4A7C15) % 2**64: b"%d" % n for n in range(2000)}
    rows |= {0: b"first", ID_LAST: b"last"}

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
        await store.save(0, save(0, rows=list(rows.items())))
        seen = []
        for bucket in range(BUCKETS):
            found = await store.scan(0, bucket)
            assert all(row_id >> 56 == bucket for row_id, _ in found)
            seen += found
        assert seen == sorted(rows.items())

    play(lab, scene)


def test_claim_fences_the_older_owner(lab: Lab) -> None:
    """After a claim the older owner can write nothing, and is told that it lost the partition."""

    async def scene(old: Store, new: Store) -> None:
        first = await old.claim(0, "a")
        await old.save(0, save(0, rows=[(1, b"old")], epoch=first.epoch))
        second = await new.claim(0, "b")
        assert second.epoch == first.epoch + 1
        assert second.number == 1
        before = await everything(new, 0)
        with pytest.raises(OwnershipLost) as caught:
            await old.save(0, save(1, rows=[(1, b"zombie")], epoch=first.epoch))
        assert type(caught.value) is OwnershipLost
        assert await everything(new, 0) == before
        assert await new.save(0, save(1, "b", rows=[(1, b"new")], epoch=second.epoch)) == 2
        assert await old.load(0, [1]) == [b"new"]

    play(lab, scene)


def test_claim_repeated_changes_nothing(lab: Lab) -> None:
    """A claim sent again after a lost reply gives the same answer, and epoch."""

    async def scene(store: Store) -> None:
        first = await store.claim(0, "a")
        assert await store.claim(0, "a") == first
        await store.save(0, save(0, rows=[(1, b"row")]))

    play(lab, scene)


def test_older_number_finds_that_the_store_forgot(lab: Lab) -> None:
    """An owner whose acknowledged writes a failover lost is told so, by save and by load."""

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
        await store.save(0, save(0, rows=[(1, b"1")]))
        image = lab.image()
        await store.save(0, save(1, rows=[(1, b"2")]))
        assert await store.load(0, [1], Fence("a", 1, 2)) == [b"2"]
        lab.restore(image)
        with pytest.raises(StoreForgot):
            await store.save(0, save(2, rows=[(1, b"3")]))
        with pytest.raises(StoreForgot):
            await store.load(0, [1], Fence("a", 1, 2))
        assert await store.load(0, [1]) == [b"1"]
        assert await store.load(0, [1], Fence("a", 1, 1)) == [b"1"]

    play(lab, scene)


def test_lost_claim_is_told_from_a_newer_owner(lab: Lab) -> None:
    """Where a failover lost the claim itself, the owner hears StoreForgot: nobody took over."""

    async def scene(old: Store, new: Store) -> None:
        await old.claim(0, "a")
        await old.save(0, save(0, rows=[(1, b"1")]))
        image = lab.image()
        claim = await new.claim(0, "b")
        lab.restore(image)
        fence = Fence("b", claim.epoch, claim.number)
        with pytest.raises(StoreForgot):
            await new.save(0, save(1, "b", rows=[(1, b"2")], epoch=claim.epoch))
        with pytest.raises(StoreForgot):
            await new.load(0, [1], fence)
        lab.restore({} if isinstance(image, dict) else image)
        with pytest.raises(StoreForgot):
            await new.save(0, save(1, "b", rows=[(1, b"2")], epoch=claim.epoch))
        with pytest.raises(StoreForgot):
            await new.load(0, [1], fence)

    play(lab, scene)


def test_load_with_a_fence_refuses_the_older_owner(lab: Lab) -> None:
    """A zombie that loads with its fence learns that it is one; without, anybody may read."""

    async def scene(old: Store, new: Store) -> None:
        first = await old.claim(0, "a")
        await old.save(0, save(0, rows=[(1, b"1")], epoch=first.epoch))
        await new.claim(0, "b")
        with pytest.raises(OwnershipLost) as caught:
            await old.load(0, [1], Fence("a", first.epoch, 1))
        assert type(caught.value) is OwnershipLost
        assert await old.load(0, [1]) == [b"1"]

    play(lab, scene)


def test_repeat_is_recognised_and_applied_once(lab: Lab) -> None:
    """A save sent again after a lost reply returns its number, and nothing is written twice."""
    first = save(0, rows=[(1, b"1")], records={b"r": b"1"}, names={5: "five"})

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
        assert await store.save(0, first) == 1
        assert await store.save(0, first) == 1
        assert await store.save(0, first) == 1
        assert await store.save(0, save(1, rows=[(1, b"2")])) == 2
        before = await everything(store, 0)
        with pytest.raises(OwnershipLost):
            await store.save(0, first)
        assert await everything(store, 0) == before

    play(lab, scene)


@pytest.mark.parametrize(
    "other",
    [
        {"rows": [(1, b"2")]},
        {"rows": [(2, b"1")]},
        {"rows": [(1, b"1")], "checkpoint": CHECKPOINT},
        {"rows": [(1, b"1")], "forget": [2]},
        {"rows": [(1, b"1")], "records_gone": [b"r"]},
    ],
)
def test_another_save_is_no_repeat(lab: Lab, other: dict) -> None:
    """A different save under a number that is taken is refused, and is not a store that forgot."""

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
        await store.save(0, save(0, rows=[(1, b"1")]))
        with pytest.raises(OwnershipLost) as caught:
            await store.save(0, save(0, **other))
        assert type(caught.value) is OwnershipLost
        assert await store.load(0, [1, 2]) == [b"1", None]

    play(lab, scene)


def test_save_without_claim_is_refused(lab: Lab) -> None:
    """Nobody writes to a partition without having claimed it."""

    async def scene(store: Store) -> None:
        with pytest.raises(StoreForgot):
            await store.save(0, save(0, rows=[(1, b"1")]))
        assert await everything(store, 0) == ([], {}, None)

    play(lab, scene)


def test_refused_save_changes_nothing(lab: Lab) -> None:
    """All of a save is written or nothing of it, whichever way it is refused."""
    all_of_it = {
        "rows": [(1, b"2"), (ID_LAST, b"2")],
        "names": {1: "one", 2: "two"},
        "records": {b"r": b"2"},
        "records_gone": [b"gone"],
        "forget": [3],
        "checkpoint": CHECKPOINT,
    }

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
        rows = [(1, b"1"), (3, b"3")]
        await store.save(0, save(0, rows=rows, records={b"gone": b"1"}))
        before = await everything(store, 0)
        for refused in (save(3, **all_of_it), save(0, **all_of_it), save(1, "x", **all_of_it)):
            with pytest.raises(OwnershipLost):
                await store.save(0, refused)
            assert await everything(store, 0) == before
        assert await store.save(0, save(1, **all_of_it)) == 2
        after = [(1, b"2"), (ID_LAST, b"2")], {1: "one", 2: "two"}, CHECKPOINT
        assert await everything(store, 0) == after
        assert (await store.claim(0, "b")).records == {b"r": b"2"}

    play(lab, scene)


def test_records_of_a_claim_are_those_saved_minus_those_gone(lab: Lab) -> None:
    """A new owner finds every record that was saved and not removed, byte for byte."""

    async def scene(old: Store, new: Store) -> None:
        await old.claim(0, "a")
        records = {key: value for key in BYTES for value in BYTES}
        await old.save(0, save(0, records=records))
        await old.save(0, save(1, records_gone=[b"nil", b"never there"], records={b"12": b"new"}))
        expected = {**records, b"12": b"new"}
        del expected[b"nil"]
        assert (await new.claim(0, "b")).records == expected

    play(lab, scene)


def test_what_is_written_outlives_what_is_forgotten(lab: Lab) -> None:
    """A save that forgets and writes the same row or record leaves it written."""

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
        both = save(0, rows=[(1, b"1")], forget=[1], records={b"r": b"1"}, records_gone=[b"r"])
        await store.save(0, both)
        assert await store.load(0, [1]) == [b"1"]
        assert (await store.claim(0, "b")).records == {b"r": b"1"}

    play(lab, scene)


def test_forgotten_rows_are_gone(lab: Lab) -> None:
    """A row that is forgotten is not there, for load and scan; an unknown one does no harm."""

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
        await store.save(0, save(0, rows=[(0, b"0"), (ID_LAST, b"1")]))
        await store.save(0, save(1, forget=[0, 17]))
        assert await store.load(0, [0, ID_LAST]) == [None, b"1"]
        assert await everything(store, 0) == ([(ID_LAST, b"1")], {}, None)

    play(lab, scene)


def test_checkpoint_stays_until_another_is_saved(lab: Lab) -> None:
    """A save without a checkpoint leaves the last one; a new owner gets it."""

    async def scene(old: Store, new: Store) -> None:
        await old.claim(0, "a")
        await old.save(0, save(0, checkpoint=CHECKPOINT))
        await old.save(0, save(1, rows=[(1, b"1")]))
        assert await new.checkpoint(0) == CHECKPOINT
        assert (await new.claim(0, "b")).checkpoint == CHECKPOINT

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
        msgspec.json.encode(CHECKPOINT) + b" " * 5000,
        msgspec.json.encode(CHECKPOINT).replace(b"3,", b"99999999999999999999999,"),
    ],
)
def test_spoiled_checkpoint_is_named(lab: Lab, stored: bytes) -> None:
    """A checkpoint that we cannot have written is RowCorrupt, and says of which partition."""

    async def scene(store: Store) -> None:
        await store.claim(4, "a")
        await store.save(4, save(0, checkpoint=CHECKPOINT))
        lab.spoil_checkpoint(4, stored)
        with pytest.raises(RowCorrupt, match="partition 4"):
            await store.checkpoint(4)
        with pytest.raises(RowCorrupt, match="partition 4"):
            await store.claim(4, "b")

    play(lab, scene)


def test_names_are_kept(lab: Lab) -> None:
    """A name comes back as it was, with what attackers write; the first text of a hash stays."""
    names = {0: "GET /a", 1: "", 2: "tool:\x00\x1b[2J\r\n", 3: "ünïcödé \U0001f600", ID_LAST: "x"}

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
        await store.save(0, save(0, names=names))
        await store.save(0, save(1, names={0: "POST /b", 4: "four"}))
        assert await store.names(0, [*names, 4, 5]) == {**names, 4: "four"}
        assert store.names_refused == 0

    play(lab, scene)


def test_names_are_bounded(lab: Lab) -> None:
    """Beyond NAMES_MAX new names are left out and counted; known ones and the rows are saved."""

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
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
            await one.claim(partition, "a")
            await one.save(partition, save(0, rows=[(1, b"%d" % partition)], names={1: "n"}))
        await two.claim(11, "b")
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
        await store.claim(0, "a")
        with pytest.raises(AssertionError):
            await store.save(0, save(0, **wrong))
        assert await everything(store, 0) == ([], {}, None)

    play(lab, scene)


def test_owner_may_load_while_it_saves(lab: Lab) -> None:
    """Loads with the last acknowledged write as fence succeed beside a save that is under way."""

    async def scene(store: Store) -> None:
        await store.claim(0, "a")
        for number in range(20):
            what = save(number, rows=[(n, b"%d" % number) for n in range(300)])
            loads = [store.load(0, range(300), Fence("a", 1, number)) for _ in range(3)]
            done = await asyncio.gather(store.save(0, what), *loads)
            assert done[0] == number + 1

    play(lab, scene)


few = st.integers(0, 3)
ids = st.sampled_from([0, 1, 2**56, ID_LAST])
keys = st.sampled_from([b"", b"k"])
values = st.binary(max_size=2)
whats = st.fixed_dictionaries(
    {},
    optional={
        "rows": st.lists(st.tuples(ids, values), max_size=3),
        "names": st.dictionaries(ids, st.text(max_size=2), max_size=2),
        "records": st.dictionaries(keys, values, max_size=2),
        "records_gone": st.lists(keys, max_size=2),
        "forget": st.lists(ids, max_size=2),
        "checkpoint": st.just(CHECKPOINT),
    },
)
nonces = st.sampled_from("ab")
deeds = st.one_of(
    st.tuples(st.just("claim"), nonces),
    st.tuples(st.just("save"), nonces, few, few, whats),
    st.tuples(st.just("next"), nonces, whats),
    st.tuples(st.just("repeat")),
    st.tuples(st.just("load"), nonces, few, few),
    st.tuples(st.just("image")),
    st.tuples(st.just("restore")),
)


async def history(lab: Lab, store: Store, script: list[tuple]) -> list:
    """Do what the script says; return every answer and error, and what is stored at the end."""
    seen, images, last, number = [], [lab.image()], save(0), 0
    for deed, *what in script:
        try:
            if deed == "claim":
                claim = await store.claim(0, *what)
                number = claim.number
                seen.append(claim)
            elif deed == "load":
                seen.append(await store.load(0, [0, 1, ID_LAST], Fence(*what)))
            elif deed == "image":
                images.append(lab.image())
            elif deed == "restore":
                lab.restore(images[-1])
            else:
                if deed == "next":
                    last = save(number, what[0], **what[1])
                elif deed == "save":
                    last = save(what[2], what[0], epoch=what[1], **what[3])
                number = await store.save(0, last)
                seen.append(number)
        except OwnershipLost as error:
            seen.append((type(error), str(error)))
    return [*seen, await everything(store, 0), await store.claim(0, "end")]


@pytest.mark.integration
@settings(max_examples=150)
@given(script=st.lists(deeds, max_size=25))
def test_memory_and_redis_tell_the_same_story(valkey: Valkey, script: list[tuple]) -> None:
    """Whatever workers and failovers do, both stores give the same answers, errors and contents."""
    told = []
    labs = [MemoryLab(), RedisLab(valkey)]
    for each in labs:

        async def run(each: Lab = each) -> None:
            store = each.store()
            try:
                told.append(await history(each, store, script))
            finally:
                await store.stop()

        asyncio.run(run())
    labs[1]._client.close()
    assert told[0] == told[1]
