"""Several workers on one machine whose Kafka is away: how they end, begin again and stop."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from stream.baselines import encode_baseline
from stream.cli.run import compile_kernels
from tests.models.tasks import baseline
from tests.together import Crew, crew, runs

SETTINGS = """
processes: {restart_wait_ms: 100, restart_wait_max_ms: 300, steady_ms: 600000, stop_wait_ms: 30000}
worker: {restart_wait_ms: 100}
"""
POLICY = "name: {name}\nrules: [{{name: crowd, limit: {{measure: requests, at_most: 20, per: 1m}},"
POLICY += " action: throttle, rate: 1/s, for: 1h, mode: enforce}}]\n"


@pytest.fixture(autouse=True, scope="module")
def _kernels() -> None:
    """Compiled before the clocks of these tests run."""
    compile_kernels(lambda _: None)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine whose Kafka is not there."""
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    kept = {name: value for name, value in os.environ.items() if "ENFORCER" not in name}
    return kept | {
        "ENFORCER_CONFIG": str(tmp_path / "settings.yaml"),
        "ENFORCER_HASH_KEY": "ab" * 16,
        "ENFORCER_KAFKA": "127.0.0.1:1",
        "ENFORCER_METRICS": "127.0.0.1:0",
    }


def begun(made: Crew, count: int) -> bool:
    """Whether so many processes look for their Kafka, and have been looked at."""
    said = {each["process"] for each in made.said("a new one begins")}
    return len(said) == count and made.page("/readyz")[1].count("no session") == count


def test_one_that_dies_is_begun_again(environment: dict[str, str], tmp_path: Path) -> None:
    """It is said how it died, counted, and waited longer each time; the other goes on."""
    with crew(2, environment, tmp_path / "log") as two:
        two.wait(lambda: begun(two, 2))
        status, text = two.page("/readyz")
        assert status == 503 and "process 0: no session" in text and "process 1:" in text
        other = two.children()[0]
        for number in range(1, 4):
            victim = two.children()[1]
            os.kill(victim, signal.SIGKILL)
            two.wait(lambda victim=victim: two.children().get(1, victim) != victim)
            two.wait(
                lambda number=number: (
                    two.value("enforcer_process_restarts_total", process="1") == number
                )
            )
        said = [str(each["message"]) for each in two.said("it begins again in")]
        assert all("process 1 was killed by SIGKILL after" in each for each in said)
        assert [each.rpartition(" in ")[2] for each in said] == ["0.1 s", "0.2 s", "0.3 s"]
        assert two.value("enforcer_process_restarts_total", process="1", how="signal") == 3
        assert two.value("enforcer_process_restarts_total", process="0") == 0
        assert two.children()[0] == other
        two.wait(lambda: two.value("enforcer_process_up") == 2)


@pytest.mark.soak
def test_one_that_hangs_is_begun_again(environment: dict[str, str], tmp_path: Path) -> None:
    """Whoever answers nobody any more is killed after a while, which is said and counted."""
    text = SETTINGS.replace("stop_wait_ms", "hung_after_ms: 4000, stop_wait_ms")
    (tmp_path / "settings.yaml").write_text(text)
    with crew(2, environment, tmp_path / "log") as two:
        two.wait(lambda: begun(two, 2))
        before = two.children()
        os.kill(before[1], signal.SIGSTOP)
        two.wait(lambda: two.value("enforcer_process_restarts_total", process="1", how="hung") == 1)
        assert not runs(before[1])
        (said,) = two.said("has hung for")
        assert "process 1" in str(said["message"])
        two.wait(lambda: begun(two, 2))
        after = two.children()
        assert after[0] == before[0]
        assert after[1] != before[1]
        assert two.value("enforcer_process_restarts_total", process="0") == 0


def test_where_tasks_stand(environment: dict[str, str], tmp_path: Path) -> None:
    """SIGUSR1 has each process log what its tasks wait for, and changes nothing."""
    with crew(2, environment, tmp_path / "log") as two:
        two.wait(lambda: begun(two, 2))
        before = two.children()
        two.parent.send_signal(signal.SIGUSR1)

        def told() -> bool:
            said = [each for each in two.said(" stands at ") if "worker:" in str(each["message"])]
            return {each.get("process") for each in said} == {0, 1}

        two.wait(told)
        assert any("process" not in each for each in two.said(" stands at "))
        assert two.children() == before


def test_all_stop_together(environment: dict[str, str], tmp_path: Path) -> None:
    """SIGTERM to the one that watches ends all in good order, and it last."""
    with crew(3, environment, tmp_path / "log") as three:
        three.wait(lambda: begun(three, 3))
        children = three.children()
        assert len(children) == 3
        three.parent.send_signal(signal.SIGTERM)
        assert three.ended() == 0
        assert not any(map(runs, children.values()))
        lines = three.lines()
        assert lines[-1]["message"] == "stopped" and "process" not in lines[-1]
        ended = {each.get("process") for each in lines if each["message"] == "stopped"}
        assert ended == {None, 0, 1, 2}


@pytest.mark.soak
def test_all_are_told_by_somebody_else_too(environment: dict[str, str], tmp_path: Path) -> None:
    """Where each process of a unit has a signal of its own, as systemd does, all save even so."""
    with crew(2, environment, tmp_path / "log") as two:
        two.wait(lambda: begun(two, 2))
        children = two.children()
        os.kill(children[0], signal.SIGTERM)
        two.parent.send_signal(signal.SIGTERM)
        for each in children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGTERM)
        assert two.ended() == 0
        ended = {each.get("process") for each in two.said("stopped")}
        assert ended == {None, 0, 1}


@pytest.mark.soak
def test_one_that_does_not_stop_is_killed(environment: dict[str, str], tmp_path: Path) -> None:
    """A process that hangs holds up the end for a bounded time, which is said."""
    (tmp_path / "settings.yaml").write_text(SETTINGS.replace("30000", "4000"))
    with crew(2, environment, tmp_path / "log") as two:
        two.wait(lambda: begun(two, 2))
        children = two.children()
        os.kill(children[1], signal.SIGSTOP)
        two.parent.send_signal(signal.SIGINT)
        assert two.ended() == 1
        assert not any(map(runs, children.values()))
        (said,) = two.said("process 1 has not ended")
        assert "4.0 s after it was told to: it is killed" in str(said["message"])


@pytest.mark.soak
def test_wrong_settings_end_all(environment: dict[str, str], tmp_path: Path) -> None:
    """Exit code 78 of one is not tried again: the others stop, and it is the code of all."""
    key = tmp_path / "hash.key"
    key.write_text("ab" * 16)
    del environment["ENFORCER_HASH_KEY"]
    environment["ENFORCER_HASH_KEY_FILE"] = str(key)
    with crew(2, environment, tmp_path / "log") as two:
        two.wait(lambda: begun(two, 2))
        children = two.children()
        key.write_text("no key")
        os.kill(children[0], signal.SIGKILL)
        assert two.ended() == 78
        assert not any(map(runs, children.values()))
        assert two.said("process 0 ended with exit code 78")
        assert len(two.said("it begins again in")) == 1


def test_all_end_with_the_one_that_watches(environment: dict[str, str], tmp_path: Path) -> None:
    """When that is killed, the others end by themselves, in good order."""
    with crew(2, environment, tmp_path / "log") as two:
        two.wait(lambda: begun(two, 2))
        children = two.children()
        two.parent.send_signal(signal.SIGKILL)
        two.ended()
        two.wait(lambda: not any(map(runs, children.values())))
        assert {each["process"] for each in two.said("stopped")} == {0, 1}


def test_policies_are_passed_on(environment: dict[str, str], tmp_path: Path) -> None:
    """A good policy reaches all; a bad one nobody, nor does one that nobody asked for."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(name="first"))
    environment["ENFORCER_POLICY"] = str(policy)
    with crew(2, environment, tmp_path / "log") as two:
        two.wait(lambda: begun(two, 2))
        policy.write_text("name: [bad")
        two.parent.send_signal(signal.SIGHUP)
        two.wait(lambda: bool(two.said("the policy in force stays")))
        # Whoever begins now does not meet the bad file either.
        os.kill(two.children()[0], signal.SIGKILL)
        two.wait(lambda: two.value("enforcer_process_restarts_total") == 1 and begun(two, 2))
        policy.write_text(POLICY.format(name="second"))
        two.parent.send_signal(signal.SIGHUP)
        two.wait(lambda: len(two.said("takes effect from the next events on")) == 2)
        # The one that watches says so when it has told all, which may hear of it sooner.
        told = {None, 0, 1}
        two.wait(lambda: {each.get("process") for each in two.said("policy second")} == told)
        assert not any("process" in each for each in two.said("the policy in force stays"))


@pytest.mark.soak
def test_a_bad_policy_keeps_no_baseline_away(environment: dict[str, str], tmp_path: Path) -> None:
    """With a bad policy beside it a good baseline is reloaded by all, and no policy is."""
    policy, learned = tmp_path / "policy.yaml", tmp_path / "learned.baseline"
    policy.write_text(POLICY.format(name="first"))
    learned.write_bytes(encode_baseline(baseline()))
    named = {"ENFORCER_POLICY": str(policy), "ENFORCER_BASELINE": str(learned)}
    environment |= named | {"ENFORCER_HASH_KEY": b"no secret at all".hex()}
    with crew(2, environment, tmp_path / "log") as two:
        two.wait(lambda: begun(two, 2))
        policy.write_text("name: [bad")
        two.parent.send_signal(signal.SIGHUP)
        two.wait(lambda: len(two.said("takes effect once it is put by")) == 2)
        assert len(two.said("the policy in force stays")) == 1
        assert not two.said("takes effect from the next events on")


def test_too_many_are_told(environment: dict[str, str], tmp_path: Path) -> None:
    """More processes than partitions are allowed, and a warning says how many are spare."""
    (tmp_path / "settings.yaml").write_text(SETTINGS + "topics: {partitions: 1}\n")
    with crew(2, environment, tmp_path / "log") as two:
        two.wait(lambda: bool(two.said("2 processes for 1 partitions: 1 of them have nothing")))


def test_one_is_as_ever(environment: dict[str, str], tmp_path: Path) -> None:
    """With one process nobody watches over it: the command itself is the worker."""
    with crew(1, environment, tmp_path / "log") as one:
        one.wait(lambda: bool(one.said("a new one begins")))
        assert one.children() == {}
        assert one.page("/readyz")[1].count("no session") == 1
        assert "enforcer_process" not in one.page("/metrics")[1]
        one.parent.send_signal(signal.SIGTERM)
        assert one.ended() == 0
