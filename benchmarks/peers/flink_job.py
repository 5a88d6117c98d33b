"""The work in Flink: DataStream API, keyed state on the heap, checkpoints every 5 s, parallelism 1.

    python -m benchmarks.peers.flink_job SETTINGS.json

The job itself is FlinkJob.java; it ends at the log's end as of its start, and prints its time and
that of its process from the first record on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.jars import java_options

JOB_S = 1_800


def main() -> None:
    """Run the job; pass on what it prints."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(settings["folder"])
    folder.mkdir()
    asked = [
        settings["kafka"], settings["topic"], settings["commands"], settings["group"], str(folder)
    ]  # fmt: skip
    done = subprocess.run(
        [*java_options(), "FlinkJob", *asked],
        capture_output=True,
        text=True,
        check=False,
        timeout=JOB_S,
    )
    if done.returncode:
        raise SystemExit(f"Flink ended with {done.returncode}: {done.stderr[-3_000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["events"] == settings["events"], result
    print(json.dumps(result))


if __name__ == "__main__":
    main()
