"""What becomes of a delivery whose handler raised: deciding is pure, so every case is a row."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import DecodeError, MalformedDurationError, UsageError
from penstock.retry import (
    Decision,
    GiveUp,
    Keep,
    LeavePending,
    Record,
    Release,
    Retry,
    RetryLater,
    Signal,
    decide,
)

STEADY = Retry(attempts=3, initial="10s", jitter=0)
WAIT = timedelta(seconds=10)


@pytest.mark.covers("FAIL-8", "FAIL-9")
@pytest.mark.parametrize(
    ("failure", "attempts", "expected"),
    [
        (ValueError("boom"), 1, Record(after=WAIT)),
        (ValueError("boom"), 2, Record(after=2 * WAIT)),
        (ValueError("boom"), 3, Record(after=None)),
        (ValueError("boom"), 9, Record(after=None)),
        (DecodeError("application/json", "no"), 1, Record(after=None)),
        (GiveUp(), 1, Record(after=None)),
        (RetryLater("1h"), 1, Record(after=timedelta(hours=1))),
        (RetryLater("1h"), 2, Record(after=timedelta(hours=1))),
        (RetryLater("1h"), 3, Record(after=None)),
        (Release(), 1, Keep(release=True)),
        (Release(), 9, Keep(release=True)),
        (LeavePending(), 1, Keep(release=False)),
        (LeavePending(), 9, Keep(release=False)),
        (KeyboardInterrupt(), 1, Record(after=WAIT)),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException) else None,
)
def test_a_failure_is_decided_by_what_was_raised_and_how_often(
    failure: BaseException, attempts: int, expected: Decision
) -> None:
    """Attempts bound every retry, even one that the handler asked for; giving back and leaving are not failures."""
    assert decide(failure, attempts, STEADY) == expected


def test_hopeless_errors_are_not_retried() -> None:
    """Which those are is part of the policy; subclasses count."""
    policy = Retry(attempts=5, hopeless=(LookupError,))

    assert decide(KeyError("x"), 1, policy) == Record(after=None)
    assert decide(DecodeError("application/json", "no"), 1, policy) != Record(after=None)


def test_a_single_attempt_is_no_retry() -> None:
    """`attempts` counts the first run too."""
    assert decide(ValueError(), 1, Retry(attempts=1)) == Record(after=None)


def test_waits_grow_up_to_the_longest() -> None:
    """By the factor from one run to the next, and never beyond the bound."""
    policy = Retry(initial="1s", factor=3, longest="20s", jitter=0)

    assert [policy.delay(run) / timedelta(seconds=1) for run in range(1, 6)] == [1, 3, 9, 20, 20]
    assert policy.delay(10_000) == timedelta(seconds=20)


@given(
    st.integers(1, 200),
    st.floats(1, 10),
    st.floats(0, 0.99),
    st.integers(1, 3600),
    st.integers(1, 3600),
)
def test_jitter_spreads_a_wait_by_its_share(
    run: int, factor: float, jitter: float, initial: int, longest: int
) -> None:
    """A batch that failed together does not come back together; the spread stays within the share."""
    first, bound = timedelta(seconds=initial), timedelta(seconds=longest)
    policy = Retry(initial=first, factor=factor, longest=bound, jitter=jitter)
    middle, slack = policy.delay(run, spread=0), timedelta(microseconds=2)

    assert min(first, bound) - slack <= middle <= bound
    assert policy.delay(run, spread=-1) <= middle <= policy.delay(run, spread=1)
    assert abs(policy.delay(run) - middle) <= middle * jitter + slack
    assert policy.delay(run) >= timedelta(0)


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"attempts": -1}, {"factor": 0.5}, {"jitter": 1}, {"jitter": -0.1}],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    """When it is built, with the name of the setting."""
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Retry(**wrong)  # type: ignore[arg-type]


def test_durations_are_read_when_the_policy_is_built() -> None:
    """Texts become durations; a wrong one is refused at once."""
    assert Retry(initial="500ms", longest="PT5M") == Retry(
        initial=timedelta(milliseconds=500), longest=timedelta(minutes=5)
    )
    with pytest.raises(MalformedDurationError):
        Retry(initial="5")
    with pytest.raises(MalformedDurationError):
        RetryLater("5")


def test_signals_are_words_and_not_errors() -> None:
    """Each can carry a reason, and all can be caught as one kind."""
    assert all(issubclass(kind, Signal) for kind in (GiveUp, RetryLater, Release, LeavePending))
    assert str(GiveUp("the card has expired")) == "the card has expired"
    assert "1:00:00" in str(RetryLater("1h"))
    assert str(RetryLater("1h", "the bank is closed")) == "the bank is closed"


@pytest.mark.parametrize("factor", [1e6, 1e10, 1.0001])
def test_growth_ends_at_the_longest_wait_whatever_the_factor(factor: float) -> None:
    """A wait too large for a float is the longest one, and a slow growth still gets there."""
    policy = Retry(factor=factor, initial="1s", longest="2s", jitter=0)
    assert policy.delay(100_000, spread=0) == timedelta(seconds=2)
