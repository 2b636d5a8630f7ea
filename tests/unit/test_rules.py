"""When something recurs, across the days on which clocks are changed, and what becomes of missed runs."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigurationError, MalformedDurationError
from penstock.listeners._rules import MOST_MISSED, Cron, Every, Missed, Plan, Rule, plan

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


def local(rule: Rule, after: datetime, count: int) -> list[str]:
    """The next times by Berlin's clocks, with their distance to UTC."""
    return [time.astimezone(BERLIN).strftime("%d %H:%M%z")[:-2] for time in islice(rule.after(after), count)]


def in_berlin(expression: str) -> Cron:
    """A cron rule in Berlin."""
    return Cron.parse(expression, "Europe/Berlin")


# -- intervals ------------------------------------------------------------------------------------------------------


@pytest.mark.covers("RECUR-3")
def test_an_interval_is_counted_from_1970() -> None:
    """So that every process has the same times, whenever it was started."""
    after = BEGIN + timedelta(minutes=7, seconds=3)
    times = list(islice(Every.parse("5 min").after(after), 3))
    assert times == [BEGIN + minutes * MINUTE for minutes in (10, 15, 20)]
    assert next(Every.parse("5 min").after(times[0])) == times[1]


def test_an_interval_has_a_bound() -> None:
    """Below a second it is refused, and so is what is no duration."""
    with pytest.raises(ConfigurationError, match="at least 1s"):
        Every.parse("999ms")
    with pytest.raises(MalformedDurationError):
        Every.parse("5")


# -- cron -----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("RECUR-3")
def test_a_time_that_does_not_exist_is_the_first_that_does() -> None:
    """On 29 March 2026 Berlin goes from 02:00 to 03:00; the run is not lost, and there is one."""
    after = datetime(2026, 3, 28, 0, 0, tzinfo=BERLIN)
    assert local(in_berlin("30 2 * * *"), after, 3) == ["28 02:30+01", "29 03:00+02", "30 02:30+02"]
    assert local(in_berlin("10,40 2 * * *"), after, 4) == [
        "28 02:10+01",
        "28 02:40+01",
        "29 03:00+02",
        "30 02:10+02",
    ]


@pytest.mark.covers("RECUR-3")
def test_a_time_that_exists_twice_is_the_first_of_them() -> None:
    """On 25 October 2026 Berlin goes from 03:00 back to 02:00."""
    rule = in_berlin("30 2 * * *")
    after = datetime(2026, 10, 24, 12, 0, tzinfo=BERLIN)
    assert local(rule, after, 2) == ["25 02:30+02", "26 02:30+01"]
    between = datetime(2026, 10, 25, 2, 15, tzinfo=BERLIN, fold=1)
    assert local(rule, between, 1) == ["26 02:30+01"]


@pytest.mark.covers("RECUR-3")
def test_what_goes_by_real_time_misses_nothing_and_repeats_nothing() -> None:
    """A star in minute or hour: each hour that exists, both of those that exist twice."""
    hourly = in_berlin("0 * * * *")
    assert local(hourly, datetime(2026, 3, 29, 0, 30, tzinfo=BERLIN), 3) == [
        "29 01:00+01",
        "29 03:00+02",
        "29 04:00+02",
    ]
    assert local(hourly, datetime(2026, 10, 25, 1, 30, tzinfo=BERLIN), 3) == [
        "25 02:00+02",
        "25 02:00+01",
        "25 03:00+01",
    ]


@pytest.mark.covers("RECUR-3")
@given(
    start=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    expression=st.sampled_from(
        ["30 2 * * *", "*/20 * * * *", "0 3 * * 0", "15 1,2 * 3,10 *", "59 23 L * *", "0 */2 * * *"]
    ),
)
def test_times_always_ascend_and_every_process_agrees(start: datetime, expression: str) -> None:
    """Wherever one begins: strictly later each time, and going on from a time gives what follows it."""
    rule = in_berlin(expression)
    times = list(islice(rule.after(start), 6))
    assert all(a < b for a, b in zip([start, *times], times, strict=False))
    assert list(islice(rule.after(times[2]), 3)) == times[3:]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * *", "Wrong number of fields"),
        ("60 * * * *", "Bad minute"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("", "Wrong number"),
        ("@daily", "as in"),
    ],
)
def test_what_is_no_cron_expression_is_refused(expression: str, words: str) -> None:
    """With the reason, and how one looks."""
    with pytest.raises(ConfigurationError, match=words):
        Cron.parse(expression, "UTC")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd"])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    """By its name."""
    with pytest.raises(ConfigurationError, match="no time zone"):
        Cron.parse("0 6 * * *", zone)


# -- missed runs ----------------------------------------------------------------------------------------------------


@pytest.mark.covers("RECUR-2")
@pytest.mark.parametrize(
    ("missed", "late", "expected"),
    [
        ("once", 0, Plan((BEGIN + 30 * MINUTE,), None)),
        ("skip", 0, Plan((BEGIN + 30 * MINUTE,), None, 1)),
        ("skip", 60, Plan((BEGIN + 30 * MINUTE,), None, 1)),
        ("skip", 61, Plan((), BEGIN + 30 * MINUTE, 2)),
        ("all", 61, Plan(tuple(BEGIN + minutes * MINUTE for minutes in (10, 20, 30)), None)),
    ],
)
def test_what_is_done_about_missed_runs(missed: Missed, late: int, expected: Plan) -> None:
    """One for all, none, or each; what is hardly late was not missed."""
    now = BEGIN + timedelta(minutes=30, seconds=late)
    assert plan(Every(10 * MINUTE), BEGIN, now, missed) == expected


def test_nothing_is_due_before_its_time_or_in_the_past() -> None:
    """Also when the clock has gone back."""
    for now in (BEGIN, BEGIN + 9 * MINUTE, BEGIN - timedelta(days=400)):
        assert plan(Every(10 * MINUTE), BEGIN, now, "all") == Plan((), None)


@pytest.mark.covers("RECUR-2")
def test_years_of_missed_seconds_are_not_walked_through() -> None:
    """The latest are found from the end; a rule that comes once in years is found, too."""
    now = BEGIN + timedelta(days=3650)
    found = plan(Every(timedelta(seconds=1)), BEGIN, now, "all")
    assert found.runs == tuple(now - timedelta(seconds=MOST_MISSED - 1 - n) for n in range(MOST_MISSED))
    assert found.left_out == 1
    leap = plan(Cron.parse("0 0 29 2 *", "UTC"), BEGIN, now, "all")
    assert [time.year for time in leap.runs] == [2028, 2032]
