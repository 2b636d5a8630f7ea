"""Keys: what orders and shards an event."""

from enum import Enum, IntEnum, StrEnum
from uuid import UUID

import pytest

from penstock.errors import UsageError
from penstock.event import Event, event_type


class Size(StrEnum):
    """A text enumeration."""

    LARGE = "l"


class Mixed(str, Enum):  # noqa: UP042  the older way to write one, whose str() is not its value
    """A text enumeration as it was written before 3.11."""

    LARGE = "l"


class Number(IntEnum):
    """A number enumeration."""

    TWO = 2


class Keyed(Event, name="keyed", key=lambda each: each.value):
    """An event whose key is whatever is in it."""

    value: object


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("o-1", "o-1"),
        ("", ""),
        (-7, "-7"),
        (2**70, str(2**70)),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Size.LARGE, "l"),
        (Mixed.LARGE, "l"),
        (Number.TWO, "2"),
    ],
)
def test_a_key_is_text_a_whole_number_or_a_uuid(value: object, key: str) -> None:
    """Each is written as everybody would write it; an enumeration counts as its value."""
    found = event_type(Keyed).key_of(Keyed(value=value))
    assert (type(found), found) == (str, key)


@pytest.mark.parametrize("value", [None, True, 1.0, b"o-1", ("o", 1), object()])
def test_any_other_key_is_refused(value: object) -> None:
    """What could be written in more than one way, or means nothing, orders nothing."""
    with pytest.raises(
        UsageError, match=r"the key of 'keyed' is .*; a key is text, a whole number or a UUID"
    ):
        event_type(Keyed).key_of(Keyed(value=value))


def test_a_key_is_a_field_a_property_or_a_function() -> None:
    """No key at all is fine too."""

    class Moved(Event, name="moved", key="place"):
        x: int
        y: int

        @property
        def place(self) -> str:
            return f"{self.x}/{self.y}"

    moved = Moved(x=1, y=2)
    assert event_type(moved).key_of(moved) == "1/2"

    class Stopped(Event, name="stopped", key="x"):
        x: int

    class Rested(Event, name="rested"):
        x: int

    assert event_type(Stopped).key_of(Stopped(x=1)) == "1"
    assert event_type(Rested).key_of(Rested(x=1)) is None
