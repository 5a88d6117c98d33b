"""The work in Bytewax: its Kafka operators, a stateful step a workload, recovery every 5 s.

python -m benchmarks.peers.bytewax_job SETTINGS.json
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from benchmarks.contenders import Meter
from benchmarks.peers.rules import State, apply, new_state

SNAPSHOT_EVERY = timedelta(seconds=5)
BATCH = 1_000


def flow_of(settings: dict[str, Any], meter: Meter) -> Dataflow:
    """Read to the end of the topic, decode, keep state by workload, write commands."""
    flow = Dataflow("enforcer")
    brokers = [settings["kafka"]]
    stream = kop.input(
        "requests", flow, brokers=brokers, topics=[settings["topic"]], tail=False, batch_size=BATCH
    )
    decoder = msgspec.json.Decoder()

    def decoded(message: KafkaSourceMessage[bytes, bytes]) -> tuple[str, dict[str, Any]]:
        if not meter.wall_s:
            meter.begin()
        event = decoder.decode(message.value)
        return event["workload"], event

    def judged(
        state: State | None, event: dict[str, Any]
    ) -> tuple[State | None, list[dict[str, Any]]]:
        state = new_state() if state is None else state
        return state, apply(state, event)

    def message_of(keyed: tuple[str, dict[str, Any]]) -> KafkaSinkMessage[bytes, bytes]:
        return KafkaSinkMessage(keyed[0].encode(), json.dumps(keyed[1]).encode())

    keyed = op.map("decode", stream.oks, decoded)
    commands = op.stateful_flat_map("judge", keyed, judged)
    messages = op.map("encode", commands, message_of)
    kop.output("commands", messages, brokers=brokers, topic=settings["commands"])
    return flow


def main() -> None:
    """Run the job; print what it took."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    meter = Meter()
    flow = flow_of(settings, meter)
    folder = Path(settings["folder"])
    folder.mkdir()
    init_db_dir(folder, 1)
    cli_main(flow, epoch_interval=SNAPSHOT_EVERY, recovery_config=RecoveryConfig(folder))
    print(json.dumps(meter.result(settings["events"])))


if __name__ == "__main__":
    main()
