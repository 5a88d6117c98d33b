"""Resources as agents, gateways and attackers may write them, from a seeded generator."""

from __future__ import annotations

from random import Random
from typing import Final

PIECES: Final = (
    "bob", "Alice", "x", "T", "z", "www.", "WWW.", "http://", "https://", "HTTPS://", "http:/",
    "com", "evil.example", "a.b", "bob@evil.example", "@", ".", "..", "/", "//", "-", "_", "+", ":",
    ",", " ", "  ", "0", "1", "7", "12", "2024", "05", "16", "2024-05-16", "16.05.2024", "10:20",
    "5/16/2024", "T10:20:30", ".123", "+02:00", "Z", "-0330", "10.0.0.12", "1.2.3.4", "255", "1234",
    "1234567", "12345678", "00", "0.50", "-1", "DE89370400440532013000", "de89", "%20", "a-b", "#",
    "GB29NWBK60161331926819", "(", ")", "<", ">", "'", "=", "?", "&", "*", "notes.txt", "e.g.",
    "\x7f", "~", "{}", "[",
)  # fmt: skip
SPECIAL: Final = ("é", "ß", "İ", "²", "名", "\u00a0", "\u0301", "\n", "\t", '"', "\\", "\x1f", "ａ")


def text(random: Random, *, is_plain: bool) -> str:
    """Return one value: a few pieces, or many with spaces between."""
    pieces = PIECES if is_plain or random.random() < 0.5 else PIECES + SPECIAL
    kind = random.random()
    joint = "" if kind < 0.5 else " " if kind < 0.8 else random.choice(pieces)
    size = random.choice((1, 2, 3, 4, 5, 6, 8, 12, 40))
    return joint.join(random.choice(pieces) for _ in range(size))


def resources(random: Random, *, is_plain: bool = True) -> list[str]:
    """Return the resources of one event, each within its bounds."""
    made = []
    for _ in range(random.choice((0, 1, 1, 2, 2, 3, 8))):
        name = random.choice(("to", "body", "Url", "", "iban"))
        colon = ":" if random.random() < 0.95 else ""
        made.append(f"{name}{colon}{text(random, is_plain=is_plain)}"[:1_024].ljust(3, "x"))
    return made
