"""A YAML text as plain values, each with the line it stands on.

Only YAML's events are used; mappings, lists, text, whole numbers, true, false and null are built
from them here, so no constructor of the library ever runs. A word without quotes means what YAML
1.2 says, and less: `off`, `on`, `yes`, `1:30`, `0x1f`, `1.5` and `2026-01-01` are text. YAML 1.1
makes a truth value of `mode: off`, and a number of `1:30`. Tags and merge keys are refused, so is
a key without a value, which would silently stand for "none".

Everything is bounded: the bytes of the text, its depth, the length of a key, and its size with the
aliases written out, so that a few lines cannot unfold into gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import yaml

from stream.errors import PolicyError
from stream.events import POLICY_BYTES_MAX

DEPTH_MAX: Final = 12
KEY_LENGTH_MAX: Final = 64

_WORDS: Final = {"null": None, "~": None, "true": True, "false": False}
_is_whole: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})").fullmatch
_step: Final = re.compile(r"\.([^.\[\]]+)|\[([0-9]+)\]")

_QUOTES: Final = "put text with * & ! % @ ` { } [ ] # or a colon followed by a space in quotes"
# What the library says, and what the author most likely has to do.
_SYNTAX_HINTS: Final = (
    ("\\t", "indent with spaces, not tabs"),
    ("scanning an alias", "a pattern that begins with * needs quotes"),
    ("while scanning a quoted scalar", "a closing quote is missing"),
    ("special characters are not allowed", "write the character as an escape in double quotes"),
    ("expected <block end>", "is the line indented like the ones above it?"),
    ("could not find expected ':'", "a setting is `name: value`, or is the line wrongly indented?"),
    ("", _QUOTES),
)


class Place(NamedTuple):
    """The line where a value stands, from 1, and the places of its parts by name or index."""

    line: int
    parts: Mapping[str | int, Place]


class Document(NamedTuple):
    """The values of a text and their places."""

    file: str
    value: Any
    place: Place

    def line_of(self, path: str) -> int:
        """Return the line of a path such as `$.rules[3].limit`, or of the nearest part above."""
        place = self.place
        for name, index in _step.findall(path):
            part = place.parts.get(name or int(index))
            if part is None:
                break
            place = part
        return place.line

    def fault(self, reason: str, path: str, hint: str = "") -> PolicyError:
        """Return the error that says what is wrong at a path."""
        return PolicyError(f"{self.file}:{self.line_of(path)}: {reason} - at {path}", hint=hint)


class _Anchored(NamedTuple):
    """A value that aliases may repeat, and what each repetition adds to the document's size."""

    value: Any
    place: Place
    size: int


class _Reader:
    """One pass over the events of one text."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._anchors: dict[str, _Anchored] = {}
        self._steps: list[str] = []
        self._size = 0
        self._line = 1

    def read(self) -> Document:
        """Return the only document of the text."""
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            raise self._fault("the text is empty", 1, "start from the default policy")
        value, place = self._value(self._next())
        self._next()
        end = self._next()
        if not isinstance(end, yaml.StreamEndEvent):
            raise self._fault("a second document begins here", _line(end), "a file is one policy")
        return Document(self._file, value, place)

    def _next(self) -> yaml.Event:
        try:
            event = next(self._events)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            parts = [part for part in (error.context, error.problem) if part]
            raise self._syntax_fault(", ".join(parts), line) from error
        except yaml.reader.ReaderError as error:
            line = self._text.count("\n", 0, error.position) + 1
            raise self._syntax_fault(f"{error.reason} (U+{error.character:04X})", line) from error
        except (ValueError, OverflowError) as error:
            # The library lets these out: an escape in double quotes that names no character, and
            # a directive with a number of thousands of digits.
            raise self._syntax_fault("a number is out of range", self._line) from error
        assert event.end_mark is not None
        self._line = event.end_mark.line + 1
        return event

    def _value(self, event: yaml.Event) -> tuple[Any, Place]:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            return self._repeat(event, line)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.tag is not None:
            hint = "text that begins with ! needs quotes"
            raise self._fault(f"`{event.tag[:40]}` is a tag, which no policy needs", line, hint)
        before = self._size
        parts: dict[str | int, Place] = {}
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, line)
        elif len(self._steps) >= DEPTH_MAX:
            raise self._fault(f"values are nested more than {DEPTH_MAX} deep", line)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(parts, line)
        else:
            value = self._mapping(parts, line)
        place = Place(line, parts)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, place, self._size - before)
        return value, place

    def _repeat(self, event: yaml.AliasEvent, line: int) -> tuple[Any, Place]:
        name = str(event.anchor)
        anchored = self._anchors.get(name)
        if anchored is None:
            hint = f'write "*{name[:40]}" in quotes if it is a pattern'
            raise self._fault(f"no value has the anchor &{name[:40]}", line, hint)
        self._grow(anchored.size, line)
        return anchored.value, anchored.place._replace(line=line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> str | int | None:
        text = event.value
        self._grow(len(text) + 1, line)
        if event.implicit[0]:
            if not text:
                hint = "leave the setting out, or write null or []"
                raise self._fault("there is no value here", line, hint)
            if text in _WORDS:
                return _WORDS[text]
            if _is_whole(text):
                return int(text)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._fault("half of a surrogate pair is no character", line)
        return text

    def _sequence(self, parts: dict[str | int, Place], line: int) -> list[Any]:
        self._grow(1, line)
        values: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            self._steps.append(f"[{len(values)}]")
            value, parts[len(values)] = self._value(event)
            self._steps.pop()
            values.append(value)
        return values

    def _mapping(self, parts: dict[str | int, Place], line: int) -> dict[str, Any]:
        self._grow(1, line)
        values: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key, key_line = self._key(event), _line(event)
            if key in values:
                hint = f"it stands already in line {parts[key].line}"
                raise self._fault(f"`{key}` is there twice", key_line, hint)
            self._steps.append(f".{key}")
            values[key], place = self._value(self._next())
            self._steps.pop()
            parts[key] = place._replace(line=key_line)
        return values

    def _key(self, event: yaml.Event) -> str:
        line = _line(event)
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
            raise self._fault("a setting is a word", line, _QUOTES)
        if event.value == "<<":
            hint = "write the settings out; a list may be repeated: `&name [a, b]`, then `*name`"
            raise self._fault("a policy has no merge keys", line, hint)
        if not 1 <= len(event.value) <= KEY_LENGTH_MAX or not event.value.isprintable():
            raise self._fault(f"a setting has 1 to {KEY_LENGTH_MAX} visible characters", line)
        self._grow(len(event.value) + 1, line)
        return event.value

    def _grow(self, size: int, line: int) -> None:
        self._size += size
        if self._size > POLICY_BYTES_MAX:
            reason = f"with its aliases written out the text exceeds {POLICY_BYTES_MAX} characters"
            raise self._fault(reason, line)

    def _fault(self, reason: str, line: int, hint: str = "") -> PolicyError:
        path = "".join(["$", *self._steps])
        return PolicyError(f"{self._file}:{line}: {reason} - at {path}", hint=hint)

    def _syntax_fault(self, reason: str, line: int) -> PolicyError:
        hint = next(hint for fragment, hint in _SYNTAX_HINTS if fragment in reason)
        return self._fault(f"this is not YAML: {reason[:200]}", line, hint)


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def read_document(text: str, file: str) -> Document:
    """Return the values of a YAML text.

    Errors: PolicyError `file:line: reason - at $.path`.
    Cost:   O(len(text)); some seconds for the worst text of the largest size.
    Source: YAML 1.2.2, section 10.2, JSON schema, without its floating-point numbers.
    """
    # One character too many is enough to know; what is far too long need not be encoded.
    if len(text[: POLICY_BYTES_MAX + 1].encode(errors="surrogatepass")) > POLICY_BYTES_MAX:
        raise PolicyError(f"{file}:1: the text has more than {POLICY_BYTES_MAX} bytes - at $")
    return _Reader(text, file).read()
