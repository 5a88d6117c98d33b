"""`run`: one worker, from its settings to a clean end, or several that one process watches over.

SIGTERM and SIGINT let it save, leave the group and end; a second one ends it at once, which costs
a replay of some seconds and nothing else. SIGHUP reads the policy file again: a good one is in
force everywhere from the next events on, a bad one changes nothing; one that comes during the start
waits for its end. What of this is different with several processes is in `processes`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

import click
import msgspec

from stream.baselines import BASELINE_BYTES_MAX
from stream.config import PROCESSES_MAX, Config, hash_key, load_config, policy_of
from stream.errors import ConfigError, NewerFormat
from stream.kernel import HashKey, cache_folder
from stream.metrics import Metrics
from stream.policy import Policy, load_policy
from stream.runtime import Keys, SystemClock, Worker
from stream.warm import warm

from .baseline_file import read_bytes
from .doors import keys_of, metrics_server, settle, wait_for, worker_doors
from .failure import INTERRUPTED
from .limits import bound_rows, policy_rows, setting_rows, settings_of
from .logs import start_logging
from .options import configured, examples, json_option
from .processes import (
    ONCE_MORE,
    Order,
    end_when_told,
    reload_when_told,
    spares_of,
    stem_of,
    together_rows,
    work_together,
)
from .screen import Screen
from .standing import say_standing

log = logging.getLogger("stream.run")


class Plan(NamedTuple):
    """All that a worker is started with."""

    config: Config
    policy: Policy
    key: HashKey
    name: str
    keys: Keys
    baseline: bytes | None


@click.command(
    "run",
    epilog=examples(
        "enforcer run",
        "enforcer run --policy policy.yaml --log json",
        "enforcer run --processes 4",
        "ENFORCER_KAFKA=kafka:9092 ENFORCER_REDIS=rediss://redis/0 enforcer run",
        "kill -HUP PID     let a changed policy file take effect",
    ),
)
@configured("policy", "config", "kafka", "redis", "prefix")
@click.option(
    "--reload",
    "is_reload",
    is_flag=True,
    help="Let the policy file take effect everywhere, also where a journal names another policy.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, PROCESSES_MAX),
    metavar="N",
    help="So many workers, each a process of its own, watched over [ENFORCER_PROCESSES].",
)
@click.option("--name", metavar="WORD", default="", help="This worker's name in journals and logs.")
@click.option(
    "--log", "form", type=click.Choice(["text", "json"]), default="text", help="Form of the logs."
)
@click.option("--verbose", is_flag=True, help="Log more.")
@click.option(
    "--until-stdin-ends", is_flag=True, hidden=True, help="End as by SIGTERM when stdin is closed."
)
@click.option(
    "--as-process", type=click.IntRange(0, PROCESSES_MAX - 1), hidden=True, help="One of several."
)
@json_option
def run(
    *,
    environment: dict[str, str],
    is_reload: bool,
    processes: int | None,
    name: str,
    form: str,
    verbose: bool,
    until_stdin_ends: bool,
    as_process: int | None,
    is_json: bool,
) -> int:
    """Run a worker: profile workloads, publish commands.

    Joins the consumer group of the topic `requests` and works until it is told to stop. All
    workers of an installation need the same hash key (ENFORCER_HASH_KEY_FILE). The policy file
    takes effect where no journal names a policy yet; `--reload` or SIGHUP let it take effect
    everywhere. `--json` is `--log json`. /metrics, /healthz and /readyz are at ENFORCER_METRICS,
    also of several processes: one that dies is started again, and all stop together.
    """
    is_json = is_json or form == "json"
    level = logging.DEBUG if verbose else logging.INFO
    start_logging(level, is_json=is_json, process=as_process)
    if processes is not None:
        environment["ENFORCER_PROCESSES"] = str(processes)
    config = load_config("", environment)
    has_several = config.processes.count > 1 and as_process is None
    if has_several:
        name = stem_of(name)
    elif as_process is not None:
        config = _config_of_one(config, name, as_process)
    plan = Plan(
        config,
        policy_of(config),
        hash_key(environment),
        name or f"{socket.gethostname()}-{os.getpid()}"[:64],
        keys_of(config, "worker"),
        baseline_of(config),
    )
    if as_process is None:
        _show(plan, is_json=is_json)
    compile_kernels(log.info)
    if has_several:
        options = ("--log", "json" if is_json else "text", *(("--verbose",) if verbose else ()))
        order = Order(config, environment, name, options, is_reload)
        return wait_for(work_together(order, has_stdin=until_stdin_ends))
    settle()
    wait_for(
        _work(
            plan,
            is_reload=is_reload,
            has_stdin=until_stdin_ends or as_process is not None,
            tells_port=as_process is not None,
        )
    )
    return 0


def _config_of_one(config: Config, name: str, number: int) -> Config:
    """Return the settings of one process of several: the group knows it by a name that stays."""
    member_id = config.kafka.member_id
    kafka = msgspec.structs.replace(
        config.kafka, member_id=f"{member_id}-{number}" if member_id else name
    )
    return msgspec.structs.replace(config, kafka=kafka)


def compile_kernels(say: Callable[[str], None]) -> float:
    """Have all kernels compiled, say so where that takes long; return the seconds it took."""
    folder = cache_folder()
    if not any(folder.rglob("*.nbc")):
        say(f"compiling the kernels into {folder}, once for this version: a minute or two")
    began_s = time.monotonic()
    warm()
    took_s = time.monotonic() - began_s
    say(f"kernels are ready after {took_s:.1f} s")
    return took_s


def _show(plan: Plan, *, is_json: bool) -> None:
    """Say every setting and limit, before anything is done with them."""
    settings = settings_of(plan.config)
    of_policy = policy_rows(plan.policy, plan.key, plan.config.worker.slots_max)
    signer, trust = plan.keys
    of_policy += [
        ("signs with key", signer.key_id if signer is not None else ""),
        ("believes keys", ", ".join(trust.key_ids) if trust is not None else ""),
    ]
    bounds = bound_rows(plan.config.worker.slots_max)
    if plan.config.processes.count > 1:
        bounds += together_rows(plan.config, plan.policy.layout.dtype.itemsize)
    if is_json:
        shown = {
            **settings,
            "policy_in_file": dict(of_policy),
            "bounds": dict(bounds),
            "name": plan.name,
        }
        log.info("settings", extra={"settings": shown})
    else:
        screen = Screen(is_json=False)
        screen.note(f"worker {plan.name}", "bold")
        for path, value in [*setting_rows(settings), *of_policy, *bounds]:
            screen.note(f"  {path:38} {value or '-'}")
    if spares_of(plan.config):
        log.warning(
            "%d processes for %d partitions: %d of them have nothing to do until another dies or"
            " partitions grow",
            *(plan.config.processes.count, plan.config.topics.partitions, spares_of(plan.config)),
        )


async def _work(plan: Plan, *, is_reload: bool, has_stdin: bool, tells_port: bool) -> None:
    """Run the worker until a signal, or until its stdin is closed where that is its leash."""
    metrics = Metrics()
    worker = Worker(
        (plan.config.worker, plan.config.topics),
        worker_doors(plan.config, metrics),
        (plan.policy, load_policy),
        plan.key,
        (SystemClock(), metrics, plan.name),
        plan.keys,
    )
    if plan.baseline is not None:
        await expect(worker, plan.config, plan.baseline, is_reload=is_reload)
    if is_reload:
        worker.reload(plan.policy)
    shown = worker.ready, worker.healthy, worker.notes
    server = metrics_server(plan.config, metrics, *shown)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        log.info("stopping: saving and leaving the group%s", "" if has_stdin else ONCE_MORE)
        worker.stop()

    end_when_told(stop, lambda: os._exit(INTERRUPTED), has_stdin=has_stdin)
    reloads: set[asyncio.Task[None]] = set()

    def reload_learned() -> None:
        if plan.config.worker.baseline:
            reloads.add(task := asyncio.create_task(reload_baseline(worker, plan.config)))
            task.add_done_callback(reloads.discard)

    def reload_all() -> None:
        reload_policy(worker, plan.config)
        reload_learned()

    loop.add_signal_handler(signal.SIGUSR1, say_standing)
    # What whoever watches over several sends where the policy file is bad.
    loop.add_signal_handler(signal.SIGUSR2, reload_learned)
    reload_when_told(reload_all)
    server.start()
    log.info("metrics at http://%s:%d/metrics", plan.config.metrics.host, server.port)
    if tells_port:
        # From here on SIGHUP and the questions of whoever watches over us are answered.
        click.echo(server.port)
    try:
        await worker.run()
    finally:
        server.stop()
    log.info("stopped")


def baseline_of(config: Config) -> bytes | None:
    """Return the bytes of the baseline that the settings name. Errors: ConfigError."""
    file = config.worker.baseline
    return read_bytes(file, BASELINE_BYTES_MAX) if file else None


async def expect(worker: Worker, config: Config, data: bytes, *, is_reload: bool) -> None:
    """Let a baseline take effect, made ready in another thread.

    Errors: ConfigError, NewerFormat.
    """
    made = await asyncio.to_thread(worker.baselines.made, data, config.worker.baseline)
    reloaded_ms = SystemClock().wall_ms() if is_reload else 0
    worker.baselines.offer(data, made, reloaded_ms)


async def reload_baseline(worker: Worker, config: Config) -> None:
    """Let the baseline file take effect everywhere, or keep what is in force and log why."""
    try:
        data = await asyncio.to_thread(read_bytes, config.worker.baseline, BASELINE_BYTES_MAX)
        await expect(worker, config, data, is_reload=True)
    except (ConfigError, NewerFormat) as error:
        log.error("the baseline in force stays: %s", error)  # noqa: TRY400 - the operator's fault
    else:
        log.info("the baseline of %s takes effect once it is put by", config.worker.baseline)


def reload_policy(worker: Worker, config: Config) -> None:
    """Let the policy file take effect, or keep the policy in force and log why."""
    try:
        policy = policy_of(config)
    except ConfigError as error:
        log.error("the policy in force stays: %s", error)  # noqa: TRY400 - the operator's fault
        return
    worker.reload(policy)
    log.info("policy %s %s takes effect from the next events on", policy.spec.name, policy.hash)
