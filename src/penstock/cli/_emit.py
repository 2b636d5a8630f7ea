"""``penstock emit``: one event from the command line, or as many as lines come in."""

from typing import Annotated, Any, cast

import typer

from penstock.app import App
from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._emitting import Body, CodecName, EventName, Form, Header, Kind, emit_lines
from penstock.cli._errors import DONE, WrongUsage
from penstock.cli._near import hint_for_new
from penstock.errors import CodecError
from penstock.operations import Operations
from penstock.position import EntryId

__all__ = ["add_to"]


def add_to(root: Noun) -> None:
    """Add the command."""
    root.verb("emit", fast=True)(emit)


async def emit(
    cli: Cli,
    name: EventName,
    body: Body = None,
    stream: Annotated[
        str | None,
        typer.Option(
            "--stream",
            metavar="STREAM",
            help="The stream.  [default: what the event's class says, or its name]",
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="What orders it: mostly the id of one entity.")
    ] = None,
    header: Header = None,
    entry_id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="ENTRY_ID", help="The place in the stream.  [default: the server's clock]"
        ),
    ] = None,
    kind: Kind = None,
    codec: CodecName = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="With -: pass over lines that cannot be emitted, and go on.")
    ] = False,
) -> int:
    """Emit an event. With - one for each line of standard input, in batches, in order.

    Where the app declares an event class of that name, bodies are checked against it.
    """
    if body != "-" and skip_bad:
        raise WrongUsage("--skip-bad is about lines; it needs - for the body")
    if body == "-" and entry_id is not None:
        raise WrongUsage("--id names one place, and - emits many events; leave one of them out")
    app = cli.find_app() or App.of_settings(cli.settings())
    form = Form.of(app, name, codec=codec, header=header, stream=stream, key=key, kind=kind)
    async with app:
        where = stream or (name if form.declared is None else form.declared.stream)
        if (hint := await hint_for_new(Operations(app), where)) is not None:
            cli.out.note(hint, style="yellow")
        if body == "-":
            return await emit_lines(cli.out, app, form, skip_bad=skip_bad)
        try:
            event = form.event(body.encode() if body is not None else None)
        except CodecError as failure:
            raise WrongUsage(f"the body {failure}", remedy="nothing was emitted") from failure
        place = None if entry_id is None else EntryId.parse(entry_id)
        published = cast("Any", await app.emit(event, entry_id=place, **form.said))
    if cli.out.json:
        cli.out.document(
            id=published.event_id, name=name, stream=published.stream, entry_id=published.entry_id
        )
    cli.out.say(f"{name} -> {published.stream} {published.entry_id}")
    return DONE
