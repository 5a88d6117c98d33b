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
    data = read_bytes(file, BASELINE_BYTES_MAX)
    return decode_baseline(data, file), version_of(data)


def write_baseline(file: str, baseline: Baseline) -> tuple[str, int]:
    """Write a baseline; return its version and size. Errors: ConfigError."""
    data = encode_baseline(baseline)
    return version_of(data), write_bytes(file, data)


def read_bytes(file: str, bytes_max: int) -> bytes:
    """Return what a file holds. Errors: ConfigError when it cannot be read, or is too large."""
    try:
        with Path(file).open("rb") as source:
            data = source.read(bytes_max + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a zero byte in its name
        raise ConfigError(f"{file!r} names no file: {error}") from error
    if len(data) > bytes_max:
        raise ConfigError(f"{file} has more than {bytes_max:,} bytes")
    return data


def write_bytes(file: str, data: bytes) -> int:
    """Write a file; return its size. Errors: ConfigError.

    The file is complete or is not there: it takes the place of another only when written.
    """
    target = Path(file)
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error
    return len(data)


def expect(machine: Replay, file: str) -> str:
    """Let a replay compare tasks with the baseline of a file; return its version."""
    baseline, version = read_baseline(file)
    machine.expect(baseline, version)
    return version
