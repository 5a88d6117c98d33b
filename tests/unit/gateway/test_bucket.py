"""The token bucket: exact, fair to renewals, calm about clocks."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from stream.events import Rate
from stream.gateway.bucket import NEVER_MS, Bucket, bucket_of

NOW_MS = 1_700_000_000_000
rates = st.builds(Rate, st.integers(1, 1_000), st.integers(1, 60_000))


def passes(bucket: Bucket, now_ms: int) -> bool:
    if bucket.refill(now_ms):
        return False
    bucket.take()
    return True


@given(
    rate=rates,
    gateways=st.integers(1, 7),
    gaps_ms=st.lists(st.integers(0, 5_000), max_size=60),
)
def test_bucket_equals_the_model(rate: Rate, gateways: int, gaps_ms: list[int]) -> None:
    """The same requests pass as in a bucket of exact fractions, whatever their spacing."""
    bucket = bucket_of(Rate(rate.permits, rate.per_ms, gateways))
    per_ms = Fraction(rate.permits, rate.per_ms * gateways)
    burst = max(Fraction(rate.permits, gateways), Fraction(1))
    level, now_ms = burst, NOW_MS
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        level = min(burst, level + gap_ms * per_ms)
        assert passes(bucket, now_ms) == (level >= 1)
        level -= 1 if level >= 1 else 0


@given(rate=rates, gateways=st.integers(1, 7), drained=st.integers(0, 50))
def test_wait_is_exact(rate: Rate, gateways: int, drained: int) -> None:
    """After the wait that is told a request passes, and a millisecond earlier none does."""
    bucket = bucket_of(Rate(rate.permits, rate.per_ms, gateways))
    for _ in range(drained):
        passes(bucket, NOW_MS)
    while passes(bucket, NOW_MS):
        pass
    wait_ms = bucket.refill(NOW_MS)
    assert bucket.refill(NOW_MS + wait_ms - 1) > 0
    assert bucket.refill(NOW_MS + wait_ms) == 0


def test_shares_add_up() -> None:
    """Four gateways together let pass what one alone would."""
    alone = bucket_of(Rate(100, 1_000))
    shares = [bucket_of(Rate(100, 1_000, 4)) for _ in range(4)]
    for at_ms in range(0, 3_000, 1):
        passes(alone, NOW_MS + at_ms)
    one = sum(passes(alone, NOW_MS + 10_000 + at_ms) for at_ms in range(2_000))
    four = sum(passes(share, NOW_MS + 10_000 + at_ms) for at_ms in range(2_000) for share in shares)
    assert abs(one - four) <= 4


def test_smallest_share_is_one_request() -> None:
    """A share below one request an interval still lets one pass, then waits its time."""
    bucket = bucket_of(Rate(1, 1_000, 10))
    assert passes(bucket, NOW_MS)
    assert bucket.refill(NOW_MS) == 10_000


def test_rate_zero_lets_nothing_pass() -> None:
    """A rate of zero never lets a request pass."""
    bucket = bucket_of(Rate(0, 1_000))
    assert bucket.refill(NOW_MS) == NEVER_MS
    assert bucket.refill(NOW_MS + 10**12) == NEVER_MS


def test_clock_that_steps_back_earns_nothing() -> None:
    """A step back neither earns nor costs, and time goes on from there."""
    bucket = bucket_of(Rate(1, 1_000))
    assert passes(bucket, NOW_MS)
    assert bucket.refill(NOW_MS - 3_600_000) == 1_000
    assert bucket.refill(NOW_MS - 3_600_000 + 1_000) == 0


def test_renewal_gives_nothing_away() -> None:
    """A bucket that continues an earlier one has what that had left, whatever the two rates."""
    for rate in (Rate(10, 1_000), Rate(5, 1_000), Rate(100, 60_000)):
        earlier = bucket_of(Rate(10, 1_000))
        for _ in range(9):
            assert passes(earlier, NOW_MS)
        renewed = bucket_of(rate)
        renewed.inherit(earlier)
        assert passes(renewed, NOW_MS)
        assert not passes(renewed, NOW_MS)
