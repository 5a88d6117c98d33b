"""A slow reader of SPIFFE IDs, one character at a time, straight from the specification."""

from __future__ import annotations

LOWER = "abcdefghijklmnopqrstuvwxyz"
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
OTHER = "0123456789.-_"


def model_canonical_id(text: str) -> str | None:
    """Return the canonical form, or None if the text is no SPIFFE ID."""
    scheme, rest = text[:9], text[9:]
    if len(text) > 2048 or len(scheme) < 9:
        return None
    for character, wanted in zip(scheme, "spiffe://", strict=True):
        if character != wanted and character != wanted.upper():
            return None

    domain = ""
    while rest and rest[0] != "/":
        character, rest = rest[0], rest[1:]
        if character in UPPER:
            character = LOWER[UPPER.index(character)]
        if character not in LOWER + OTHER:
            return None
        domain += character
    if not 1 <= len(domain) <= 255:
        return None

    path = ""
    while rest:
        rest = rest[1:]  # the slash
        segment = ""
        while rest and rest[0] != "/":
            character, rest = rest[0], rest[1:]
            if character not in LOWER + UPPER + OTHER:
                return None
            segment += character
        if segment in ("", ".", ".."):
            return None
        path += "/" + segment
    return "spiffe://" + domain + path


def model_canonical_workload(text: str) -> str | None:
    """Return the canonical form, or None if the text names no workload."""
    canonical = model_canonical_id(text)
    if canonical is None or canonical.count("/") == 2:
        return None
    return canonical
