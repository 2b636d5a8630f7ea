"""``penstock listeners``: which functions hear which events."""

from typing import Annotated, Final

import typer

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._output import Column
from penstock.operations import EventListeners, event_listeners

__all__ = ["NOUN"]

NOUN: Final = Noun("listeners", "Listeners: which functions hear which events.")


@NOUN.verb("list", aliases=("list", "streamer:list"))
def list_listeners(
    cli: Cli, compact: Annotated[bool, typer.Option("--compact", help="Only the events.")] = False
) -> None:
    """List the app's events and their listeners."""
    app = cli.app()
    found = event_listeners(app)
    if cli.out.json:
        cli.out.document(items=[known.event for known in found] if compact else found)
    elif not found:
        cli.out.say(f"App {app.name} has no listeners. Declare one with @app.listener(...)")
    elif compact:
        cli.out.table(
            [Column("Event", narrow=False)], [[event] for event in dict.fromkeys(k.event for k in found)]
        )
    else:
        cli.out.table(
            [Column("Event", narrow=False), Column("Listeners", narrow=False)],
            [[_event(known), "\n".join(_lines(known)) or "none"] for known in found],
        )


def _event(known: EventListeners) -> str:
    if known.event == "*":
        return f"(every event in {known.stream})"
    return known.event if known.event == known.stream else f"{known.event} (in {known.stream})"


def _lines(known: EventListeners) -> list[str]:
    return [
        f"{each.name} ({'broadcast' if each.group is None else f'group {each.group}'}, {each.function})"
        for each in known.listeners
    ]
