"""Lines of files: plain, packed, from stdin, broken, and longer than anybody should write."""

import gzip
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stream.cli.failure import NotSo
from stream.cli.reading import read_lines, total_bytes


def test_lines_come_with_their_places(tmp_path: Path) -> None:
    """Lines of all files in order, blank ones counted too, however a line ends."""
    one, two = tmp_path / "one", tmp_path / "two.gz"
    one.write_bytes(b"a\r\n\nb")
    two.write_bytes(gzip.compress(b"c\n"))
    found = [(each.number, each.data) for each in read_lines((str(one), str(two)), 100)]
    assert found == [(1, b"a"), (2, b""), (3, b"b"), (1, b"c")]


def test_gzip_is_known_by_content(tmp_path: Path) -> None:
    """A packed file is read whatever it is called, and a plain one called .gz as well."""
    packed, plain = tmp_path / "events.jsonl", tmp_path / "events.gz"
    packed.write_bytes(gzip.compress(b"packed\n"))
    plain.write_bytes(b"plain\n")
    assert [each.data for each in read_lines((str(packed), str(plain)), 100)] == [
        b"packed",
        b"plain",
    ]


def test_stdin_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is stdin, packed or not; its size is not known beforehand."""
    stdin = io.TextIOWrapper(io.BytesIO(gzip.compress(b"x\ny\n")))
    monkeypatch.setattr("sys.stdin", stdin)
    assert total_bytes(("-",)) is None
    assert [each.data for each in read_lines(("-",), 100)] == [b"x", b"y"]


def test_a_long_line_is_cut_where_it_shows(tmp_path: Path) -> None:
    """A line over the bound comes out one byte longer than it, and the next line is whole."""
    file = tmp_path / "long"
    lines = [b"a" * 1_000, b"b" * 10, b"c" * 11, b"d" * 12, b"e" * 13, b"f"]
    file.write_bytes(b"\n".join(lines))
    found = [each.data for each in read_lines((str(file),), 10)]
    assert found == [line[:11] for line in lines]


def test_progress_ends_at_the_size(tmp_path: Path) -> None:
    """The reader is told how far it is over all files, and at the end everything was read."""
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_bytes(b"x" * 99 + b"\n" + b"y" * (3 << 20) + b"\nz")
    told: list[int] = []
    names = [str(file) for file in files]
    assert sum(1 for _ in read_lines(names, 1 << 23, told.append)) == 6
    assert told == sorted(told)
    assert told[-1] == total_bytes(names)
    assert len(told) > 2


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"a\n" * 10_000)[:-20], b"\x1f\x8bnonsense"],
    ids=["cut", "nonsense"],  # What gzip writes holds the time.
)
def test_a_broken_file_is_told(content: bytes, tmp_path: Path) -> None:
    """What cannot be unpacked to its end is an error with the file's name."""
    file = tmp_path / "broken.gz"
    file.write_bytes(content)
    with pytest.raises(NotSo, match=r"broken\.gz cannot be read"):
        list(read_lines((str(file),), 100))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "packed"])
def test_a_pipe_by_name_is_read_to_its_end(is_packed: bool, tmp_path: Path) -> None:
    """`<(zcat ...)` is no stdin and no file: nobody knows its size, or where in it one is."""
    fifo, lines = piped(tmp_path, is_packed=is_packed)
    told: list[int] = []
    assert total_bytes((fifo,)) is None
    assert [each.data for each in read_lines((fifo,), 100, told.append)] == lines
    assert set(told) <= {0}


def piped(folder: Path, *, is_packed: bool) -> tuple[str, list[bytes]]:
    """A named pipe, and the lines that come out of it once, more than one report's."""
    fifo, lines = folder / "fifo", [b"%098d" % number for number in range(30_000)]
    data = b"\n".join(lines)
    os.mkfifo(fifo)
    feed = fifo.write_bytes, (gzip.compress(data, 1) if is_packed else data,)
    threading.Thread(target=feed[0], args=feed[1], daemon=True).start()
    return str(fifo), lines


@pytest.mark.timeout(60)
def test_a_slow_pipe_is_read_and_written_line_by_line() -> None:
    """`tail -F | enforcer convert | ...`: what one line says does not wait for the next."""
    command = "from stream.cli import main; main()"
    line = b'192.0.2.1 - - [10/Oct/2024:13:55:36 +0000] "GET /a HTTP/1.1" 200 1\n'
    process = subprocess.Popen(
        [sys.executable, "-c", command, "convert", "--format", "nginx", "-", "--out", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            process.stdin.write(line)
            process.stdin.flush()
            assert b"GET /a" in process.stdout.readline()
        process.stdin.close()
    assert process.returncode == 0
