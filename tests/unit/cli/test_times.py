"""Times as a person reads them, whoever wrote them."""

import pytest

from stream.cli.times import ago, moment
from stream.events import TIME_MS_MAX


def test_a_time_is_local_with_its_offset() -> None:
    """A second is as exact as it gets."""
    assert moment(1_700_000_000_999)[:11] in {"2023-11-14 ", "2023-11-15 "}
    assert moment(TIME_MS_MAX)[20] in "+-"


@pytest.mark.parametrize("at_ms", [10**18, -(10**18), 2**63 - 1])
def test_a_number_that_is_no_time_stays_one(at_ms: int) -> None:
    """Letters and promotions come from others, and a verb that shows them goes on."""
    assert moment(at_ms) == str(at_ms)
    assert ago(at_ms, 1_700_000_000_000)
