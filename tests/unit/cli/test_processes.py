"""Several workers on one machine: their names, sums and limits, and how a process ended."""

from pathlib import Path

import pytest

from stream.cli import processes
from stream.cli.process import _asked, ending_of
from stream.cli.processes import RELOAD_AGAIN_S, Order, Together, spares_of, stem_of, together_rows
from stream.config import Config, load_config
from stream.errors import ConfigError
from stream.metrics import Metrics, MetricsServer


def test_names_and_sums() -> None:
    """Names stay and are of Kafka's letters; sums are said; too many are told from enough."""
    assert stem_of("edge/1 ü") == "edge-1--"
    assert stem_of("") == stem_of("")
    assert len(stem_of("x" * 300)) + len("-63") < 64
    config = load_config("", {"ENFORCER_PROCESSES": "8"})
    rows = dict(together_rows(config, 1_000))
    assert rows["rows in memory, a process and in all"] == "200,000 and 1,600,000"
    assert rows["their bytes at most, a process and in all"] == "200,000,000 and 1,600,000,000"
    assert spares_of(config) == 2
    assert spares_of(Config()) == 0
    assert ending_of(69) == "ended with exit code 69"
    assert ending_of(-9) == "was killed by SIGKILL"
    assert ending_of(-35) == "was killed by signal 35"


@pytest.mark.parametrize("count", ["0", "65", "-1", "many", "9" * 30])
def test_a_count_that_is_none(count: str) -> None:
    """How many there are is a small number."""
    with pytest.raises(ConfigError):
        load_config("", {"ENFORCER_PROCESSES": count})


def test_waits_that_contradict(tmp_path: Path) -> None:
    """The longest wait is not below the first."""
    file = tmp_path / "settings.yaml"
    file.write_text("processes: {restart_wait_ms: 1000, restart_wait_max_ms: 999}")
    with pytest.raises(ConfigError, match="must not be below"):
        load_config(str(file), {})


def test_a_reload_is_not_done_again_long_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who died in the middle of one does it; later something else may have been put in force."""
    now_s = 1_000.0
    monkeypatch.setattr(processes.time, "monotonic", lambda: now_s)
    together = Together(Order(Config(), {}, "stem", (), is_reload=False), tmp_path)
    told = together._command(1)
    assert "--reload" not in told()
    together.reload()
    assert "--reload" in told()
    now_s += RELOAD_AGAIN_S
    assert "--reload" not in told()
    assert (
        "--reload" in Together(Order(Config(), {}, "s", (), is_reload=True), tmp_path)._command(0)()
    )


def test_what_a_ready_process_notes_is_not_what_it_lacks() -> None:
    """A line besides `ok` keeps nobody waiting; beside what is missing it is one of the lines."""
    missing: list[str] = []
    server = MetricsServer(
        Metrics(), ("127.0.0.1", 0), lambda: missing, lambda: True, lambda: ["braked for 1 s"]
    )
    server.start()
    found = _asked(server.port)
    missing.append("partition 3 is replaying")
    later = _asked(server.port)
    server.stop()
    assert found is not None
    assert later is not None
    assert (found[1].missing, found[1].notes) == ((), ("braked for 1 s",))
    assert later[1].missing == ("partition 3 is replaying", "braked for 1 s")
    assert (found[1].is_healthy, later[1].notes) == (True, ())
