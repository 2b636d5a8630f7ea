"""Versions of an event's body: the older are upcast when read, the newer refused."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.codec import JSON, MESSAGEPACK, Codec
from penstock.errors import CodecError, ConfigurationError, DecodeError, UsageError
from penstock.event import Event, EventType, event_type, upcaster

CODECS = pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "messagepack"])
Step = Callable[[dict[str, Any]], dict[str, Any]]


class Registered(Event, name="customer.registered", key="id", version=3):
    """Version 1 had one name, version 2 two, version 3 counts visits by year."""

    id: str
    first_name: str
    last_name: str
    visits: dict[int, int]
    photo: bytes = b""


@upcaster(Registered, from_version=1)
def _(payload: dict[str, Any]) -> dict[str, Any]:
    first, _, last = payload.pop("name").partition(" ")
    return {**payload, "first_name": first, "last_name": last}


@upcaster(Registered, from_version=2)
def _(payload: dict[str, Any]) -> dict[str, Any]:
    payload["visits"] = {payload.pop("year"): 1}
    return payload


def steps(count: int) -> EventType:
    """An event at version *count* + 1 whose upcasters note their number in the payload."""

    class Stepped(Event, name="stepped", version=count + 1):
        taken: list[int]

    for version in range(1, count + 1):
        upcaster(Stepped, from_version=version)(noting(version))
    return event_type(Stepped)


def noting(version: int) -> Step:
    """The upcaster from *version*."""
    return lambda payload: {"taken": [*payload["taken"], version]}


def failing(payload: dict[str, Any]) -> dict[str, Any]:
    """An upcaster that expects what is not there."""
    return {"taken": payload["token"]}


def misfitting(_: dict[str, Any]) -> dict[str, Any]:
    """An upcaster to something else than its class."""
    return {"taken": 5}


def forgetful(payload: dict[str, Any]) -> dict[str, Any]:
    """An upcaster that changes its payload and returns nothing."""
    payload["taken"] = []
    return None  # type: ignore[return-value]


@pytest.mark.covers("MSG-8")
@CODECS
def test_a_body_of_any_older_version_is_read_by_the_present_class(codec: Codec) -> None:
    """One class handles what three generations of code have written; the bytes stay what they were."""
    ann = Registered(id="c-1", first_name="Ann", last_name="Lee", visits={2024: 1}, photo=b"\xff")
    photo = "/w==" if codec is JSON else b"\xff"
    payloads: dict[int, dict[str, Any]] = {
        1: {"id": "c-1", "name": "Ann Lee", "year": 2024, "photo": photo},
        2: {"id": "c-1", "first_name": "Ann", "last_name": "Lee", "year": 2024, "photo": photo},
        3: {"id": "c-1", "first_name": "Ann", "last_name": "Lee", "visits": {2024: 1}, "photo": photo},
    }
    for version, payload in payloads.items():
        stored = codec.encode(payload)
        kept = bytes(stored)
        found = event_type(Registered).decode(stored, version=version, content_type=codec.content_type)
        assert (found, stored) == (ann, kept)


@pytest.mark.covers("MSG-8")
@given(st.integers(0, 6), st.data(), st.sampled_from([JSON, MESSAGEPACK]))
def test_the_steps_are_taken_in_order_and_each_once(count: int, data: st.DataObject, codec: Codec) -> None:
    """Whatever version a body is of, exactly the steps from there to the present are taken, oldest first."""
    declared = steps(count)
    version = data.draw(st.integers(1, count + 1), "version of the body")
    body = codec.encode({"taken": []})
    found = declared.decode(body, version=version, content_type=codec.content_type)
    assert found.taken == [*range(version, count + 1)]


@pytest.mark.covers("MSG-8")
def test_an_older_event_without_a_body_is_upcast_from_nothing() -> None:
    """A class that had no fields and has some now gives them in its upcaster."""

    class Closed(Event, name="closed", version=2):
        reason: str

    @upcaster(Closed, from_version=1)
    def _(payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "reason": "unknown"}

    found = event_type(Closed).decode(None, version=1, content_type="application/json")
    assert found == Closed(reason="unknown")


def test_a_newer_body_waits_for_the_newer_class() -> None:
    """The error names both versions and says what to deploy first."""
    with pytest.raises(
        DecodeError,
        match=r"'stepped': .* of version 7, and .*Stepped knows versions up to 3; deploy the newer",
    ):
        steps(2).decode(b'{"taken":[]}', version=7, content_type="application/json")


@pytest.mark.parametrize("version", [0, -1, -(10**12)])
def test_a_version_that_nobody_wrote_is_refused(version: int) -> None:
    """Versions begin at 1, whatever a foreign entry says."""
    with pytest.raises(DecodeError, match=f"nothing leads from version {version} to {version + 1}"):
        steps(2).decode(b'{"taken":[]}', version=version, content_type="application/json")


def test_a_missing_step_is_an_error_on_reading_and_when_checked() -> None:
    """Both name the step and the decorator to write; bodies that do not need it are read."""
    declared = steps(3)
    declared.check()
    del declared.upcasters[2]
    says = r"nothing leads from version 2 to 3; register it with @upcaster\(.*Stepped, from_version=2\)"
    for version in (1, 2):
        with pytest.raises(DecodeError, match=says):
            declared.decode(b'{"taken":[]}', version=version, content_type="application/json")
    assert declared.decode(b'{"taken":[]}', version=3, content_type="application/json").taken == [3]
    with pytest.raises(ConfigurationError, match=f"'stepped' is at version 4, and {says}"):
        declared.check()


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (failing, "'stepped': its upcaster from version 1 failed: KeyError: 'token'"),
        (forgetful, "'stepped': its upcaster from version 1 returned None instead of a payload"),
        (misfitting, r"'stepped': Expected `array`, got `int` - at `\$.taken`"),
    ],
)
def test_a_step_that_fails_is_a_decode_error(step: Step, says: str) -> None:
    """The error names the step, keeps the cause, and so the body becomes a failed message and no endless retry."""

    class Stepped(Event, name="stepped", version=2):
        taken: list[int]

    upcaster(Stepped, from_version=1)(step)
    with pytest.raises(DecodeError, match=says):
        event_type(Stepped).decode(b'{"taken":[]}', version=1, content_type="application/json")


def test_an_upcaster_must_lead_to_a_version_that_is_there() -> None:
    """Before the class has the newer version nothing leads there; and of two from one version one is wrong."""

    class Stepped(Event, name="stepped", version=2):
        taken: list[int]

    wrong: list[Any] = [0, 2, 3, "1"]
    for version in wrong:
        with pytest.raises(
            ConfigurationError, match=f"'stepped' is at version 2, .* not from {version!r}; raise version="
        ):
            upcaster(Stepped, from_version=version)(noting(1))
    upcaster(Stepped, from_version=1)(noting(1))
    with pytest.raises(ConfigurationError, match="'stepped' already has an upcaster from version 1"):
        upcaster(Stepped, from_version=1)(noting(1))
    with pytest.raises(UsageError, match="int is not declared"):
        upcaster(int, from_version=1)(noting(1))


@given(
    st.binary()
    | st.none()
    | st.sampled_from([b"null", b"[]", b"{}", b'{"taken":{}}', b'{"taken":[null]}', b"\x80"]),
    st.integers(-2, 6),
    st.sampled_from(
        ["application/json", "application/msgpack", "text/plain", "application/octet-stream", "", "a/b"]
    ),
)
def test_no_body_makes_a_reader_raise_anything_but_a_codec_error(
    data: bytes | None, version: int, content_type: str
) -> None:
    """Whatever stands in an entry is an event, or a `CodecError` that says why not."""
    with contextlib.suppress(CodecError):
        steps(4).decode(data, version=version, content_type=content_type)
