"""The work in Quix Streams: a streaming data frame, a stateful apply, its defaults otherwise.

    python -m benchmarks.peers.quix_job SETTINGS.json

State lies in RocksDB, and in a changelog topic, as Quix has it by default.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams import State as QuixState

from benchmarks.contenders import Meter
from benchmarks.peers.rules import apply, new_state


def main() -> None:
    """Run the job; print what it took."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    meter = Meter()
    work = Application(
        broker_address=settings["kafka"],
        consumer_group=settings["group"],
        auto_offset_reset="earliest",
        state_dir=settings["folder"],
        loglevel="WARNING",
    )
    requests = work.topic(settings["topic"], value_deserializer="json")
    commands = work.topic(settings["commands"], value_serializer="json")

    seen = 0

    def judged(event: dict[str, Any], state: QuixState) -> list[dict[str, Any]]:
        nonlocal seen
        if not seen:
            meter.begin()
        known = state.get("profile") or new_state()
        found = apply(known, event)
        state.set("profile", known)
        seen += 1
        if seen == settings["events"]:
            # It commits what it has done, and ends.
            work.stop()
        return found

    frame = work.dataframe(requests)
    frame = frame.apply(judged, stateful=True, expand=True)
    frame.to_topic(commands)
    work.run()
    print(json.dumps(meter.result(settings["events"])))


if __name__ == "__main__":
    main()
