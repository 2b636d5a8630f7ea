"""The parts of the Valkey backend that need no server."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import (
    BrokerFullError,
    BrokerRefusedError,
    BrokerUnavailableError,
    InvalidSettingsError,
    UnknownGroupError,
    UsageError,
)
from penstock.position import BEGINNING, NEW, EntryId
from penstock.streams._valkey.clients import describe, pool_from_url, user_of
from penstock.streams._valkey.errors import ReplyError, translate
from penstock.streams._valkey.inspection import estimate_lag
from penstock.streams._valkey.packing import pack, pack_in_python
from penstock.streams._valkey.probe import product_of
from penstock.streams._valkey.values import milliseconds, start_position
from penstock.streams.valkey import Reconnect, ValkeyBroker

ARGUMENTS = st.one_of(
    st.binary(max_size=40), st.text(st.characters(exclude_categories=["Cs"])), st.integers()
)


@given(st.lists(ARGUMENTS, min_size=1, max_size=8))
def test_a_command_is_packed_alike_with_and_without_hiredis(command: list[bytes | str | int]) -> None:
    """The slow packing makes the same bytes."""
    assert pack(tuple(command)) == pack_in_python(tuple(command))


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        ("NOGROUP No such key 'x' or consumer group 'g'", UnknownGroupError, "'billing'"),
        ("OOM command not allowed when used memory > 'maxmemory'.", BrokerFullError, "memory limit"),
        ("MISCONF Errors writing to the AOF file: No space left on device", BrokerFullError, "free its disk"),
        ("LOADING Redis is loading the dataset in memory", BrokerUnavailableError, "at present"),
        ("READONLY You can't write against a read only replica.", BrokerUnavailableError, "read only"),
        ("MASTERDOWN Link with MASTER is down", BrokerUnavailableError, "MASTER"),
        ("CLUSTERDOWN The cluster is down", BrokerUnavailableError, "down"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", BrokerUnavailableError, "slot"),
        ("NOAUTH Authentication required.", BrokerRefusedError, "'ann'"),
        ("WRONGPASS invalid username-password pair or user is disabled.", BrokerRefusedError, "'ann'"),
        (
            "NOPERM this user has no permissions to run the 'xadd' command",
            BrokerRefusedError,
            "XADD of user 'ann'",
        ),
        (
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            BrokerRefusedError,
            "'ns:orders'",
        ),
        ("ERR unknown command 'XADD', with args beginning with:", BrokerRefusedError, "unknown command"),
        ("MOVED 3999 127.0.0.1:6381", BrokerRefusedError, "cluster"),
    ],
)
def test_each_refusal_of_the_server_becomes_the_error_one_can_act_on(
    reply: str, error: type[Exception], said: str
) -> None:
    """The branch of the tree says what to do; the message names the command, the user, or the key."""
    made = translate(
        ReplyError(reply), "XADD", user="ann", server="s", stream="orders", group="billing", key=b"ns:orders"
    )
    assert type(made) is error
    assert said in str(made)


@pytest.mark.parametrize(
    "wrapped",
    [
        # Redis 6.2, then Redis 7 and Valkey.
        "ERR Error running script (call to f_0c0e5e85db6f0e1e8d6bd1a5b6f5ff51b0b3a9ad): @user_script:12: OOM no memory",
        "OOM no memory script: 0c0e5e85db6f0e1e8d6bd1a5b6f5ff51b0b3a9ad, on @user_script:12.",
        "OOM no memory",
    ],
)
def test_what_a_command_inside_of_a_script_said_is_found(wrapped: str) -> None:
    """Servers wrap it differently."""
    error = ReplyError(wrapped)
    assert (error.code, error.text) == ("OOM", "OOM no memory")


@pytest.mark.covers("CONF-7")
def test_tries_to_reconnect_grow_apart_up_to_a_bound() -> None:
    """Doubling from 50 ms to 5 s, spread by a fifth, so that many processes do not come back in one moment."""
    policy = Reconnect()
    delays = [policy.delay(attempt, 0).total_seconds() for attempt in range(1, 10)]
    assert delays == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert policy.delay(1, 1) == timedelta(milliseconds=60)
    assert policy.delay(1, -1) == timedelta(milliseconds=40)
    assert policy.delay(10**6, 0) == timedelta(seconds=5)


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"initial": timedelta(0)}, {"factor": 0.5}, {"jitter": 1.0}, {"jitter": -0.1}]
)
def test_a_policy_without_pauses_is_refused(wrong: dict[str, object]) -> None:
    """A loop that never waits would burn the processor as long as the server is away."""
    with pytest.raises(UsageError):
        Reconnect(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://localhost", "redis://HOST"),
        ("localhost:6379", "'localhost'"),
        ("unix://", "path of a socket"),
        ("redis://localhost/orders", "'orders'"),
        ("redis://localhost:port", "port"),
        ("redis://user:secret@localhost:99999", "port"),
        ("redis://user:secret@localhost?socket_timeout=long", "socket_timeout"),
        ("redis://user:secret@localhost?wrong=1", "no such setting: 'wrong'"),
        ("redis://user:pa/secret@localhost", "%2F"),
        ("redis://user:12/secret@localhost", "%2F"),
    ],
)
def test_a_wrong_url_is_refused_by_name_and_without_its_password(url: str, said: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidSettingsError) as caught:
        ValkeyBroker(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "where", "user"),
    [
        ("redis://ann:secret@db.example:7000/2", "the server at db.example:7000", "ann"),
        ("rediss://:secret@db.example", "the server at db.example:6379", "default"),
        ("unix:///run/valkey.sock?db=1", "the server at unix:///run/valkey.sock", "default"),
    ],
)
def test_a_server_is_named_without_its_password(url: str, where: str, user: str) -> None:
    """In messages and in what Python shows of a broker."""
    pool = pool_from_url(url, connect_timeout=timedelta(seconds=1))
    assert (describe(pool), user_of(pool)) == (where, user)
    assert repr(ValkeyBroker(url)) == f"<ValkeyBroker on {where}>"


def test_a_broker_takes_a_url_or_a_client() -> None:
    """Neither, or both, is a mistake."""
    with pytest.raises(UsageError, match="either"):
        ValkeyBroker()
    with pytest.raises(UsageError, match="either"):
        ValkeyBroker("redis://localhost", client=object())
    with pytest.raises(UsageError, match="above zero"):
        ValkeyBroker("redis://localhost", answer_timeout=timedelta(0))


@pytest.mark.parametrize(
    ("facts", "product"),
    [
        ({"redis_version": "6.2.14"}, ("redis", (6, 2, 14))),
        (
            {"redis_version": "7.2.4", "valkey_version": "9.1.2", "server_name": "valkey"},
            ("valkey", (9, 1, 2)),
        ),
        ({"redis_version": "7.2.0", "dragonfly_version": "df-v1.2.3"}, ("redis", (7, 2, 0))),
        ({}, ("unknown", (0, 0, 0))),
    ],
)
def test_a_server_is_known_by_its_own_name(
    facts: dict[str, str], product: tuple[str, tuple[int, int, int]]
) -> None:
    """Valkey also tells the version of the Redis it came from."""
    assert product_of(facts) == product


@pytest.mark.parametrize(
    ("start", "position"),
    [
        (NEW, b"$"),
        (BEGINNING, b"0-0"),
        (EntryId(5, 3), b"5-3"),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), b"999-18446744073709551615"),
    ],
)
def test_reading_starts_after_a_position(start: EntryId | datetime, position: bytes) -> None:
    """An entry added in the very millisecond of a time is read, too."""
    assert start_position(start) == position


def test_time_spans_are_never_rounded_to_nothing() -> None:
    """A wait of a microsecond would otherwise become one without end."""
    assert milliseconds(timedelta(microseconds=1)) == 1
    assert milliseconds(timedelta(milliseconds=20)) == 20
    assert milliseconds(timedelta(0)) == 0


def test_a_great_lag_is_estimated_from_the_density_of_what_was_counted() -> None:
    """100 entries in the first 1,000 ms: 10,000 ms hold about 1,000, and never more than the stream has."""
    reached = EntryId(2000)
    assert estimate_lag(5000, EntryId(1000), reached, EntryId(11_000), 100) == 1000
    assert estimate_lag(700, EntryId(1000), reached, EntryId(11_000), 100) == 700
    assert estimate_lag(700, EntryId(1000), EntryId(1000), EntryId(1000), 100) == 100
    assert json.dumps(estimate_lag(7, EntryId(1), EntryId(2), EntryId(1), 3)) == "3"
