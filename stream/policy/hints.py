"""What a message suggests: the nearest word that would have been right, or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

CHOICES_MAX: Final = 12
WORD_LENGTH_MAX: Final = 64


def choice_hint(word: str, choices: Sequence[str]) -> str:
    """Return `did you mean ...?` where a choice comes near, else what there is to choose from.

    Cost: bounded; a longer word than any choice could be comes near none.
    """
    near = get_close_matches(word, choices, 1) if len(word) <= WORD_LENGTH_MAX else []
    if near:
        return f"did you mean `{near[0]}`?"
    more = ", ..." if len(choices) > CHOICES_MAX else ""
    return f"there is {', '.join(choices[:CHOICES_MAX])}{more}" if choices else ""
