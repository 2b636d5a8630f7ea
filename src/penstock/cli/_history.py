"""``penstock history``: what happened to one entity."""

from contextlib import aclosing
from typing import Annotated, Final

import typer

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import WrongUsage
from penstock.cli._output import clean
from penstock.cli._plain import json_text
from penstock.cli._streams import show_entry
from penstock.operations import EntryView, parse_until

__all__ = ["NOUN"]

NOUN: Final = Noun("history", "History: the events of one entity, and the state they make.")

_NONE = "No events of this entity. Only those are known whose class or stream asks for history"


@NOUN.verb("show")
async def show_history(
    cli: Cli,
    events: Annotated[
        str, typer.Argument(metavar="EVENT[,EVENT...]", help="The events' names, told together.")
    ],
    identifier: Annotated[str, typer.Argument(metavar="IDENTIFIER", help="The events' key.")],
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME|ID", help="Up to then, or up to that entry; both included."),
    ] = None,
    as_events: Annotated[bool, typer.Option("--events", help="Show each event.")] = False,
    as_fold: Annotated[
        bool,
        typer.Option("--fold", help="Show the state they make: later fields over earlier ones.  [default]"),
    ] = False,
    stream: Annotated[
        str | None,
        typer.Option("--stream", metavar="STREAM", help="Where they are, if not where the name says."),
    ] = None,
) -> None:
    """Show what happened to one entity, through stream and archive: its state, or its events, oldest first."""
    if as_events and as_fold:
        raise WrongUsage("--events and --fold are two ways to show it; give one of them")
    names = [name for name in events.split(",") if name]
    if not names:
        raise WrongUsage("name at least one event, as in `history show order.placed,order.paid o-1`")
    place = None if until is None else parse_until(until)
    async with cli.operations() as operations:
        if not as_events:
            state = await operations.history_state(names, identifier, until=place, stream=stream)
            if cli.out.json:
                cli.out.document(events=names, identifier=identifier, state=state)
            elif state:
                cli.out.facts((clean(name), json_text(value)) for name, value in state.items())
            else:
                cli.out.say(_NONE)
            return
        found: list[EntryView] = []
        views = operations.history(names, identifier, until=place, stream=stream)
        async with aclosing(views):
            async for view in views:
                found.append(view)
                if not cli.out.json:
                    show_entry(cli.out, view)
    if cli.out.json:
        cli.out.document(items=found)
    elif not found:
        cli.out.say(_NONE)
