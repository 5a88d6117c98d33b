"""Files that hold a baseline: read whole, bounded, checked; written whole."""

from __future__ import annotations

from pathlib import Path

from stream.baselines import (
    BASELINE_BYTES_MAX,
    Baseline,
    decode_baseline,
    encode_baseline,
    version_of,
)
from stream.errors import ConfigError
from stream.replay import Replay


def read_baseline(file: str) -> tuple[Baseline, str]:
    """Return a baseline and its version. Errors: ConfigError, NewerFormat."""
    data = baseline_bytes(file)
    return decode_baseline(data, file), version_of(data)


def baseline_bytes(file: str) -> bytes:
    """Return what a file holds, not looked at yet. Errors: ConfigError."""
    try:
        with Path(file).open("rb") as source:
            data = source.read(BASELINE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    if len(data) > BASELINE_BYTES_MAX:
        raise ConfigError(f"{file} has more than {BASELINE_BYTES_MAX:,} bytes")
    return data


def write_baseline(file: str, baseline: Baseline) -> tuple[str, int]:
    """Write a baseline; return its version and size. Errors: ConfigError.

    The file is complete or is not there: it takes the place of another only when written.
    """
    data = encode_baseline(baseline)
    target = Path(file)
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error
    return version_of(data), len(data)


def expect(machine: Replay, file: str) -> str:
    """Let a replay compare tasks with the baseline of a file; return its version."""
    baseline, version = read_baseline(file)
    machine.expect(baseline, version)
    return version
