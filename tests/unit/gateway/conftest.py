"""What the tests of the gateway share."""

import pytest

from tests.unit.gateway.shelf import Shelf


@pytest.fixture
def shelf() -> Shelf:
    """An empty table that has reached the end of its log."""
    shelf = Shelf()
    shelf.table.finish_loading()
    return shelf
