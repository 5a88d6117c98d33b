"""What the client's errors mean to us: which pass by themselves, and what a metric calls them."""

import pytest
from redis import exceptions as vendor

from stream.errors import ConfigError, EnforcerError, RowCorrupt, StoreFull, StoreUnavailable
from stream.store.redis_link import cause_of, translate


@pytest.mark.parametrize(
    ("error", "cause", "is_passing"),
    [
        (vendor.MovedError("1 host:1"), "moved", True),
        (vendor.AskError("1 host:1"), "ask", True),
        (vendor.TryAgainError("slot"), "tryagain", True),
        (vendor.ClusterDownError("slot"), "clusterdown", True),
        (vendor.MasterDownError("link"), "masterdown", True),
        (vendor.ReadOnlyError("replica"), "readonly", True),
        (vendor.BusyLoadingError("loading"), "loading", True),
        (vendor.ResponseError("BUSY script"), "busy", True),
        (vendor.ResponseError("NOREPLICAS few"), "noreplicas", True),
        (vendor.ResponseError("MISCONF disk"), "misconf", True),
        (vendor.ConnectionError("closed"), "connection", True),
        (ConnectionResetError("reset"), "connection", True),
        (vendor.TimeoutError("late"), "timeout", True),
        (TimeoutError("late"), "timeout", True),
        (vendor.ResponseError("\x1b[2J attacker's words"), "other", False),
    ],
)
def test_what_passes_by_itself(error: Exception, cause: str, is_passing: bool) -> None:
    """A failure has a name of a closed list, and is StoreUnavailable, at once or in the end."""
    fault, passes = translate(error, "host:6379")
    assert (cause_of(error), passes) == (cause, is_passing)
    assert type(fault) is StoreUnavailable


def test_full_memory_has_a_kind_of_its_own() -> None:
    """The link does not wait for room: whoever saves does, and forgets first."""
    fault, passes = translate(vendor.OutOfMemoryError("full"), "host:6379")
    assert (cause_of(vendor.OutOfMemoryError("full")), passes) == ("oom", False)
    assert type(fault) is StoreFull
    assert isinstance(fault, StoreUnavailable)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (vendor.AuthenticationError("no"), ConfigError),
        (vendor.NoPermissionError("no"), ConfigError),
        (vendor.ResponseError("WRONGTYPE key"), RowCorrupt),
    ],
)
def test_what_is_somebody_s_fault(error: Exception, kind: type[EnforcerError]) -> None:
    """A wrong setting or a foreign key is never waited for."""
    fault, passes = translate(error, "host:6379")
    assert (type(fault), passes) == (kind, False)
