"""What all errors have in common, and those that fix themselves at the call."""

from typing import Any

__all__ = [
    "PenstockError",
    "TransientError",
    "UsageError",
    "MalformedEntryIdError",
    "MalformedDurationError",
    "BodyTooLargeError",
    "UnsupportedClientError",
    "IllegalTransitionError",
]


class PenstockError(Exception):
    """Everything penstock raises on purpose. It survives copying and pickling with its facts."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are made again by calling the class with `args`, which here hold the message and not the facts.
        return _again, (type(self), self.args, self.__dict__)


def _again(cls: type[PenstockError], args: tuple[Any, ...], facts: dict[str, Any]) -> PenstockError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(facts)
    return error


class TransientError(PenstockError):
    """The same call may succeed later and is safe to repeat."""


class UsageError(PenstockError, ValueError):
    """The call itself is wrong: fix the arguments. Nothing was sent anywhere."""


class MalformedEntryIdError(UsageError):
    """A text that is not an entry id."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(
            f"{text!r} is not an entry id; write milliseconds and counter, as in '1700000000000-0'"
        )


class MalformedDurationError(UsageError):
    """A text that is not a duration of penstock's one grammar."""

    def __init__(self, text: str, suggestion: str | None = None) -> None:
        self.text, self.suggestion = text, suggestion
        hint = (
            f"; did you mean {suggestion!r}?"
            if suggestion
            else "; write '500ms', '60 min', '5 days' or 'PT5M'"
        )
        super().__init__(f"{text!r} is not a duration{hint}")


class BodyTooLargeError(UsageError):
    """A body above the limit that publishing refuses."""

    def __init__(self, name: str, *, size: int, limit: int) -> None:
        self.name, self.size, self.limit = name, size, limit
        super().__init__(
            f"the body of {name!r} has {size:,} bytes, more than the {limit:,} allowed; "
            "keep the bulk elsewhere and send a reference, or raise `max_body`"
        )


class UnsupportedClientError(UsageError):
    """A client object that penstock cannot work with."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(f"{reason}; {remedy}")


class IllegalTransitionError(UsageError):
    """A life cycle was asked to move where its table does not lead."""

    def __init__(self, thing: str, *, state: str, wanted: str) -> None:
        self.thing, self.state, self.wanted = thing, state, wanted
        super().__init__(f"{thing} is {state} and cannot become {wanted}")
