"""What all tests share: how hypothesis explores, real servers, real data, marks by folder."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# `servers` (a real Kafka and a real Valkey for the session) and `fresh_name` come from there.
pytest_plugins = (
    ["tests.beside", "tests.servers", "tests.secure"]
    if (Path(__file__).parent / "servers.py").exists()
    else []
)

INTEGRATION = Path(__file__).parent / "integration"

# No deadline anywhere: the first example of a kernel's test compiles it. CI must say the same thing
# twice about one commit, so it does not explore; `dev` does at every run, `long` for hours.
settings.register_profile("dev", deadline=None, print_blob=True, max_examples=60)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, max_examples=25)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=20_000)
settings.register_profile(
    "nojit",  # Kernels as plain Python are a hundred times slower; JIT runs cover the width.
    settings.get_profile("ci"),
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `integration` what lies in that folder, and what asks for the servers anywhere."""
    for item in items:
        needs_servers = "servers" in getattr(item, "fixturenames", ())
        if needs_servers or item.path.is_relative_to(INTEGRATION):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of recorded real data (weblogs, cloudtrail, agentdojo), from ENFORCER_DATA."""
    named = os.environ.get("ENFORCER_DATA")
    if not named:
        pytest.skip("ENFORCER_DATA names no folder of recorded data")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"ENFORCER_DATA={named} is not a folder")
    return folder
