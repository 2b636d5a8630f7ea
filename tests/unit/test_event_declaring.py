"""Declaring events with our own class: what a declaration says, and which ones are refused."""

import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import msgspec
import pytest

from penstock.codec import BYTES, JSON, MESSAGEPACK, TEXT
from penstock.errors import CodecError, ConfigurationError, DecodeError, UsageError
from penstock.event import Event, event, event_type, is_event

Reply = TypeVar("Reply")


class OrderPlaced(Event, name="shop.order.placed", key="order_id", version=1):
    """An order was placed."""

    order_id: str
    customer: str
    total_cents: int
    note: str | None = None


ORDER = OrderPlaced(order_id="o-1", customer="Zoë", total_cents=1999)


class Unasked:
    """A codec that must not be called."""

    content_type = "application/x-unasked"

    def encode(self, value: object) -> bytes:
        """Fail the test."""
        raise AssertionError(value)

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """Fail the test."""
        raise AssertionError(data, type_)


class Sensor(Event):
    """What events of sensors have in common; no event by itself."""

    sensor: str


class Measured(Sensor, name="measured", key="sensor"):
    """One of them."""

    celsius: float


class Comment(Event, name="comment.made"):
    """An event that holds its own kind, and a class that is defined further below."""

    text: str
    replies: "list[Comment]" = msgspec.field(default_factory=list["Comment"])
    author: "Author | None" = None


class Author(msgspec.Struct):
    """Who wrote it."""

    name: str


class Question(Event, Generic[Reply]):
    """A generic base, for events that know the type of something else."""


class Asked(Question[int], name="asked"):
    """One of them."""

    text: str


# -- what a declaration says --------------------------------------------------------------------------------------


@pytest.mark.covers("MSG-2")
def test_a_declaration_needs_no_more_than_a_name() -> None:
    """Stream, category, kind, version and content type follow from the name or are what most events are."""
    for of in (OrderPlaced, ORDER):
        declared = event_type(of)
        assert (declared.cls, declared.name, declared.version) == (OrderPlaced, "shop.order.placed", 1)
        assert (declared.stream, declared.category) == ("shop.order.placed", "shop.order")
        assert (declared.kind, declared.content_type) == ("event", "application/json")
        assert is_event(of)
    assert event_type(Measured).category == "measured", "a name without a dot is its own category"


@pytest.mark.covers("MSG-2")
def test_everything_can_be_said() -> None:
    """Kinds are free words; stream, category and codec may differ from what the name suggests."""

    class Remind(
        Event,
        name="mail.remind",
        version=3,
        kind="command",
        category="mails",
        stream="{eu}:mail",
        codec=MESSAGEPACK,
    ):
        to: str

    class Beat(Event, name="beat", kind="measurement"):
        pass

    declared = event_type(Remind)
    assert (declared.kind, declared.version, declared.category) == ("command", 3, "mails")
    assert (declared.stream, declared.content_type) == ("{eu}:mail", "application/msgpack")
    assert event_type(Beat()).kind == "measurement"


def test_an_event_is_frozen_and_built_by_keyword() -> None:
    """Nobody changes an event that has happened, and a new field never shifts the meaning of an argument."""
    with pytest.raises(AttributeError, match="immutable"):
        ORDER.customer = "eve"  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        OrderPlaced("o-1", "Zoë", 1999)  # type: ignore[call-arg]
    assert OrderPlaced(order_id="o-1", customer="Zoë", total_cents=1999) == ORDER
    assert len({ORDER, OrderPlaced(order_id="o-1", customer="Zoë", total_cents=1999)}) == 1


def test_classes_with_the_same_name_do_not_know_of_each_other() -> None:
    """There is no registry: two readers see the same event each through its own class."""

    class Total(Event, name="shop.order.placed"):
        total_cents: int

    body = event_type(ORDER).encode(ORDER)
    assert event_type(Total).decode(body, version=1, content_type="application/json") == Total(
        total_cents=1999
    )
    assert event_type(OrderPlaced).cls is OrderPlaced


def test_fields_are_inherited_and_declarations_are_not() -> None:
    """A base gives its fields; each event says its own name, and a base says none."""
    measured = Measured(sensor="s1", celsius=21.5)
    declared = event_type(measured)
    assert (declared.name, declared.key_of(measured)) == ("measured", "s1")
    assert declared.encode(measured) == b'{"sensor":"s1","celsius":21.5}'
    assert not is_event(Sensor)

    class Recalibrated(Measured):
        pass

    assert not is_event(Recalibrated(sensor="s1", celsius=0.5))


@pytest.mark.parametrize("of", [Sensor, Sensor(sensor="s1"), Event])
def test_a_base_is_no_event_and_the_error_says_how_it_becomes_one(of: object) -> None:
    """Emitting a class that only others inherit from fails by name."""
    with pytest.raises(UsageError, match=r"(Sensor|Event) has no name, .*; declare it with name='some.name'"):
        event_type(of)


@pytest.mark.parametrize("of", [object(), int, "order.placed", None])
def test_what_was_never_declared_is_refused_with_the_ways_to_do_it(of: object) -> None:
    """The error for any other class names the class, and both ways to declare it."""
    with pytest.raises(
        UsageError, match=r"is not declared as an event; derive it from Event .* or put @event"
    ):
        event_type(of)
    assert not is_event(of)


def test_an_object_that_answers_to_every_name_is_no_event() -> None:
    """Proxies and stand-ins, which have every attribute that is asked for, are not mistaken for events."""

    class Everything:
        def __getattr__(self, name: str) -> object:
            return name

    assert not is_event(Everything())


# -- bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.covers("MSG-4")
def test_an_event_without_fields_has_no_body_and_asks_no_codec() -> None:
    """Nothing is written and nothing is read, which is not the same as a body that says null."""

    class Closed(Event, name="shop.closed", codec=Unasked()):
        pass

    declared = event_type(Closed)
    assert declared.encode(Closed()) is None
    assert declared.encode(Closed(), JSON) is None
    assert declared.decode(None, version=1, content_type=declared.content_type) == Closed()

    class Opened(Event, name="shop.opened"):
        pass

    with pytest.raises(DecodeError, match=r"'shop.opened': Expected `object`, got `null`"):
        event_type(Opened).decode(b"null", version=1, content_type="application/json")
    assert event_type(Opened).decode(b'{"by":"ann"}', version=1, content_type="application/json") == Opened()


def test_a_missing_body_is_read_by_defaults_or_refused() -> None:
    """A class that got fields later reads events from before if each has a default; else the error names the field."""
    with pytest.raises(DecodeError, match=r"'shop.order.placed': .*missing required field `order_id`"):
        event_type(ORDER).decode(None, version=1, content_type="application/json")

    class Closed(Event, name="shop.closed"):
        reason: str = "unknown"

    assert event_type(Closed).decode(None, version=1, content_type="application/json") == Closed()


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
def test_an_event_comes_back_as_it_was(codec: Any) -> None:
    """By its own codec or by one chosen for the moment, the reader gets an equal event."""
    declared = event_type(ORDER)
    body = declared.encode(ORDER, codec)
    assert body == codec.encode(ORDER)
    assert declared.decode(body, version=1, content_type=codec.content_type) == ORDER
    assert declared.decode(body, version=1, content_type=codec.content_type + "; v=1") == ORDER


def test_an_event_by_a_codec_of_yours_comes_back() -> None:
    """A codec that we do not know is asked by the class that names it."""

    class Reversed:
        content_type = "application/x-reversed"

        def encode(self, value: object) -> bytes:
            return JSON.encode(value)[::-1]

        def decode(self, data: bytes, type_: Any = Any) -> Any:
            return JSON.decode(data[::-1], type_)

    class Mirrored(Event, name="mirrored", codec=Reversed()):
        text: str

    declared = event_type(Mirrored)
    body = declared.encode(Mirrored(text="x"))
    assert body == b'}"x":"txet"{'
    for _ in range(2):  # the first time, the decoder is made
        assert declared.decode(body, version=1, content_type="application/x-reversed") == Mirrored(text="x")


def test_a_reader_passes_over_fields_that_it_does_not_know() -> None:
    """An emitter may add fields before its readers know them."""
    newer = b'{"order_id":"o-1","customer":"Zo\xc3\xab","total_cents":1999,"colour":{"of":"box"}}'
    assert event_type(ORDER).decode(newer, version=1, content_type="application/json") == ORDER


@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack"])
def test_a_wrong_type_is_refused_with_event_and_place(content_type: str) -> None:
    """The error names the event, the field, and what was there instead."""
    wrong = {"order_id": "o-1", "customer": "Zoë", "total_cents": "a lot"}
    body = (JSON if content_type == "application/json" else MESSAGEPACK).encode(wrong)
    with pytest.raises(
        DecodeError, match=r"'shop.order.placed': Expected `int`, got `str` - at `\$.total_cents`"
    ) as caught:
        event_type(ORDER).decode(body, version=1, content_type=content_type)
    assert isinstance(caught.value.__cause__, msgspec.ValidationError)


def test_a_content_type_nobody_knows_is_refused_by_name() -> None:
    """It is an error about the content type, not about the body."""
    with pytest.raises(CodecError, match="'application/x-other' is not known"):
        event_type(ORDER).decode(b"{}", version=1, content_type="application/x-other")


def test_events_may_hold_themselves_and_what_is_defined_below() -> None:
    """Annotations are looked at when the first event is read, not when the class is made."""
    comment = Comment(text="a", replies=[Comment(text="b", author=Author("ann"))])
    declared = event_type(comment)
    assert declared.decode(declared.encode(comment), version=1, content_type="application/json") == comment
    declared.check()


def test_a_field_that_nobody_can_read_is_found_by_checking() -> None:
    """The error names the class before any event is there; reading one says the same."""

    class Either(Event, name="either"):
        choice: "dict[str, int] | Author"

    class Unknown(Event, name="unknown"):
        choice: "Nowhere"  # type: ignore[name-defined]  # noqa: F821

    for cls in (Either, Unknown):
        with pytest.raises(ConfigurationError, match=f"{cls.__name__} cannot be read: "):
            event_type(cls).check()
        with pytest.raises(ConfigurationError, match=f"{cls.__name__} cannot be read: "):
            event_type(cls).decode(b"{}", version=1, content_type="application/json")


def test_shaping_keywords_of_msgspec_pass() -> None:
    """Other spellings on the wire, defaults left out, and strictness about unknown fields are msgspec's own."""

    class Sent(
        Event,
        name="sent",
        key="sent_by",
        rename="camel",
        omit_defaults=True,
        forbid_unknown_fields=True,
        gc=False,
    ):
        sent_by: str
        copies: int = 1

    declared = event_type(Sent)
    body = declared.encode(Sent(sent_by="ann"))
    assert body == b'{"sentBy":"ann"}'
    assert declared.decode(body, version=1, content_type="application/json") == Sent(sent_by="ann")
    with pytest.raises(DecodeError, match="unknown field `cc`"):
        declared.decode(b'{"sentBy":"ann","cc":1}', version=1, content_type="application/json")


def test_a_generic_base_takes_its_parameters() -> None:
    """A class may carry the type of something else, as a request carries that of its reply."""
    asked = Asked(text="why")
    declared = event_type(asked)
    assert declared.decode(declared.encode(asked), version=1, content_type="application/json") == asked
    assert not is_event(Question)


# -- what is refused ----------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"name": ""},
        "Made: '' cannot be a name; use visible characters without blanks or braces, as in 'order.placed'",
    ),
    ({"name": "order placed"}, "Made: 'order placed' cannot be a name"),
    ({"name": "order\tplaced"}, r"Made: 'order\tplaced' cannot be a name"),
    ({"name": "order\u00a0placed"}, r"Made: 'order\xa0placed' cannot be a name"),
    ({"name": "{order}"}, "Made: '{order}' cannot be a name"),
    ({"name": "order\ud800"}, r"Made: 'order\ud800' cannot be a name"),
    ({"name": 5}, "Made: 5 cannot be a name"),
    ({"name": None}, "Made: None cannot be a name"),
    ({"name": "a", "kind": ""}, "Made: '' cannot be a kind"),
    ({"name": "a", "category": "a b"}, "Made: 'a b' cannot be a category"),
    ({"name": "a", "stream": ""}, "Made: '' cannot be a stream"),
    ({"name": "a", "stream": "a\n"}, r"Made: 'a\n' cannot be a stream"),
    ({"name": "a", "version": 0}, "Made: version is 0; versions are whole numbers from 1"),
    ({"name": "a", "version": "2"}, "Made: version is '2'; versions are whole numbers from 1"),
    ({"name": "a", "version": True}, "Made: version is True; versions are whole numbers from 1"),
    ({"name": "a", "codec": "msgpack"}, "Made: codec is 'msgpack'; give a codec, such as MESSAGEPACK"),
    ({"name": "a", "codec": TEXT}, "Made: text/plain carries no fields; use JSON or MESSAGEPACK"),
    ({"name": "a", "codec": BYTES}, "Made: application/octet-stream carries no fields"),
    ({"name": "a", "key": "order"}, "Made: key 'order' is no field; did you mean 'order_id'?"),
    ({"name": "a", "key": "zzz"}, "Made: key 'zzz' is no field; its fields are order_id, customer"),
    ({"name": "a", "key": "method"}, "Made: key 'method' is no field; "),
    ({"name": "a", "key": 3}, "Made: key 3 is no field; "),
    ({"nmae": "a"}, "Made: an event takes no 'nmae'; did you mean 'name'?"),
    ({"name": "a", "frozen": False}, "Made: an event takes no 'frozen'; it takes name, key, version, "),
    ({"key": "order_id", "version": 2}, "Made says key, version but no name=; give the event a name"),
]


@pytest.mark.parametrize(("said", "error"), REFUSED, ids=[error for _, error in REFUSED])
def test_a_declaration_that_cannot_work_is_refused_where_it_is_made(said: dict[str, Any], error: str) -> None:
    """The class is not even made; the error names it, what was said, and what would do."""
    body: dict[str, object] = {
        "__annotations__": {"order_id": str, "customer": str},
        "__qualname__": "Made",
        "method": str.upper,
    }
    make: Callable[..., type] = cast(Any, type(Sensor))
    with pytest.raises(ConfigurationError, match=f"^{re.escape(error)}"):
        make("Made", (Event,), body, **said)


def test_a_decorator_without_a_name_is_refused() -> None:
    """``@event`` alone would put a function where the class was."""
    with pytest.raises(ConfigurationError, match=re.escape("write @event('some.name')")):
        event(OrderPlaced)  # type: ignore[arg-type]
