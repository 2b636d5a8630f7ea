"""Events that are somebody else's classes: dataclass, attrs, TypedDict, pydantic model, plain struct."""

import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, NotRequired, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from penstock.codec import JSON, MESSAGEPACK, Codec
from penstock.errors import ConfigurationError, DecodeError, EncodeError, UsageError
from penstock.event import event, event_type, is_event, upcaster

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SENT: dict[str, Any] = {"order_id": "o-1", "at": AT, "weight": 2**70, "tags": ["a"]}


@event("order.sent", key="order_id")
@dataclass(frozen=True, slots=True)
class AsDataclass:
    """A dataclass."""

    kept: ClassVar[str] = "not a field"
    order_id: str
    at: datetime
    weight: int
    tags: list[str] = field(default_factory=list[str])


@event("order.sent", key="order_id")
@attrs.frozen
class AsAttrs:
    """An attrs class."""

    order_id: str = attrs.field(validator=attrs.validators.min_len(1))
    at: datetime
    weight: int
    tags: list[str] = attrs.field(factory=list[str])


@event("order.sent", key="order_id")
class AsStruct(msgspec.Struct):
    """A msgspec struct."""

    order_id: str
    at: datetime
    weight: int
    tags: list[str] = []


@event("order.sent", key="order_id")
class AsModel(pydantic.BaseModel):
    """A pydantic model."""

    order_id: str
    at: datetime
    weight: int
    tags: list[str] = []


@event("order.sent", key="order_id")
class AsDict(TypedDict):
    """A typed dict."""

    order_id: str
    at: datetime
    weight: int
    tags: NotRequired[list[str]]


SORTS = pytest.mark.parametrize("cls", [AsDataclass, AsAttrs, AsStruct, AsModel, AsDict])
CODECS = pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "messagepack"])


@pytest.mark.covers("MSG-5")
@SORTS
@CODECS
def test_every_sort_of_class_comes_back_as_it_was(cls: Any, codec: Codec) -> None:
    """The decorated class stays what it is, and its events survive both ways of writing."""
    sent, declared = cls(**SENT), event_type(cls)
    assert declared.cls is cls
    assert declared.key_of(sent) == "o-1"
    body = declared.encode(sent, codec)
    found = declared.decode(body, version=1, content_type=codec.content_type)
    assert (type(found), found) == (type(sent), sent)
    declared.check()


@SORTS
def test_every_sort_of_class_reads_what_any_other_wrote(cls: Any) -> None:
    """A body belongs to no sort of class: producer and consumer choose theirs freely."""
    written = {
        event_type(each).encode(each(**SENT)) for each in (AsDataclass, AsAttrs, AsStruct, AsModel, AsDict)
    }
    found = [
        event_type(cls).decode(body, version=1, content_type="application/json") for body in written if body
    ]
    assert found == [cls(**SENT)] * len(written)


@SORTS
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"order_id":"o-1","at":"2026-01-02T03:04:05Z","weight":"heavy"}', "weight"),
        (b'{"order_id":"o-1","at":"2026-01-02T03:04:05Z"}', "weight"),
        (b'{"order_id":"o-1","at":"yesterday","weight":1}', r"\$.at"),
        (b'{"order_id', ""),
        (b"[]", ""),
    ],
)
def test_every_sort_of_class_refuses_in_one_line_what_does_not_fit(cls: Any, body: bytes, says: str) -> None:
    """The error names the event and the field, whatever library found it."""
    with pytest.raises(DecodeError, match=f"'order.sent': .*{says}") as caught:
        event_type(cls).decode(body, version=1, content_type="application/json")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_classs_own_checks_hold_for_what_is_read() -> None:
    """Validators of attrs and pydantic run on decoding."""
    body = event_type(AsDataclass).encode(AsDataclass("", AT, 1))
    with pytest.raises(DecodeError, match="Length of 'order_id' must be >= 1"):
        event_type(AsAttrs).decode(body, version=1, content_type="application/json")


def test_the_values_of_a_typed_dict_do_not_know_their_event() -> None:
    """They are plain dicts; the class declares the event and the error says what to do with a value."""
    value = AsDict(order_id="o-1", at=AT, weight=1)
    assert is_event(AsDict)
    assert not is_event(value)
    with pytest.raises(
        UsageError, match=r"a dict, which is what the values of a TypedDict are.* emit it with name="
    ):
        event_type(value)


def test_a_subclass_of_an_event_is_no_event_until_it_is_declared() -> None:
    """Else its events would be read back as its base, without what the subclass added."""

    @dataclass(frozen=True)
    class Insured(AsDataclass):
        insurance: int = 0

    class Tracked(AsModel):
        number: str = ""

    for cls in (Insured, Tracked):
        assert not is_event(cls)
        with pytest.raises(UsageError, match=f"{cls.__name__} is not declared as an event"):
            event_type(cls(**SENT))
        event("order.sent.more")(cls)
        assert event_type(cls(**SENT)).name == "order.sent.more"
    assert event_type(AsModel).name == "order.sent"


def test_only_classes_with_fields_that_we_know_of_are_declared() -> None:
    """A plain class, a function, and a decorator in the wrong place are refused with the remedy."""
    with pytest.raises(
        ConfigurationError, match=r"Plain is none of dataclass, .*@event stands above @dataclass"
    ):

        @dataclass
        @event("plain")
        class Plain:
            number: int

    with pytest.raises(ConfigurationError, match="no class; @event stands above one"):
        event("plain")(len)  # type: ignore[type-var]


@pytest.mark.covers("MSG-4")
def test_a_class_without_fields_has_no_body_whatever_its_sort() -> None:
    """Class variables do not count; what pydantic adds of its own does."""

    @event("rung")
    @dataclass
    class Rung:
        loud: ClassVar[bool] = True

    @event("rung")
    class RungModel(pydantic.BaseModel):
        pass

    @event("rung")
    class RungDict(TypedDict):
        pass

    @event("rung")
    class Open(pydantic.BaseModel, extra="allow"):
        pass

    @event("rung")
    class Computed(pydantic.BaseModel):
        @pydantic.computed_field
        def twice(self) -> int:
            return 2

    empty: list[Any] = [Rung, RungModel, RungDict]
    assert [event_type(cls).encode(cls()) for cls in empty] == [None, None, None]
    assert event_type(Rung).decode(None, version=1, content_type="application/json") == Rung()
    assert event_type(Open).encode(Open.model_validate({"by": "ann"})) == b'{"by":"ann"}'
    assert event_type(Computed).encode(Computed()) == b'{"twice":2}'


# -- pydantic -----------------------------------------------------------------------------------------------------


@event("paid", version=2)
class Paid(pydantic.BaseModel, strict=True):
    """A strict model with what is hard about pydantic: aliases, bytes, and types that msgspec does not know."""

    id: UUID
    price: Decimal = Decimal("1.10")
    share: float | None = None
    slip: bytes = b""
    paid_by: str = pydantic.Field(default="", alias="paidBy")


@upcaster(Paid, from_version=1)
def _(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "price": str(payload.pop("cents") / 100)}


@event("linked", version=2)
class Linked(pydantic.BaseModel):
    """A lax model of what MessagePack keeps as it is."""

    url: pydantic.HttpUrl
    slip: bytes
    share: float
    id: UUID
    at: datetime
    counts: dict[int, set[int]]


@upcaster(Linked, from_version=1)
def _(payload: dict[str, Any]) -> dict[str, Any]:
    return {"share": 0.5, **payload}


def test_a_model_is_written_by_its_aliases() -> None:
    """What pydantic writes, pydantic reads again; strict models too, for JSON tells them what it is."""
    paid = Paid(id=UUID(int=1), paidBy="ann")
    body = event_type(paid).encode(paid)
    assert body is not None
    assert b'"paidBy":"ann"' in body
    assert event_type(Paid).decode(body, version=2, content_type="application/json") == paid


@pytest.mark.covers("MSG-8")
def test_a_strict_model_is_read_from_an_older_version() -> None:
    """After upcasting it reads the payload as the JSON it came from: a UUID is still a text."""
    old = JSON.encode({"id": str(UUID(int=1)), "cents": 250})
    found = event_type(Paid).decode(old, version=1, content_type="application/json")
    assert found == Paid(id=UUID(int=1), price=Decimal("2.5"))


def test_a_model_in_messagepack_keeps_bytes_times_and_nan() -> None:
    """Whatever msgspec does not know is written as pydantic writes it in JSON."""
    url: Any = "http://example.org/"
    linked = Linked(url=url, slip=b"\xff", share=float("inf"), id=UUID(int=1), at=AT, counts={1: {2}})
    declared = event_type(linked)
    body = declared.encode(linked, MESSAGEPACK)
    assert body is not None
    assert MESSAGEPACK.decode(body)["slip"] == b"\xff"
    for version in (1, 2):
        assert declared.decode(body, version=version, content_type="application/msgpack") == linked


def test_a_models_check_that_raises_whatever_it_likes_is_a_decode_error() -> None:
    """Pydantic passes on what is no ValueError; the bytes do not fit all the same."""

    @event("checked")
    class Checked(pydantic.BaseModel):
        number: int

        @pydantic.field_validator("number")
        @classmethod
        def known(cls, number: int) -> int:
            return {1: 10}[number]

    assert (
        event_type(Checked).decode(b'{"number":1}', version=1, content_type="application/json").number == 10
    )
    with pytest.raises(DecodeError, match="'checked': KeyError: 2"):
        event_type(Checked).decode(b'{"number":2}', version=1, content_type="application/json")


@pytest.mark.parametrize("share", [float("nan"), float("-inf")])
def test_a_models_nan_is_refused_in_json(share: float) -> None:
    """Pydantic, too, writes null for it; nobody gets to see that."""
    paid = Paid(id=UUID(int=1), share=share)
    with pytest.raises(
        EncodeError, match=r"JSON has no (NaN|infinity) \(at `\$.share`\); .*codec=MESSAGEPACK"
    ):
        event_type(paid).encode(paid)


def test_a_model_that_writes_nan_as_text_may() -> None:
    """A model that was told how to carry NaN in JSON is left alone; one inside it that was not is not."""

    class Untold(pydantic.BaseModel):
        share: float

    @event("told")
    class Told(pydantic.BaseModel, ser_json_inf_nan="strings"):
        share: float
        note: str | None = None
        untold: Untold = Untold(share=0.5)

    told = Told(share=float("inf"))
    body = event_type(Told).encode(told)
    assert body == b'{"share":"Infinity","note":null,"untold":{"share":0.5}}'
    assert event_type(Told).decode(body, version=1, content_type="application/json") == told
    with pytest.raises(EncodeError, match=r"JSON has no infinity \(at `\$.untold.share`\)"):
        event_type(Told).encode(Told(share=float("nan"), untold=Untold(share=float("inf"))))


def test_a_model_that_writes_what_is_no_json_is_refused() -> None:
    """Readers in other languages could not read a bare NaN; text that looks like one is fine."""

    @event("bare")
    class Bare(pydantic.BaseModel, ser_json_inf_nan="constants"):
        share: float
        note: str = "NaN, Infinity, null"

    with pytest.raises(EncodeError, match="JSON is malformed"):
        event_type(Bare).encode(Bare(share=float("nan")))
    assert event_type(Bare).encode(Bare(share=0.5)) == b'{"share":0.5,"note":"NaN, Infinity, null"}'


@CODECS
def test_what_a_model_cannot_write_is_an_encode_error(codec: Codec) -> None:
    """Whoever refuses it, the error is ours and names the content type."""

    @event("odd")
    class Odd(pydantic.BaseModel, arbitrary_types_allowed=True):
        thing: object

    with pytest.raises(EncodeError, match=f"{codec.content_type}: ") as caught:
        event_type(Odd).encode(Odd(thing=object()), codec)
    assert caught.value.__cause__ is not None
    with pytest.raises(EncodeError, match="surrogates not allowed"):
        event_type(Odd).encode(Odd(thing="\ud800"), codec)


def test_a_model_that_names_what_does_not_exist_is_found_by_checking() -> None:
    """The error names the class, as for any other sort."""

    @event("unknown")
    class Unknown(pydantic.BaseModel):
        choice: "Nowhere"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError, match=r"Unknown cannot be read: .*Nowhere"):
        event_type(Unknown).check()


def test_pydantic_is_not_loaded_by_those_who_do_not_use_it() -> None:
    """Declaring, writing and reading other classes leaves it alone."""
    program = (
        "import sys, dataclasses\n"
        "from penstock.event import event, event_type\n"
        "@event('a')\n"
        "@dataclasses.dataclass\n"
        "class A:\n"
        "    x: int\n"
        "body = event_type(A).encode(A(1))\n"
        "assert event_type(A).decode(body, version=1, content_type='application/json') == A(1)\n"
        "print(sorted({'attrs', 'attr', 'pydantic', 'pydantic_core'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
