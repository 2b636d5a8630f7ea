"""``penstock store append``: one event into a store from the command line, or as many as lines come in."""

from typing import Annotated, Any

import typer

from penstock.app import App
from penstock.cli._accounts import code_of, ending_of, name_bad, telling_when_interrupted
from penstock.cli._cli import Cli
from penstock.cli._emitting import Body, CodecName, EventName, Form, Header, Kind
from penstock.cli._errors import DONE, WrongUsage
from penstock.cli._lines import numbered, read_bodies
from penstock.cli._output import Output
from penstock.cli._store import NOUN, Store
from penstock.errors import CodecError
from penstock.operations import Imported, Operations, StoreOperations, parse_expected

__all__ = ["append_event"]


@NOUN.verb("append", fast=True)
async def append_event(
    cli: Cli,
    name: EventName,
    body: Body = None,
    stream: Annotated[
        str | None,
        typer.Option(
            "--event-stream",
            "--stream",
            metavar="STREAM",
            help="The event stream.  [default: the category and the key, as in order-17]",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="Whose event it is: mostly the id of one entity."),
    ] = None,
    expected: Annotated[
        str,
        typer.Option(
            "--expected-version",
            metavar="N|any|none|exists",
            help="What the event stream must be like: its number of events, or whether there are any.",
        ),
    ] = "any",
    event_id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="EVENT_ID", help="The event's identity; one that is there is not added again."
        ),
    ] = None,
    header: Header = None,
    kind: Kind = None,
    codec: CodecName = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="With -: pass over lines that cannot be appended, and go on.")
    ] = False,
    store: Store = "local",
) -> int:
    """Append an event. With - one for each line of standard input, in batches, in order.

    Where the app declares an event class of that name, bodies are checked against it.
    """
    if body != "-" and skip_bad:
        raise WrongUsage("--skip-bad is about lines; it needs - for the body")
    if body == "-" and (event_id is not None or expected != "any"):
        raise WrongUsage(
            "--id and --expected-version are about one event, and - appends many; leave them out"
        )
    app = cli.find_app() or App.of_settings(cli.settings())
    form = Form.of(app, name, codec=codec, header=header, event_stream=stream, key=key, kind=kind)
    try:
        if body == "-":
            stores = Operations(app, connect=False).stores
            return await _append_lines(cli.out, stores, store, form, app.settings.max_body, skip_bad=skip_bad)
        try:
            event = form.event(body.encode() if body is not None else None)
        except CodecError as failure:
            raise WrongUsage(f"the body {failure}", remedy="nothing was appended") from failure
        append: Any = app.store(store).append
        place: Any = await append(
            event, event_id=event_id, expected_version=parse_expected(expected), **form.said
        )
    finally:
        await app.close()
    if cli.out.json:
        cli.out.document(
            id=place.event_id,
            name=name,
            stream=place.stream,
            stream_version=place.stream_version,
            position=place.position,
            is_new=place.is_new,
        )
    known = "" if place.is_new else ", where it was already"
    cli.out.say(f"{name} -> {place.stream} {place.stream_version:,} at position {place.position:,}{known}")
    return DONE


async def _append_lines(
    out: Output, stores: StoreOperations, store: str, form: Form, max_body: int, *, skip_bad: bool
) -> int:
    appended = 0
    with (
        telling_when_interrupted(lambda: appended, done="appended", fact="appended"),
        out.progress(f"Appending {form.name}", total=None) as bar,
    ):

        def show(account: Imported) -> None:
            nonlocal appended
            appended = account.appended
            bar.to(appended, f"{appended:,} events")

        account = await stores.append_lines(
            numbered(read_bodies(max_body)),
            store,
            read=form.event,
            said=form.said,
            skip_bad=skip_bad,
            on_progress=show,
        )
    _tell(out, form, account)
    return code_of(account.appended, account.bad, account.stopped)


def _tell(out: Output, form: Form, account: Imported) -> None:
    if out.json:
        out.document(
            name=form.name,
            appended=account.appended,
            bad=account.bad,
            problems=account.problems,
            stopped=account.stopped,
        )
        return
    name_bad(out, [(each.where, each.error) for each in account.problems], account.bad)
    if account.stopped is not None and not account.bad:
        out.note(account.stopped, style="red")
    out.say(f"Appended {account.appended:,} {form.name}{ending_of(account.bad, account.stopped)}")
