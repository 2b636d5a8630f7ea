"""What a relay makes of an event: whether it goes, where to, and under what name. Pure."""

from dataclasses import dataclass

from penstock.errors import UsageError
from penstock.message import Message
from penstock.relays.abc import RelayPlan
from penstock.store.abc import NewEvent, StoredEvent

__all__ = ["Bound", "bound_for", "carried", "default_event_stream"]


@dataclass(frozen=True, slots=True)
class Bound:
    """Where an event goes."""

    stream: str
    name: str


def bound_for(plan: RelayPlan, message: Message) -> Bound | None:
    """Where *message* goes, and as what; ``None`` if it does not.

    Raises:
        UsageError: What a function of the plan answers is no name.
    """
    if plan.names is not None and message.name not in plan.names:
        return None
    if plan.where is not None and not plan.where(message):
        return None
    name = _renamed(plan, message)
    stream = plan.to(message) if callable(plan.to) else plan.to or _default_stream(plan, message, name)
    return Bound(_checked(plan, "to", stream), _checked(plan, "rename", name))


def carried(plan: RelayPlan, event: StoredEvent) -> NewEvent | None:
    """*event* as it goes into another store, with its id; ``None`` if it does not. Raises as `bound_for`."""
    bound = bound_for(plan, event)
    if bound is None:
        return None
    return NewEvent(stream=bound.stream, id=event.id, name=bound.name, meta=event.meta, data=event.data)


def default_event_stream(plan: RelayPlan, name: str, key: str | None) -> str:
    """The event stream of an event that comes from a stream: ``<category>-<key>``, or the category alone."""
    declared = plan.types.get(name)
    category = declared.category if declared is not None else name.rpartition(".")[0] or name
    return category if key is None else f"{category}-{key}"


def _default_stream(plan: RelayPlan, message: Message, name: str) -> str:
    match plan.kind:
        case "store to store":
            return message.stream
        case "stream to store":
            return default_event_stream(plan, message.name, message.key)
        case "store to streams":
            declared = plan.types.get(message.name)
            # As emitting does: an event that is called otherwise goes into the stream of that name.
            return declared.stream if declared is not None and name == message.name else name


def _renamed(plan: RelayPlan, message: Message) -> str:
    rename = plan.rename
    if rename is None:
        return message.name
    if not callable(rename):
        return rename.get(message.name, message.name)
    name: str = rename(message)
    return name


def _checked(plan: RelayPlan, what: str, name: object) -> str:
    if not isinstance(name, str) or not name:
        raise UsageError(f"relay {plan.name!r}: {what}= answered {name!r}, which is no name")
    return name
