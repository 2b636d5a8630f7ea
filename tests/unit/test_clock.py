"""Time: the grammar of durations, the machine's clock, and the clock that a test owns."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.clock import Clock, SystemClock, format_duration, parse_duration, wait_set
from penstock.errors import MalformedDurationError, UsageError
from penstock.testing.clock import ManualClock

SECOND = timedelta(seconds=1)
DURATIONS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36_500))


@given(DURATIONS)
def test_a_written_duration_reads_back(duration: timedelta) -> None:
    """To the microsecond."""
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.covers("CONF-5")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("250us", timedelta(microseconds=250)),
        ("60 min", timedelta(hours=1)),
        ("5 days", timedelta(days=5)),
        ("1 day", timedelta(days=1)),
        ("1h 30min", timedelta(minutes=90)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("0.1s", timedelta(milliseconds=100)),
        ("2 weeks", timedelta(days=14)),
        ("10 SECONDS", timedelta(seconds=10)),
        (" 3 s ", timedelta(seconds=3)),
        ("0s", timedelta(0)),
        ("PT5M", timedelta(minutes=5)),
        ("P1DT12H", timedelta(hours=36)),
        ("PT0.5S", timedelta(milliseconds=500)),
        ("P2W", timedelta(days=14)),
        (timedelta(seconds=7), timedelta(seconds=7)),
    ],
)
def test_durations_have_one_grammar(text: str | timedelta, expected: timedelta) -> None:
    """A number and a unit, several of them, or ISO 8601; a `timedelta` is one already."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize(("text", "suggestion"), [("5", "5s"), ("1.5", "1.5s"), (" 30 ", "30s")])
def test_a_bare_number_is_refused_with_a_suggestion(text: str, suggestion: str) -> None:
    """Its unit would be a guess, so the error makes one instead."""
    with pytest.raises(MalformedDurationError, match=f"did you mean '{suggestion}'") as refused:
        parse_duration(text)

    assert refused.value.suggestion == suggestion


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "-5s",
        "5 fortnights",
        "5s soon",
        "five seconds",
        "1h-30m",
        "P",
        "PT",
        "P1M",
        "1e3s",
        "٣s",
        ".5s",
    ]
    + ["9" * 30 + " weeks", "P" + "9" * 30 + "W", timedelta(seconds=-1)],
)
def test_what_is_not_a_duration_is_refused(text: str | timedelta) -> None:
    """Negative and boundless ones too: the error shows the text."""
    with pytest.raises(MalformedDurationError) as refused:
        parse_duration(text)

    assert refused.value.text == (text.strip() if isinstance(text, str) else str(text))


async def test_the_machines_clock_tells_the_time() -> None:
    """Wall time in microseconds, a clock that never goes back, and a wait that lasts."""
    clock: Clock = SystemClock()
    before, begun = clock.time_us(), clock.monotonic()
    await clock.sleep(timedelta(milliseconds=2))

    assert clock.monotonic() - begun >= 0.001
    assert abs(clock.time_us() - time.time_ns() // 1000) < 60_000_000
    assert clock.time_us() >= before
    assert SystemClock().now().tzinfo is UTC


# -- a clock that a test owns -----------------------------------------------------------------------------------------


def test_a_manual_clock_stands_still() -> None:
    """It shows the moment it was given, in every form."""
    clock: Clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))

    assert clock.time_us() == clock.time_us() == 1_777_593_600_000_000
    assert clock.monotonic() == clock.monotonic()
    assert ManualClock().now() == datetime(2026, 1, 1, tzinfo=UTC)


async def test_advancing_moves_every_form_of_the_time() -> None:
    """By exactly as much as was said."""
    clock = ManualClock()
    begun, before = clock.monotonic(), clock.time_us()

    await clock.advance(timedelta(hours=1, microseconds=1))

    assert clock.time_us() - before == 3_600_000_001
    assert clock.monotonic() - begun == pytest.approx(3600.000001)
    assert clock.now() == datetime(2026, 1, 1, 1, 0, 0, 1, tzinfo=UTC)


async def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    """Each at its own moment; those with the same deadline in the order in which they fell asleep."""
    clock, woken = ManualClock(), list[tuple[str, float]]()

    async def sleep(name: str, seconds: int) -> None:
        await clock.sleep(seconds * SECOND)
        woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as tasks:
        for name, seconds in (("late", 3), ("first", 1), ("second", 1), ("middle", 2)):
            tasks.create_task(sleep(name, seconds))
        await clock.advance(2 * SECOND)
        assert woken == [("first", 1.0), ("second", 1.0), ("middle", 2.0)]
        assert clock.sleeping == 1
        await clock.advance(SECOND)

    assert woken[-1] == ("late", 3.0)
    assert clock.sleeping == 0


async def test_one_advance_wakes_a_loop_as_often_as_it_would_wake() -> None:
    """A task that sleeps again and again sees each moment in between."""
    clock, ticks = ManualClock(), list[float]()

    async def tick() -> None:
        while len(ticks) < 5:
            await clock.sleep(SECOND)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(tick())
    await clock.advance(3.5 * SECOND)
    assert ticks == [1.0, 2.0, 3.0]

    await clock.advance(10 * SECOND)
    await task
    assert ticks == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert clock.monotonic() == 13.5


async def test_a_sleep_of_nothing_lets_others_run() -> None:
    """It ends without an advance."""
    clock, order = ManualClock(), list[str]()
    asyncio.get_running_loop().call_soon(order.append, "other")

    await clock.sleep(timedelta(0))
    order.append("sleeper")

    assert order == ["other", "sleeper"]


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    """Advancing past its deadline wakes nobody, and the others wake as before."""
    clock = ManualClock()
    cancelled, other = (asyncio.create_task(clock.sleep(seconds * SECOND)) for seconds in (1, 2))
    await clock.advance(timedelta(0))
    assert clock.sleeping == 2
    cancelled.cancel()
    await clock.advance(2 * SECOND)

    assert cancelled.cancelled()
    assert other.done()


async def test_time_does_not_go_back() -> None:
    """A negative advance is refused, and so is a start without a zone."""
    clock = ManualClock()
    with pytest.raises(UsageError, match="go back"):
        await clock.advance(-SECOND)
    with pytest.raises(UsageError, match="time zone"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001  that is the point

    assert clock.monotonic() == 0


@pytest.mark.parametrize("text", ["5ss", "5mss", "5ms s", "5uss"])
def test_abbreviations_have_no_plural(text: str) -> None:
    """A doubled letter is a slip, not a unit."""
    with pytest.raises(MalformedDurationError):
        parse_duration(text)


async def test_a_wait_ends_with_its_event_or_its_time() -> None:
    """Whichever comes first; without a time only the event ends it. Nothing is left asleep."""
    clock, event = ManualClock(), asyncio.Event()
    timed = asyncio.create_task(wait_set(event, clock, at_most=SECOND))
    endless = asyncio.create_task(wait_set(event, clock, at_most=None))
    await clock.advance(SECOND)
    assert (timed.done(), endless.done()) == (True, False)

    timed = asyncio.create_task(wait_set(event, clock, at_most=SECOND))
    await asyncio.sleep(0)
    event.set()
    await asyncio.gather(timed, endless)
    await asyncio.sleep(0)
    assert clock.sleeping == 0
