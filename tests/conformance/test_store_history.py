"""Random histories of workers and failovers, told by both stores: they must say the same."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import OwnershipLost
from stream.local import Addresses
from stream.store import Fence, Store
from tests.stores import (
    CHECKPOINT,
    ID_LAST,
    Lab,
    MemoryLab,
    RedisLab,
    everything,
    play,
    save,
    take_over,
)

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
    st.tuples(st.just("claim"), nonces, few),
    st.tuples(st.just("save"), nonces, few, few, whats),
    st.tuples(st.just("next"), nonces, whats),
    st.tuples(st.just("repeat")),
    st.tuples(st.just("load"), nonces, few, few),
    st.tuples(st.just("verify"), nonces, few, few),
    st.tuples(st.just("image")),
    st.tuples(st.just("restore")),
)


async def history(lab: Lab, store: Store, script: list[tuple]) -> list:
    """Do what the script says; return every answer and error, and what is stored at the end."""
    seen, images, last, number = [], [lab.image()], save(0), 0
    for deed, *what in script:
        try:
            if deed == "claim":
                claim = await take_over(store, 0, *what)
                number = claim.number
                seen.append(claim)
            elif deed == "load":
                seen.append(await store.load(0, [0, 1, ID_LAST], Fence(*what)))
            elif deed == "verify":
                seen.append(await store.load(0, [], Fence(*what)))
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
    return [*seen, await everything(store, 0), await take_over(store, 0, "end")]


@settings(max_examples=settings.default.max_examples * 5 // 2)
@given(script=st.lists(deeds, max_size=25))
def test_memory_and_redis_tell_the_same_story(servers: Addresses, script: list[tuple]) -> None:
    """Whatever workers and failovers do, both stores give the same answers, errors and contents."""
    told = []
    labs = [MemoryLab(), RedisLab(servers.redis)]
    for each in labs:

        async def scene(store: Store, each: Lab = each) -> None:
            told.append(await history(each, store, script))

        play(each, scene)
    labs[1].close()
    assert told[0] == told[1]
