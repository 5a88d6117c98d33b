"""Throttles that several requests share: a permit of each that binds, or of none."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.events import Issuer, Rate, Subject
from tests.models.owner import AGENT, NOW_MS, OTHER, command, subject_record
from tests.unit.gateway.shelf import Shelf

OPERATION = "GET /x"
TASK = "t"


class ModelBucket:
    """A bucket in exact fractions; a clock that steps back earns nothing and takes nothing."""

    def __init__(self, rate: Rate) -> None:
        self.per_ms = Fraction(rate.permits, rate.per_ms * rate.gateways)
        self.burst = max(Fraction(rate.permits, rate.gateways), Fraction(1))
        self.level, self.seen_ms = self.burst, 0

    def is_open(self, now_ms: int) -> bool:
        earned = max(0, now_ms - self.seen_ms) * self.per_ms
        self.level, self.seen_ms = min(self.burst, self.level + earned), now_ms
        return self.level >= 1


rates = st.builds(Rate, st.integers(1, 5), st.integers(100, 2_000), st.integers(1, 3))
asked = st.tuples(
    st.sampled_from([AGENT, OTHER]),
    st.sampled_from([OPERATION, "GET /y"]),
    st.sampled_from([TASK, ""]),
    st.integers(-200, 600),
)


@settings(max_examples=150)
@given(whole=rates, one=rates, estate=rates, requests=st.lists(asked, max_size=50))
def test_shared_throttles_equal_the_model(
    whole: Rate, one: Rate, estate: Rate, requests: list[tuple[str, str, str, int]]
) -> None:
    """A workload's, an operation's and a task's throttle: what passes, passes all of them."""
    shelf = Shelf()
    subjects: list[tuple[Subject, Rate, Issuer]] = [
        (Subject(workload=AGENT), whole, "home"),
        (Subject(workload=AGENT, operation=OPERATION), one, "home"),
        (Subject(workload="", task=TASK), estate, "subjects"),
    ]
    for subject, rate, issuer in subjects:
        held = command(subject, "throttle", rate=rate, expires_at_ms=NOW_MS + 3_600_000)
        assert shelf.put(subject_record(subject, held, issuer=issuer)) == "applied"
    buckets = [ModelBucket(rate) for _, rate, _ in subjects]
    now_ms = NOW_MS
    for workload, operation, task, step_ms in requests:
        now_ms += step_ms
        binds = workload == AGENT, workload == AGENT and operation == OPERATION, task == TASK
        binding = [bucket for bucket, does in zip(buckets, binds, strict=True) if does]
        # Each is asked, as each earns what time has passed.
        passes = sum(bucket.is_open(now_ms) for bucket in binding) == len(binding)
        for bucket in binding if passes else ():
            bucket.level -= 1
        verdict = shelf.table.check(now_ms, workload, operation, task)
        assert verdict.is_allowed == passes, (workload, operation, task, now_ms)
        assert passes == (verdict.retry_after_ms == 0)
