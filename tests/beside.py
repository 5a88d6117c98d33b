"""Tests in several processes beside each other (pytest -n): which stay together, which come first.

Most of the time of a run is waiting for real servers, so a few more processes than a run alone
needs much less time. A test on servers is scheduled by itself, unless its file starts something for
its module, or asks for the broker that knows who comes: then all of them go to one process, which
starts it once. All other tests are short, and a file of them is one piece.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

INTEGRATION = "tests/integration/"
SECURE = "secure_kafka"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand tests out by `scope_of`, in the order of `turn_of`."""
    from xdist.scheduler import LoadScopeScheduling

    class ByScope(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid, config.rootpath)

    config.option.loadscopereorder = False
    return ByScope(config, log)


def scope_of(nodeid: str, root: Path) -> str:
    """Name what a test belongs to: tests of the same name run in one process."""
    file = nodeid.partition("::")[0]
    if not file.startswith(INTEGRATION):
        return file
    text = _text(root / file)
    if SECURE in text:
        return SECURE
    return file if 'scope="module"' in text else nodeid


@functools.cache
def _text(file: Path) -> str:
    return file.read_text()


def turn_of(item: pytest.Item) -> tuple[bool, float]:
    """Long ones first, so that short ones fill the gaps at the end.

    Those on servers are the long ones, and among them those that may take longest.
    """
    allowed = item.get_closest_marker("timeout")
    allowed_s = float(allowed.args[0]) if allowed and allowed.args else 0.0
    return item.get_closest_marker("integration") is None, -allowed_s


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests in the order of their turns where several processes share them."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=turn_of)
