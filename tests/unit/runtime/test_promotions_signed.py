"""Which baseline is wanted: with keys only an operator's word counts, and no older one."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

from stream.baselines import version_of
from stream.bus import MemoryPublisher, MemoryReader
from stream.runtime import Library, Promoted
from stream.signing import Signer
from tests.estate import TOPICS, Estate
from tests.signed import PLACE, signer, trust
from tests.unit.runtime.test_baselines import ONE, POLICY, TWO

KEY = b'["promoted"]'
THERE = PLACE[0], TOPICS.baselines
GOOD = Promoted(version=version_of(ONE), at_ms=10, by="op", reason="reviewed")
BAD = Promoted(version=version_of(TWO), at_ms=20, by="op", reason="mine")


def said(promoted: Promoted, by: Signer | None) -> bytes:
    """The value of a record, as who has a key writes it."""
    value = msgspec.json.encode(promoted)
    return value if by is None else by.sign(KEY, value)


FORGED = said(BAD, signer("operator", place=THERE)).replace(b'"mine"', b'"ours"')
ATTACKS = {
    "unsigned": said(BAD, None),
    "wrong_role": said(BAD, signer("worker", place=THERE)),
    "forged": FORGED,
    "unknown_key": said(BAD, signer("operator", place=THERE, kid="stranger")),
    "older": said(msgspec.structs.replace(BAD, at_ms=9), signer("operator", place=THERE)),
    "unexplained": None,
}


@pytest.mark.parametrize("is_strict", [True, False])
@pytest.mark.parametrize("why", ATTACKS)
def test_only_an_operators_word_promotes(why: str, *, is_strict: bool) -> None:
    """What is not one is counted by why, and refused unless keys only warn."""

    async def told() -> None:
        estate = Estate(POLICY)
        await estate.topics()
        publisher, refused = MemoryPublisher(estate.log), Counter[str]()
        library = Library(
            MemoryReader(estate.log),
            TOPICS.baselines,
            trust(is_strict=is_strict),
            lambda fault: refused.update([fault]),
        )
        await Library(MemoryReader(estate.log), TOPICS.baselines).promote(
            publisher, GOOD, signer("operator", place=THERE)
        )
        await library.look()
        assert (library.promoted, refused) == (GOOD, Counter())
        await (await publisher.send(TOPICS.baselines, KEY, ATTACKS[why], 0))
        await library.look()
        assert refused == Counter([why])
        assert (library.promoted == GOOD) == is_strict

    asyncio.run(told())


def test_a_signature_for_another_topic_promotes_nothing() -> None:
    """What an operator signed for the topic of commands says nothing here."""

    async def told() -> None:
        estate = Estate(POLICY)
        await estate.topics()
        publisher, refused = MemoryPublisher(estate.log), Counter[str]()
        library = Library(
            MemoryReader(estate.log), TOPICS.baselines, trust(), lambda why: refused.update([why])
        )
        value = said(GOOD, signer("operator"))
        await (await publisher.send(TOPICS.baselines, KEY, value, 0))
        await library.look()
        assert (library.promoted, refused) == (None, Counter(["forged"]))

    asyncio.run(told())
