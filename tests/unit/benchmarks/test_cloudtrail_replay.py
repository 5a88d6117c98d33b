"""CloudTrail by the product's own path: first uses found, without first-seen API's alarms."""

from __future__ import annotations

from benchmarks.quality import cloudtrail_replay


def test_first_changes_are_found_without_a_benign_alarm(data_folder):
    """33 of 36 runs at a threshold that no benign event of a later piece reaches."""
    found = cloudtrail_replay.measure(data_folder)
    naive = found["first_seen_api"]
    assert (naive["runs"], naive["runs_found"], naive["benign_alarms"]) == (36, 35, 11)
    for bits in (3, 4, 5):
        at = found["curve"][bits]
        assert at["runs_found"] >= 33
        assert at["benign_alarms"] == 0
    # A budget of tasks is kept where there are few of them: then only storms pass it.
    assert all(each["benign_by_alarm"] == 0 for each in found["curve"].values())
    assert found["missed"] == []
