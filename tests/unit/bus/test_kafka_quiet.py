"""aiokafka's own lines come through once in a while, and are counted."""

import logging

import pytest

from stream.bus.kafka_quiet import TEXTS_MAX, Sparse, quieten


def test_same_line_comes_once_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A line that differs only in its values comes once; the next one says how many were left."""
    logger, sparse = logging.getLogger("aiokafka.test_quiet"), Sparse(every_s=3_600.0)
    quieten(sparse)
    # Whatever a program has set for the client's loggers as a whole.
    caplog.set_level(logging.ERROR, logger=logger.name)
    try:
        for node in range(5):
            logger.error("no connection to %s", node)
        logger.error("another line")
        sparse._said = {key: (0.0, left) for key, (_, left) in sparse._said.items()}
        logger.error("no connection to %s", 9)
    finally:
        for name in list(logging.root.manager.loggerDict):
            logging.getLogger(name).removeFilter(sparse)
    assert [record.getMessage() for record in caplog.records] == [
        "no connection to 0",
        "another line",
        "no connection to 9 (4 more like this)",
    ]


def test_texts_are_bounded() -> None:
    """A client that made a new text for each line could not fill the memory."""
    sparse = Sparse()
    for number in range(2 * TEXTS_MAX):
        sparse.filter(logging.LogRecord("a", logging.ERROR, "", 0, f"text {number}", (), None))
    assert len(sparse._said) == TEXTS_MAX
