"""A whole installation in a folder: what is discarded at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.cli.installation import installed
from stream.errors import ConfigError
from stream.local.folder import hold


def test_data_of_one_that_runs_is_not_discarded(tmp_path: Path) -> None:
    """A second `up --discard-data` is refused, and removes nothing of the first."""
    kept = [tmp_path / "hash.key", tmp_path / "environment", tmp_path / "kafka" / "log"]
    (tmp_path / "kafka").mkdir()
    for each in kept:
        each.write_text("of the first")
    second = installed(tmp_path, {}, lambda _: None, keeps_data=False)
    with hold(tmp_path), pytest.raises(ConfigError, match="already run"), second:
        pass
    assert [each.read_text() for each in kept] == ["of the first"] * 3
