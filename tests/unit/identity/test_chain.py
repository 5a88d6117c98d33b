"""Delegation chains."""

from __future__ import annotations

import pytest

from stream.identity import ACTORS_MAX, IdentityFault, InvalidIdentity, canonical_actors, root


def test_each_actor_becomes_canonical_in_its_place() -> None:
    """The chain keeps its order and its repetitions, root first."""
    actors = ["SPIFFE://TD/root", "spiffe://td/planner", "spiffe://td/root"]
    assert canonical_actors(actors) == (
        "spiffe://td/root",
        "spiffe://td/planner",
        "spiffe://td/root",
    )
    assert canonical_actors([]) == ()


def test_a_chain_has_at_most_sixteen_actors() -> None:
    """Depth is bounded, and judged before the actors are read."""
    assert len(canonical_actors(["spiffe://td/a"] * ACTORS_MAX)) == 16
    with pytest.raises(InvalidIdentity) as caught:
        canonical_actors(["not an id"] * (ACTORS_MAX + 1))
    assert caught.value.why is IdentityFault.CHAIN_TOO_DEEP


@pytest.mark.parametrize(
    ("actor", "why"),
    [
        ("alice@example.com", IdentityFault.SCHEME),
        ("spiffe://td", IdentityFault.NO_PATH),
        ("spiffe://td/a/", IdentityFault.TRAILING_SLASH),
    ],
)
def test_a_bad_actor_is_named_by_its_position(actor: str, why: IdentityFault) -> None:
    """A person or a trust domain is no actor; the error says which one it was."""
    with pytest.raises(InvalidIdentity, match=r"^actor 1: ") as caught:
        canonical_actors(["spiffe://td/root", actor])
    assert caught.value.why is why


def test_the_root_started_the_call() -> None:
    """The root is the first actor; a call without a chain was started by its caller."""
    assert root(("spiffe://td/root", "spiffe://td/mid"), "spiffe://td/leaf") == "spiffe://td/root"
    assert root((), "spiffe://td/leaf") == "spiffe://td/leaf"
