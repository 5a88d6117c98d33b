"""Labels: both forms say the same, and what is none is refused with its line."""

from __future__ import annotations

import pytest

from stream.errors import ConfigError
from stream.evaluation import Labels, labels, read_labels

LINES = [
    b'{"task": "t1", "label": "attack", "first": "t1/3"}',
    b'{"task": "t2", "label": "benign", "more": 1}',
    b"",
    b'{"id": "e9", "label": "attack"}',
]
TABLE = [
    b"\xef\xbb\xbfid,task,label,first"[3:],
    b",t1,attack,t1/3",
    b',"t2",benign,',
    b"e9,,attack,",
]
SAID = Labels({"e9": True}, {"t1": True, "t2": False}, frozenset({"t1/3", "e9"}))


@pytest.mark.parametrize("lines", [LINES, TABLE])
def test_both_forms_say_the_same(lines):
    """JSON lines and CSV; events that attack begin the attack."""
    assert read_labels(lines, "f") == SAID


def test_a_table_has_the_columns_it_needs():
    """Any order of columns, only those that are used."""
    assert read_labels([b"label,task", b"benign,t2"], "f").tasks == {"t2": False}


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([b'{"task": "t", "label": "odd"}'], "f:1: no label"),
        ([b'{"label": "attack"}'], "f:1: a label is of an `id` or of a `task`"),
        ([b'{"id": "a", "task": "t", "label": "attack"}'], "one of them"),
        ([b'{"task": "t", "label": "benign", "first": "e"}'], "`first` belongs to"),
        ([b'{"id": "t", "label": "attack", "first": "e"}'], "`first` belongs to"),
        ([b'{"task": "t", "label": "attack"}', b'{"task": "t", "label": "benign"}'], "f:2: .*both"),
        ([b"{" * 5_000], "f:1: no label"),
        ([b'{"task": "\xff", "label": "attack"}'], "f:1: no label"),
        ([b"task;label"], "f:1: not the header"),
        ([b"task,label,label", b"t,attack,benign"], "not the header"),
        ([b"task,label", b"t"], "f:2: 1 cells, and the header has 2"),
        ([b"task,label", b"t,perhaps"], "f:2: no label"),
        ([b"task,label", b'"t,attack'], "f:2: not a line of CSV"),
        ([b"task,label", b"\xff,attack"], "f:2: not a line of CSV"),
        ([b"task,label", b"t" * 2_000 + b",attack"], "f:2: no label"),
    ],
)
def test_what_is_no_label_is_refused_with_its_line(lines, why):
    """Whatever a file holds, it is a label or a message."""
    with pytest.raises(ConfigError, match=why):
        read_labels(lines, "f")


def test_labels_are_bounded(monkeypatch):
    """More than so many are refused."""
    monkeypatch.setattr(labels, "LABELS_MAX", 3)
    with pytest.raises(ConfigError, match="more than 3 labels"):
        read_labels([b"id,label", *(b"%d,benign" % each for each in range(4))], "f")
