"""`Event`: a msgspec struct that declares itself by class keywords, and its twin for type checkers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, dataclass_transform

import msgspec

from penstock.codec import Codec
from penstock.errors import ConfigurationError
from penstock.event._declaring import DECLARATION, declare, nearest
from penstock.event._type import Key

__all__ = ["Event"]

_DECLARING: Final = ("name", "key", "version", "kind", "category", "stream", "codec", "history")
_SHAPING: Final = ("rename", "omit_defaults", "forbid_unknown_fields", "gc")
"""What passes to msgspec; the rest is settled, such as being frozen."""


class _EventMeta(msgspec.StructMeta):
    """Takes the declaration out of the class keywords and leaves the rest to msgspec."""

    def __new__(
        mcs, class_name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any
    ) -> Any:
        known = _DECLARING + _SHAPING
        for unknown in keywords.keys() - set(known):
            hint = nearest(unknown, known) or f"it takes {', '.join(known)}"
            raise ConfigurationError(f"{class_name}: an event takes no {unknown!r}; {hint}")
        said = {word: keywords.pop(word) for word in _DECLARING if word in keywords}
        # A base's declaration is not its subclass's: without a name of its own a class declares nothing.
        namespace[DECLARATION] = None
        cls: Any = super().__new__(mcs, class_name, bases, namespace, frozen=True, kw_only=True, **keywords)
        if "name" in said:
            declare(cls, **said)
        elif said:
            raise ConfigurationError(
                f"{class_name} says {', '.join(said)} but no name=; give the event a name"
            )
        return cls


if TYPE_CHECKING:
    # Without the metaclass: mypy does not look at the keywords of classes that have one.
    @dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
    class Event:
        """An event: a frozen struct with keyword-only fields, declared by class keywords."""

        def __init_subclass__(
            cls,
            *,
            name: str = ...,
            key: Key | None = ...,
            version: int = ...,
            kind: str = ...,
            category: str | None = ...,
            stream: str | None = ...,
            codec: Codec = ...,
            history: bool = ...,
            rename: Literal["lower", "upper", "camel", "pascal", "kebab"]
            | Callable[[str], str | None]
            | None = ...,
            omit_defaults: bool = ...,
            forbid_unknown_fields: bool = ...,
            gc: bool = ...,
        ) -> None: ...

else:

    class Event(msgspec.Struct, metaclass=_EventMeta):
        """An event: a frozen msgspec struct with keyword-only fields, declared by class keywords.

        ``class OrderPlaced(Event, name="order.placed", key="order_id")``; further ``version=`` (of the body's schema),
        ``kind=`` (``event``, ``notification``, ``command``, or a word of yours), ``category=`` (the name up to its last
        dot unless given), ``stream=`` (the name unless given), ``codec=``, ``history=True`` (events of one key can be
        looked up by `App.history`). A subclass without ``name=`` is a base for others and cannot be emitted. Of
        msgspec's own keywords ``rename``, ``omit_defaults``, ``forbid_unknown_fields`` and ``gc`` pass.
        """
