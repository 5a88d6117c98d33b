"""Learned contexts as sections of a stored row: a record in blocks, all-zero ones left out.

What a section is, `rowformat` says. Records of another layout have another id and are skipped, so
that a record never is read as what it was not written as.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np

from stream.kernel import kernel

from .layout import CONTEXTS
from .learned import LEARNED

KIND_LEARNED: Final = 7
BLOCK: Final = 16  # words
BLOCKS_MAX: Final = 32
LEARNED_WORDS: Final = LEARNED.itemsize // 8
LEARNED_ID: Final = 1 << 32 | zlib.crc32(repr(LEARNED.descr).encode())
LEARNED_STORED_MAX: Final = LEARNED_WORDS + 2 * BLOCKS_MAX  # words, of one context
assert LEARNED_WORDS <= BLOCK * BLOCKS_MAX


@kernel
def copy_used(source: Any, span: Any, name: Any, words: Any, at: int) -> int:
    """Write the section source[span[0]..span[1]) unless it is all zero; return where it ends.

    Shapes: name = (tag, id). Mutates: words.
    """
    start, end = span
    tag, identity = name
    used = False
    for word in range(start, end):
        if source[word] != np.uint64(0):
            used = True
            break
    if not used:
        return at
    words[at] = tag
    words[at + 1] = identity
    for word in range(start, end):
        words[at + 2 + word - start] = source[word]
    return int(at + 2 + end - start)


@kernel
def copy_learned(learned: Any, slot: int, words: Any, at: int) -> int:
    """Write the learned contexts of a row; return where they end.

    Shapes: learned = (places [slot, context], records as words [record, word]). Mutates: words.
    """
    places, records = learned
    for context in range(CONTEXTS):
        place = places[slot, context] - 1
        if place < 0:
            continue
        for block in range((LEARNED_WORDS + BLOCK - 1) // BLOCK):
            start = block * BLOCK
            end = min(start + BLOCK, LEARNED_WORDS)
            tag = KIND_LEARNED | (context * BLOCKS_MAX + block) << 8 | (end - start) << 16
            name = (np.uint64(tag), np.uint64(LEARNED_ID))
            at = int(copy_used(records[place], (start, end), name, words, at))
    return at


@kernel
def take_learned(words: Any, at: int, learned: Any) -> None:
    """Take a block of a learned context, if it is of our layout. Mutates: learned."""
    tag = words[at]
    size = np.int64((tag >> np.uint64(16)) & np.uint64(0xFFFF))
    index = np.int64((tag >> np.uint64(8)) & np.uint64(0xFF))
    context, start = index // BLOCKS_MAX, index % BLOCKS_MAX * BLOCK
    if words[at + 1] == np.uint64(LEARNED_ID) and start + size <= LEARNED_WORDS:
        for word in range(size):
            learned[context, start + word] = words[at + 2 + word]
