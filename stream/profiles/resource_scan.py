"""One resource that is ASCII to a value and its tokens, in kernels; `resources` defines what comes.

A value is copied in lower case into the scratch and everything else happens there, so each of its
bytes is looked at a fixed number of times, and hashed at most twice, or three times where
identifiers are found in it. Nothing is read outside the text; what one event adds to the output is
at most EVENT_VALUES_MAX and EVENT_TOKENS_MAX, for which the caller sees to the room.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.events import RESOURCES_MAX
from stream.kernel import kernel, routine, sip

from .json_scan import word_at, word_of
from .resource_moment import is_digit, is_moment
from .resources import (
    DETAIL,
    DIGITS_MAX,
    ENTITY,
    FOUND,
    FOUND_MAX,
    IBAN_MAX,
    IBAN_MIN,
    IDENTIFIER,
    LONG,
    PLAIN_DIGITS_MAX,
    TOKENS_MAX,
    WORDS_MAX,
)

_COLON: Final = 0x3A
_SLASH: Final = 0x2F
_POINT: Final = 0x2E
_PLUS: Final = 0x2B
_MINUS: Final = 0x2D
_AT: Final = 0x40
_ZERO: Final = 0x30
_UPPER_A, _UPPER_Z = 0x41, 0x5A
_LETTER_S: Final = 0x73
_CASE: Final = 0x20
_HTTP: Final = word_of("http")
_SCHEME: Final = word_of("://")
_WWW: Final = word_of("www.")

# What a byte of a text in lower case is.
_WORDY: Final = 1  # letter or digit
_DIGIT: Final = 2
_WHITE: Final = 4
_PATH: Final = 8
_MAIL: Final = 16
_SPAN: Final = 32  # may stand in an identifier
_MARK: Final = 64  # may, but neither begins nor ends one
_CLASSES: Final = np.zeros(256, np.uint8)
_CLASSES[list(b"abcdefghijklmnopqrstuvwxyz")] = _WORDY | _SPAN
_CLASSES[list(b"0123456789")] = _WORDY | _DIGIT | _SPAN
_CLASSES[list(b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f")] = _WHITE
_CLASSES[list(b"_+-")] = _SPAN | _MARK
_CLASSES[list(b".")] = _PATH | _SPAN | _MARK
_CLASSES[list(b"@")] = _MAIL | _SPAN | _MARK
_CLASSES[list(b"/")] = _PATH


@routine
def read_resource(data: Any, start: int, end: int, hashing: Any, out: Any) -> None:
    """Add what one resource of an event says, behind what its others said.

    Shapes:   data: [byte] of uint8; hashing: the key's two words, and scratch of at least
              end - start bytes; out: values, tokens, and used: how many values and tokens there
              are, how many FOUND ones of this event, which stand apart from its others until
              `close_event`, and where its values begin.
    Requires: 0 <= start <= end <= len(data), all of it ASCII; room for a whole event.
    Mutates:  the scratch, out.
    """
    key, text = hashing[0], hashing[1]
    values, tokens, used = out
    colon = start
    while colon < end and data[colon] != _COLON:
        colon += 1
    first, size = start if colon == end else colon + 1, 0
    name_end = start if colon == end else colon
    for place in range(first, end):
        byte = data[place]
        text[size] = byte + _CASE if _UPPER_A <= byte <= _UPPER_Z else byte
        size += 1
    first, last = _core_of(text, size)
    if first == last:
        return
    first, last, is_amount = _exact(text, first, last)
    value = values[used[0]]
    value["name"] = sip(data, start, name_end, key)
    value["value"] = sip(text, first, last, key)
    words, classes = _add_tokens(text, (first, last), key, value, (tokens, used))
    value["shape"] = DETAIL if is_amount else _shape_of(text, first, last, words, classes)
    used[0] += 1
    if words > 1:
        _add_found(text, (first, last), key, value["name"], out)


@kernel
def close_event(event: Any, out: Any) -> None:
    """Say which values are an event's, and begin the next. Mutates: event, out."""
    values, _, used = out
    start = used[3]
    for number in range(used[2]):
        values[used[0]] = values[start + RESOURCES_MAX + number]
        used[0] += 1
    event["values_count"] = used[0] - start
    event["values_from"] = start if used[0] > start else 0
    used[2] = 0
    used[3] = used[0]


@kernel
def _core_of(text: Any, size: int) -> tuple[int, int]:
    """Return where a value begins and ends without what does not count."""
    first, last = 0, size
    while first < last and _CLASSES[text[first]] & _WHITE:
        first += 1
    while first < last and _CLASSES[text[last - 1]] & _WHITE:
        last -= 1
    if last - first >= 7 and word_at(text, first, 4, last) == _HTTP:
        behind = first + 5 if text[first + 4] == _LETTER_S else first + 4
        if last - behind >= 3 and word_at(text, behind, 3, last) == _SCHEME:
            first = behind + 3
    if last - first >= 4 and word_at(text, first, 4, last) == _WWW:
        first += 4
    while last - first > 1 and text[last - 1] == _SLASH:
        last -= 1
    return first, last


@routine
def _exact(text: Any, first: int, last: int) -> tuple[int, int, bool]:
    """Write a number exactly, in its place; return where it then lies, and if it is an amount."""
    start = first + 1 if text[first] == _PLUS or text[first] == _MINUS else first
    at = start
    while at < last and is_digit(text[at]):
        at += 1
    point = at
    if not 0 < point - start <= DIGITS_MAX:
        return first, last, False
    if point == last:
        if point - start > PLAIN_DIGITS_MAX:
            return first, last, False
    else:
        at += 1
        while at < last and is_digit(text[at]):
            at += 1
        if text[point] != _POINT or at != last or not 0 < last - point - 1 <= DIGITS_MAX:
            return first, last, False
        while text[last - 1] == _ZERO:
            last -= 1
        last = point if last == point + 1 else last
    while start < point - 1 and text[start] == _ZERO:
        start += 1
    is_amount = last > point or point - start <= PLAIN_DIGITS_MAX
    is_nought = last == start + 1 and text[start] == _ZERO
    if text[first] == _MINUS and not is_nought:
        start -= 1
        text[start] = _MINUS
    return start, last, is_amount


@kernel
def _add_tokens(text: Any, span: Any, key: Any, value: Any, out: Any) -> tuple[int, int]:
    """Add the tokens of a value; return how many words it has, and all classes of its bytes.

    Mutates: value, out.
    """
    first, last = span
    tokens, used = out
    count, begun = 0, -1
    classes: Any = 0
    words: Any = 0
    before: Any = _WHITE
    for at in range(first, last):
        kind = np.int64(_CLASSES[text[at]])
        classes |= kind
        words += (before & ~kind & _WHITE) >> 2
        before = kind
        if kind & _WORDY:
            begun = at if begun < 0 else begun
        elif begun >= 0:
            if count < TOKENS_MAX:
                tokens[used[1] + count] = sip(text, begun, at, key)
                count += 1
            begun = -1
    if begun >= 0 and count < TOKENS_MAX:
        tokens[used[1] + count] = sip(text, begun, last, key)
        count += 1
    if count == 0:
        tokens[used[1]] = sip(text, first, last, key)
        count = 1
    value["tokens_from"] = used[1]
    value["tokens_count"] = count
    used[1] += count
    return words, classes


@kernel
def _shape_of(text: Any, first: int, last: int, words: int, classes: int) -> int:
    """Return the shape of a value that is no number by the first rule that fits."""
    if words > WORDS_MAX or is_moment(text, first, last):
        return DETAIL
    if classes & _MAIL:
        return IDENTIFIER
    is_named = classes & _PATH or (classes & _DIGIT and last - first >= LONG)
    return IDENTIFIER if words <= 1 and is_named else ENTITY


@routine
def _add_found(text: Any, span: Any, key: Any, name: Any, out: Any) -> None:
    """Add the identifiers in a value of several words, as far as they fit. Mutates: out."""
    at, last = span
    used = out[2]
    while at < last and used[2] < FOUND_MAX:
        while at < last and not _CLASSES[text[at]] & _SPAN:
            at += 1
        first = at
        classes: Any = 0
        while at < last and _CLASSES[text[at]] & _SPAN:
            classes |= np.int64(_CLASSES[text[at]])
            at += 1
        end = at
        while first < end and _CLASSES[text[first]] & _MARK:
            first += 1
        while first < end and _CLASSES[text[end - 1]] & _MARK:
            end -= 1
        is_mail = False
        if classes & _MAIL:
            for place in range(first, end):
                is_mail = is_mail or text[place] == _AT
        if not is_mail:
            if end - first >= 4 and word_at(text, first, 4, end) == _WWW:
                first += 4
            if classes & _PATH:
                if not _is_domain(text, first, end):
                    continue
            elif not _is_iban(text, first, end):
                continue
        _add_one_found(text, (first, end), key, name, out)


@kernel
def _add_one_found(text: Any, span: Any, key: Any, name: Any, out: Any) -> None:
    """Add one identifier, unless this event said it under the same name. Mutates: out."""
    values, tokens, used = out
    hashed = sip(text, span[0], span[1], key)
    start = used[3] + RESOURCES_MAX
    for number in range(used[2]):
        other = values[start + number]
        if other["value"] == hashed and other["name"] == name:
            return
    value = values[start + used[2]]
    value["name"] = name
    value["value"] = hashed
    value["shape"] = FOUND
    _add_tokens(text, span, key, value, (tokens, used))
    used[2] += 1


@routine
def _is_domain(text: Any, first: int, end: int) -> bool:
    """Tell whether a span is labels of which the last begins with a letter, or an IPv4 address."""
    labels, label, digits, is_address = 1, first, 0, True
    for at in range(first, end):
        if text[at] == _POINT:
            if at == label:
                return False
            is_address = is_address and digits == at - label and digits <= 3
            labels, label, digits = labels + 1, at + 1, 0
        elif is_digit(text[at]):
            digits += 1
    if labels == 1:
        return _is_iban(text, first, end)
    if end == label:
        return False
    kind = _CLASSES[text[label]]
    if end - label > 1 and kind & _WORDY and not kind & _DIGIT:
        return True
    return labels == 4 and is_address and digits == end - label and digits <= 3


@routine
def _is_iban(text: Any, first: int, end: int) -> bool:
    """Tell whether a span looks like an IBAN."""
    if not IBAN_MIN <= end - first <= IBAN_MAX:
        return False
    for at in range(first, end):
        kind = _CLASSES[text[at]]
        is_wrong = at < first + 2 and kind & _DIGIT
        is_wrong = is_wrong or (first + 2 <= at < first + 4 and not kind & _DIGIT)
        if is_wrong or not kind & _WORDY:
            return False
    return True
