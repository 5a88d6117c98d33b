"""What earlier versions wrote is read to the same values for ever; what newer ones wrote is named.

The golden files are written by `python -m tests.golden.write`, once for each format.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.bus import Record
from stream.errors import ConfigError, NewerFormat
from stream.events import (
    decode_entry,
    decode_letter,
    decode_request,
    decode_value,
    encode,
    encode_entry,
    encode_request,
    encode_request_msgpack,
    fault_of,
)
from stream.gateway import CommandTable, TableSpec
from tests.buses import run, until
from tests.golden import write
from tests.golden.meaning import meaning
from tests.models.owner import NOW_MS
from tests.unit.gateway.doors import Site

FOLDERS = sorted(path for path in Path(write.__file__).parent.iterdir() if path.name[0] == "v")
FILES = [file for folder in FOLDERS for file in sorted(folder.glob("*.jsonl"))]


def lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a golden file."""
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def data_of(kind: str) -> list[bytes]:
    """The bytes of all golden lines of a kind."""
    return [
        bytes.fromhex(each["bytes"])
        for folder in FOLDERS
        for each in lines(folder / f"{kind}.jsonl")
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_golden_line_means_what_it_meant(file: Path) -> None:
    """Rows, records, entries, checkpoints, events, letters and policies: value for value."""
    found = lines(file)
    policies = {
        each["name"]: bytes.fromhex(each["bytes"]).decode()
        for each in lines(file.with_name("policies.jsonl"))
    }
    assert len(found) > 1
    for line in found:
        assert json.loads(json.dumps(meaning(file.stem, line, policies))) == line["means"]


def test_this_version_writes_what_it_wrote() -> None:
    """A change of bytes under an unchanged format number would not be read by what runs now."""
    for kind in write.WRITERS:
        ours = [each["bytes"] for each in write.lines(kind)]
        assert ours == [each["bytes"] for each in lines(FOLDERS[-1] / f"{kind}.jsonl")], kind


def test_golden_files_are_never_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script makes a folder that is not there, and leaves one alone that is."""
    assert write.main(tmp_path / "v9") == 0
    assert {each.name for each in (tmp_path / "v9").iterdir()} == {
        f"{kind}.jsonl" for kind in write.WRITERS
    }
    assert write.main(tmp_path / "v9") == 1
    assert "never written again" in capsys.readouterr().err


def newer(data: bytes) -> list[bytes]:
    """A message as newer versions may write it: another format, another shape, another type."""
    value = msgspec.json.decode(data)
    other = {name: ["elsewhere"] for name in value} | {"format": 10}
    found = [{**value, "format": 9}, other | {"type": value.get("type", "")}]
    if "type" in value:
        found.append({**value, "type": "later-kind"})
    return [msgspec.json.encode(each) for each in found]


@pytest.mark.parametrize(
    ("kind", "decode"),
    [("enforcement", decode_value), ("journal", decode_entry), ("letters", decode_letter)],
)
def test_a_newer_message_is_named(kind: str, decode: Any) -> None:
    """A higher format, or a type nobody knows, is NewerFormat, whatever else has changed."""
    for data in data_of(kind):
        for each in newer(data):
            with pytest.raises(NewerFormat, match="upgrade"):
                decode(each)
    assert issubclass(NewerFormat, ConfigError)


def with_more(data: bytes) -> bytes:
    """A message with a field that this version does not know, at the end and in each object."""

    def grown(value: Any) -> Any:
        if isinstance(value, dict):
            return {**{name: grown(each) for name, each in value.items()}, "later": [1, {"x": 2}]}
        if isinstance(value, list):
            return [grown(each) for each in value]
        return value

    return msgspec.json.encode(grown(msgspec.json.decode(data)))


def test_fields_that_are_added_are_ignored() -> None:
    """Two versions in one group: the older reads past what the newer has added."""
    for data in data_of("enforcement"):
        assert encode(decode_value(with_more(data))) == data
    for data in data_of("journal"):
        assert encode_entry(decode_entry(with_more(data))) == data
    for data in data_of("letters"):
        assert decode_letter(with_more(data)) == decode_letter(data)


def test_an_event_of_a_newer_kind_is_a_dead_letter_that_says_so() -> None:
    """What an older worker does not know is kept with the reason; `dlq retry` is for after."""
    for data in data_of("events"):
        request = decode_request(data)
        later = {**msgspec.to_builtins(request), "kind": "later-kind"}
        for payload in (msgspec.json.encode(later), msgspec.msgpack.encode(later)):
            with pytest.raises(ValueError, match=r"later-kind.*kind") as caught:
                decode_request(payload)
            code, message = fault_of(payload, caught.value)
            assert (code, "later-kind" in message) == ("wrong_type", True)
        assert decode_request(encode_request(request)) == request
        assert decode_request(encode_request_msgpack(request)) == request


def test_a_gateway_counts_what_is_newer() -> None:
    """Records of a newer version are counted by that name, believed by nobody, and stop nothing."""
    table = CommandTable(TableSpec(), 6)
    found = [line for folder in FOLDERS for line in lines(folder / "enforcement.jsonl")]
    count = 0
    for line in found:
        key = bytes.fromhex(line.get("key", b'["heartbeat",3]'.hex()))
        for data in newer(bytes.fromhex(line["bytes"])):
            assert table.apply(Record(0, count, NOW_MS, key, data)) == "foreign_format"
            count += 1
    assert (len(table), table.counts["foreign_format"]) == (0, count)


def test_a_gateway_says_that_it_is_older(caplog: pytest.LogCaptureFixture) -> None:
    """An operator who upgrades workers first reads in the gateway's log what to do next."""
    line = lines(FOLDERS[-1] / "enforcement.jsonl")[0]

    async def story() -> None:
        site = Site()
        await site.make_topics("enforcement", "requests")
        for data in newer(bytes.fromhex(line["bytes"])):
            site.publish(bytes.fromhex(line["key"]), data)
        async with site.gateway() as gateway:
            await until(lambda: gateway.tallies().get("records.foreign_format") == 3)
            await until(lambda: "upgrade this gateway" in caplog.text)

    run(story())
    assert "3 records are of a newer version" in caplog.text
