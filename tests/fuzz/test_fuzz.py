"""A short form of `make fuzz`: seeds, corpus and some hundred fresh inputs through every target.

And that the loop finds what it looks for: a law that is broken, an input that never ends, one that
takes too long or too much.
"""

import base64
import json
import time
from random import Random

import pytest
from hypothesis import settings

from stream.events import decode_request
from stream.gateway import Gateway
from tests.fuzz import __main__ as command
from tests.fuzz import loop, plain
from tests.fuzz.endpoints import ENDPOINTS
from tests.fuzz.files import FILES
from tests.fuzz.loop import Coverage, fuzz
from tests.fuzz.mutate import HOSTILE_MSGPACK, HOSTILE_RAW, HOSTILE_TEXTS, Mutator
from tests.fuzz.seeds import FOLDER, corpus, seeds_of
from tests.fuzz.targets import TARGETS, Run, Target

ALL = TARGETS | ENDPOINTS | FILES
FRESH = {"policies": 10, "settings": 40, "http": 60, "rows": 120}
FRESH_EACH = settings.default.max_examples * 20 // 3
CORPUS_BYTES_MAX = 200_000
BARE = (
    *HOSTILE_RAW, *HOSTILE_MSGPACK, *(each.encode() for each in HOSTILE_TEXTS),
    b"x" * 70_000, b'{"at_ms":' + b"1" * 60_000 + b"}", b"\n" * 3_000, bytes(range(256)) * 20,
)  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_no_input_breaks_a_target(name: str) -> None:
    """What was found before, what is hostile by itself, and fresh inputs: no law is broken."""
    run = ALL[name].open()
    try:
        for data in [*seeds_of(ALL[name].seeds), *corpus(name), *BARE]:
            run(data)
    finally:
        getattr(run, "close", lambda: None)()
    fresh = len(seeds_of(ALL[name].seeds)) + len(corpus(name)) + FRESH.get(name, FRESH_EACH)
    outcome = fuzz(name, ALL[name], fresh, 7)
    told = [(each.what, base64.b64encode(each.data)) for each in outcome.crashes]
    assert (outcome.inputs, told) == (fresh, [])


def test_the_corpus_is_small() -> None:
    """It travels with every checkout, and holds nothing for targets that are gone."""
    files = list(FOLDER.iterdir())
    assert {each.stem for each in files} <= ALL.keys()
    assert sum(each.stat().st_size for each in files) < CORPUS_BYTES_MAX


def broken(what: str) -> Target:
    """A decoder with a deliberate fault at inputs that only a mutation makes."""
    hoard: list[bytes] = []

    def opened() -> Run:
        def run(data: bytes) -> object:
            try:
                request = decode_request(data)
            except (ValueError, RecursionError):
                return None
            if request.count == 1 and request.bytes == 0:
                return None
            if what == "raises":
                raise KeyError(request.count)
            while what == "hangs":
                pass
            until_s = time.process_time() + 0.1
            while what == "is slow" and time.process_time() < until_s:
                pass
            if what == "lies":
                assert decode_request(data) != request
            hoard.append(data)
            return None

        return run

    return Target(opened, "events", 1)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("raises", "KeyError"),
        ("lies", "AssertionError"),
        ("hangs", "did not end"),
        ("is slow", "of CPU"),
    ],
)
def test_a_fault_is_found(what: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of crash is found, and its input is one."""
    monkeypatch.setattr(loop, "HANG_S", 0.3 if what == "hangs" else 10)
    monkeypatch.setattr(loop, "SLOW_S", 0.05 if what == "is slow" else 10)
    monkeypatch.setattr(loop, "CRASHES_MAX", 1)
    outcome = fuzz("codec", broken(what), 3_000, 3)
    assert len(outcome.crashes) == 1
    assert said in outcome.crashes[0].what
    assert decode_request(outcome.crashes[0].data)


def test_too_much_memory_is_found() -> None:
    """An input that takes far more than it is long is told."""

    def run(data: bytes) -> object:
        return len(bytearray(len(data) * 1_000_000))

    assert loop._too_much(run, b"x" * 60) is not None
    assert loop._too_much(run, b"x") is None


def test_a_run_is_repeated_by_its_seed() -> None:
    """The same seed makes the same inputs; another one makes others."""
    seeds = seeds_of("events")

    def inputs(seed: int) -> list[bytes]:
        mutator = Mutator(Random(seed), [b"word"])
        return [mutator.mutated(seeds[each % len(seeds)], seeds[0]) for each in range(300)]

    assert inputs(1) == inputs(1)
    assert len(set(inputs(1)) & set(inputs(2))) < 60
    some = [decode_request(each) for each in inputs(1) if _is_event(each)]
    assert 20 < len(some) < 280, "neither all right nor all wrong"


def _is_event(data: bytes) -> bool:
    try:
        decode_request(data)
    except (ValueError, RecursionError):
        return False
    return True


def test_coverage_sees_what_is_new() -> None:
    """A line of ours counts once, other code does not."""
    coverage = Coverage()
    assert coverage.run(_is_event, b"{}")
    assert not coverage.run(_is_event, b"{}")
    assert coverage.run(_is_event, b"x" * 70_000)
    assert {file.rpartition("/")[2] for file, _ in coverage.lines} == {"codec.py"}
    assert Gateway.__module__.startswith("stream.")


def test_the_command_tells_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """One object with the figures; a fault makes the exit code."""
    assert command.main(["--inputs", "300", "--target", "codec", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["figures"]["fuzz.inputs"] == {"value": 300, "target": 1_000_000, "met": False}
    assert told["figures"]["fuzz.crashes"] == {"value": 0, "target": 0, "met": True}
    data = base64.b64encode(b"{").decode()
    assert command.main(["--target", "codec", "--input", data]) == 0


def test_the_kernel_for_plain_payloads_agrees(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it takes of mutated events is what msgspec takes; if not, the payload is shown."""
    assert plain.main(["--payloads", "3000", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["figures"]["plain.payloads"]["value"] == 3_000
    assert told["figures"]["plain.disagreements"] == {"value": 0, "target": 0, "met": True}
    assert 300 < told["plain"] < 2_700, "neither all plain nor none"
    monkeypatch.setattr(plain, "differing", lambda payloads, *_: (payloads[0], "why"))
    assert plain.main(["--payloads", "10"]) == 1
    assert "why" in capsys.readouterr().out
