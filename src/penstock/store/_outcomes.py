"""What a store answers, said to a caller: places, or the error that a conflict is."""

from penstock.errors import DeletedStreamError, ProtectedStreamError, StoreError, WrongVersionError
from penstock.store.abc import EXISTS, NO_STREAM, Append, Appended, Conflict, Expected

__all__ = ["accepted", "error_of"]


def accepted(append: Append, outcome: list[Appended] | Conflict) -> list[Appended]:
    """Where the events are. Raises `WrongVersionError`, `ProtectedStreamError`, `DeletedStreamError`."""
    if isinstance(outcome, Conflict):
        raise error_of(append.expected, outcome)
    return outcome


def error_of(expected: Expected, conflict: Conflict) -> StoreError:
    """The error that a conflict is."""
    match conflict.reason:
        case "version":
            return WrongVersionError(conflict.stream, expected=_shown(expected), actual=conflict.actual)
        case "protected":
            return ProtectedStreamError(conflict.stream, conflict.owner)
        case "deleted":
            return DeletedStreamError(conflict.stream)


def _shown(expected: Expected) -> str:
    if expected is NO_STREAM:
        return "no stream"
    if expected is EXISTS:
        return "a stream with events"
    return str(expected)
