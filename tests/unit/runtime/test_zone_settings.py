"""What zones may be set to: prefixes that bound, topics that nothing else is read from."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.config import load_config
from stream.errors import ConfigError
from stream.runtime import TopicsSpec

REFUSED = [
    ({"zones": {"eu": []}}, "length >= 1"),
    ({"zones": {"eu": ["https://a/b"]}}, "starts with spiffe://"),
    ({"zones": {"eu": ["spiffe://a/b/"]}}, "ends in a slash"),
    ({"zones": {"eu": ["spiffe://a/*"]}}, "path segment has only"),
    ({"zones": {"e u": ["spiffe://a"]}}, "matching regex"),
    ({"zones": {"dlq": ["spiffe://a"]}, "dead_letters": "requests.dlq"}, "two topics"),
    ({"zones": {"eu": ["spiffe://a"]}, "requests": "r" * 199}, "more than 200 letters"),
    ({"zones": {f"z{n}": ["spiffe://a"] for n in range(33)}}, "length <= 32"),
    ({"zones": {"eu": ["spiffe://a"]}, "partitions": 4096, "zone_partitions": 4096}, None),
    (
        {"zones": {f"z{n}": ["spiffe://a"] for n in range(2)}, "zone_partitions": 4096},
        "partitions of requests and zones",
    ),
]


@pytest.mark.parametrize(("settings", "said"), REFUSED)
def test_zones_that_would_be_no_bound_are_refused(settings: Any, said: str | None) -> None:
    """Prefixes are SPIFFE IDs, and no zone's topic is one that workers read as something else."""
    if said is None:
        assert msgspec.convert(settings, TopicsSpec).zones == {"eu": ("spiffe://a",)}
        return
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(settings, TopicsSpec)


def test_zones_in_a_file_and_a_gateways_own_zone(tmp_path: Path) -> None:
    """A prefix goes before zones' topics too; a gateway reports to the topic that workers read."""
    file = tmp_path / "enforcer.yaml"
    file.write_text('topics: {zones: {eu: ["spiffe://prod.example/eu"]}, zone_partitions: 3}\n')
    config = load_config(str(file), {"ENFORCER_PREFIX": "team-a", "ENFORCER_ZONE": "eu"})
    assert config.gateway.reports_to == config.topics.zone_topic("eu") == "team-a.requests.eu"
    assert [each.name for each in config.topics.specs()][-1] == "team-a.requests.eu"
    assert config.topics.specs()[-1].partitions == 3
    assert load_config(str(file), {}).gateway.reports_to == "requests"
    with pytest.raises(ConfigError, match="regex"):
        load_config(str(file), {"ENFORCER_ZONE": "e u"})
    file.write_text('topics: {zones: {eu: ["prod.example/eu"]}}\n')
    with pytest.raises(ConfigError, match=r"zone eu: an identity starts with spiffe://.*topics"):
        load_config(str(file), {})
