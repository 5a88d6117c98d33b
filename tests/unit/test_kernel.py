"""The keyed hash and the arithmetic below it, compiled and in plain Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.identity import positive_murmur2
from stream.kernel import (
    CACHES_MAX,
    KERNEL_ROOMS,
    HashKey,
    arithmetic,
    cache_folder,
    compiling,
    hashing,
    is_compiled,
    load64,
    minus64,
    mix64,
    murmur,
    prefetch_entry,
    prefetch_line,
    rotate64,
    sip,
    zeros64,
)

PACKAGE = Path(compiling.__file__).parent.parent
# Outputs of the authors' reference implementation (github.com/veorq/SipHash, cROUNDS=1, dROUNDS=3)
# for the key 00 01 .. 0f and the message 00 01 .. of each length.
REFERENCE_KEY = HashKey(bytes(range(16)))
VECTORS = {
    0: 0xABAC0158050FC4DC,
    1: 0xC9F49BF37D57CA93,
    7: 0xD3927D989BB11140,
    8: 0x369095118D299A8E,
    9: 0x25A48EB36C063DE4,
    15: 0xD320D86D2A519956,
    16: 0xCC4FDD1A7D908B66,
    17: 0x9CF2689063DBD80C,
    31: 0x2370DD1F8C21D1BC,
    63: 0x9D199062B7BBB3A8,
}
words = st.integers(0, (1 << 64) - 1)


@pytest.mark.parametrize("length", VECTORS)
def test_the_hash_is_siphash_1_3(length: int) -> None:
    """Both ways give what the reference implementation gives."""
    message = bytes(range(length))
    assert hashing._siphash_python(message, REFERENCE_KEY._words) == VECTORS[length]
    assert REFERENCE_KEY.hash(message.decode("ascii")) == VECTORS[length]


def test_the_hash_is_that_of_cpython() -> None:
    """An independent SipHash-1-3, under the key of zeros that PYTHONHASHSEED=0 gives, agrees."""
    if sys.hash_info.algorithm != "siphash13":
        pytest.skip(f"this Python hashes bytes with {sys.hash_info.algorithm}")
    texts = ["a", "spiffe://td/agents/a", "tool:send_mail", "ä€🙂", "x" * 255, "y" * 256, "z" * 999]
    program = "import json, sys; print([hash(each.encode()) for each in json.load(sys.stdin)])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(texts),
        env={"PYTHONHASHSEED": "0"},
        capture_output=True,
        check=True,
        text=True,
    )
    expected = [each & (1 << 64) - 1 for each in json.loads(done.stdout)]
    assert HashKey(bytes(16)).hash_all(texts) == expected


@given(st.binary(min_size=16, max_size=16), st.lists(st.text(max_size=30), max_size=6))
def test_compiled_and_plain_agree(secret: bytes, texts: list[str]) -> None:
    """Any texts under any key, hashed together or one by one, in the kernel or in Python."""
    key = HashKey(secret)
    plain = [hashing._siphash_python(each.encode(), key._words) or 1 for each in texts]
    assert key.hash_all(texts) == plain
    assert [key.hash(each) for each in texts] == plain
    if is_compiled():
        data = np.frombuffer("".join(texts).encode(), np.uint8)
        ends = np.cumsum([len(each.encode()) for each in texts], dtype=np.int64)
        out = np.empty(len(texts), np.uint64)
        hashing._sip_all(data, ends, key.words, out)
        assert out.tolist() == plain


def test_no_text_hashes_to_nought(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nought means none everywhere, so a text that would get it gets one."""
    monkeypatch.setattr(hashing, "is_compiled", lambda: False)
    monkeypatch.setattr(hashing, "_siphash_python", lambda data, key: 0)
    assert HashKey(bytes(16)).hash_all(["a", "b"]) == [1, 1]


def test_a_key_has_sixteen_bytes_and_shows_none() -> None:
    """The secret is nowhere in what a log might print; the id tells keys apart."""
    with pytest.raises(ValueError, match="16 bytes, it has 15"):
        HashKey(bytes(15))
    key = HashKey(b"a secret, 16 by.")
    assert repr(key) == f"HashKey(id={key.id})"
    assert key.id == 2_064, "rows carry the id: how it is made never changes"
    assert 0 <= key.id < 1 << 16
    assert key.id != HashKey(bytes(16)).id


def test_mixing_is_that_of_splitmix64() -> None:
    """With nothing to mix in, it is the finaliser: the generator's first outputs for seed 0."""
    step, outputs = 0x9E3779B97F4A7C15, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    for number, output in enumerate(outputs, 1):
        state = step * number & (1 << 64) - 1
        assert int(mix64(np.uint64(state), np.uint64(0))) == output


@given(words, words)
@example(0, (1 << 64) - 1)
def test_mixing_is_the_same_both_ways(first: int, second: int) -> None:
    """What kernels compute is what plain integers say; order matters, but for complements."""
    plain = arithmetic._mix64_python(np.uint64(first), np.uint64(second))
    mixed = mix64(np.uint64(first), np.uint64(second))
    assert int(mixed) == int(plain)
    back = mix64(np.uint64(second), np.uint64(first))
    # Equal where the difference is its own rotation by 23, coprime to 64: all bits or none.
    assert (int(back) == int(mixed)) == (first ^ second in (0, (1 << 64) - 1))


@given(words, st.integers(1, 63))
def test_rotation_is_the_same_both_ways(value: int, left: int) -> None:
    """Bits that leave above come in below."""
    expected = (value << left | value >> 64 - left) & (1 << 64) - 1
    assert int(rotate64(np.uint64(value), np.uint64(left))) == expected
    assert arithmetic.rotate(value, left) == expected


def test_every_kernel_is_in_the_cache_key() -> None:
    """A file that compiles something stands in a room whose sources name the cache folder."""
    users = [
        file.relative_to(PACKAGE)
        for file in PACKAGE.rglob("*.py")
        if re.search(r"^@kernel$|\bkernel\(", file.read_text(), re.MULTILINE)
    ]
    assert len(users) > 5
    for file in users:
        assert file.parts[0] in KERNEL_ROOMS, file
        assert len(file.parts) <= 2, f"{file}: only the files of a room itself are read"


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, which now name the cache folder, and a cache of our own."""
    copy = tmp_path / "stream"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiling, "__file__", str(copy / "kernel" / "compiling.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return copy


def test_the_cache_folder_follows_the_sources(sources: Path) -> None:
    """A change in any file with kernels, and no other, names another folder."""
    before = cache_folder()
    assert before == cache_folder()
    assert before.parent == sources.parent / "cache" / "stream-enforcer"
    (sources / "errors.py").write_text("")
    assert cache_folder() == before
    seen = {before}
    for room in KERNEL_ROOMS:
        for file in sorted((sources / room).glob("*.py")):
            file.write_text(file.read_text() + "\n")
            seen.add(cache_folder())
    assert len(seen) > len(KERNEL_ROOMS)
    (sources / "detectors" / "fresh.py").write_text("")
    assert cache_folder() not in seen


def test_the_cache_folder_follows_the_versions(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another Numba compiles into another folder."""
    before = cache_folder()
    monkeypatch.setattr(numba, "__version__", "0.0")
    assert cache_folder() != before


def test_old_caches_are_few(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder in use and the newest before it stay, what is older goes."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    for _ in range(CACHES_MAX + 2):
        compiling._use_cache()
        changed = sources / "engine" / "steps.py"
        changed.write_text(changed.read_text() + "\n")
    current = cache_folder()
    compiling._use_cache()
    assert Path(numba.config.CACHE_DIR) == current
    left = list(current.parent.iterdir())
    assert current in left
    assert len(left) == CACHES_MAX


def test_a_home_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numba compiles with a folder only, so this process then has one of its own."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compiling._use_cache()
    folder = Path(numba.config.CACHE_DIR)
    assert folder.is_dir()
    assert folder.parent == tmp_path


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_hashes_of_slices_are_those_of_python(data: bytes, first: int, second: int) -> None:
    """Wherever bytes lie in a buffer, kernels hash them as plain Python does, and only them."""
    start, end = sorted((min(first, len(data)), min(second, len(data))))
    array = np.frombuffer(data, np.uint8)
    wanted = hashing._siphash_python(data[start:end], REFERENCE_KEY._words)
    assert int(sip(array, start, end, REFERENCE_KEY.words)) == wanted
    assert murmur(array, start, end) == positive_murmur2(data[start:end])


@given(st.binary(min_size=8, max_size=24), st.integers(0, 16), words)
def test_words_lie_anywhere(data: bytes, place: int, less: int) -> None:
    """Eight bytes from any place are one little-endian word; its bits and differences are exact."""
    place = min(place, len(data) - 8)
    word = load64(np.frombuffer(data, np.uint8), place)
    wanted = int.from_bytes(data[place : place + 8], "little")
    assert int(word) == wanted
    zeros = (wanted & -wanted).bit_length() - 1 if wanted else 64
    assert zeros64(np.uint64(wanted)) == zeros
    assert int(minus64(np.uint64(wanted), np.uint64(less))) == (wanted - less) % 2**64


def test_asking_for_a_row_early_changes_nothing() -> None:
    """Also for the last row, whose lines would reach beyond the table."""
    rows = np.arange(6, dtype=np.int64).reshape(3, 2)[:, 0]
    for line in range(32):
        prefetch_line(rows, 2, line)
    assert rows.tolist() == [0, 2, 4]


def test_asking_for_a_record_early_changes_nothing() -> None:
    """Be it one line or several."""
    for kind in ("u8,u2", "u8,(200,)u4"):
        records = np.zeros(3, kind)
        records["f0"] = 7
        prefetch_entry(records, 2)
        assert records["f0"].tolist() == [7, 7, 7]
