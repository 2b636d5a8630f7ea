"""``penstock store append``: one event into a store from the command line, or as many as lines come in."""

from typing import Annotated, Any

import typer

from penstock.app import App
from penstock.cli._cli import Cli
from penstock.cli._emit import headers_of
from penstock.cli._emitting import CODECS, Body, CodecName, EventName, Form, Header, Kind
from penstock.cli._errors import DONE, PARTIAL, REFUSED, USAGE, WrongUsage
from penstock.cli._lines import Line, read_lines, standard_input
from penstock.cli._near import one_of
from penstock.cli._output import Output
from penstock.cli._store import NOUN, Store
from penstock.errors import CodecError, PenstockError, StoreUnavailableError, UsageError
from penstock.operations import Imported, declared_event, parse_expected

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
    _ = app.settings  # they may declare handlers, and those name event classes
    form = Form(
        name=name,
        declared=declared_event(app, name),
        codec=one_of("--codec", codec, list(CODECS)),
        said={
            "event_stream": stream,
            "key": key,
            "kind": kind,
            "headers": headers_of(header or []),
        },
    )
    target = app.store(store)
    try:
        if body == "-":
            return await _append_lines(cli.out, target, form, app.settings.max_body, skip_bad=skip_bad)
        try:
            event, said = form.event(body.encode() if body is not None else None)
        except CodecError as failure:
            raise WrongUsage(f"the body {failure}", remedy="nothing was appended") from failure
        append: Any = target.append
        place: Any = await append(event, event_id=event_id, expected_version=parse_expected(expected), **said)
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


async def _append_lines(out: Output, store: Any, form: Form, max_body: int, *, skip_bad: bool) -> int:
    account = Imported()
    with out.progress(f"Appending {form.name}", total=None) as bar:
        async for lines in read_lines(standard_input(), longest=4 * max_body + 4096):
            try:
                await _append_batch(store, form, lines, account, skip_bad=skip_bad)
            except StoreUnavailableError as failure:
                account.stopped = str(failure)
            bar.to(account.appended, f"{account.appended:,} events")
            if account.stopped is not None:
                break
    _tell(out, form, account)
    if account.stopped is None and not account.bad:
        return DONE
    if account.appended:
        return PARTIAL
    return USAGE if account.bad else REFUSED


async def _append_batch(
    store: Any, form: Form, lines: list[Line], account: Imported, *, skip_bad: bool
) -> None:
    events: list[object] = []
    numbers: list[int] = []
    said: dict[str, Any] = {}
    for line in lines:
        try:
            if line.text is None:
                raise UsageError("is too long for a body")
            event, said = form.event(line.text)
        except (UsageError, CodecError) as failure:
            if not await _append_all(store, events, numbers, said, account, skip_bad=skip_bad):
                return
            events, numbers = [], []
            if _refuse(account, line.number, failure, skip_bad=skip_bad):
                return
        else:
            events.append(event)
            numbers.append(line.number)
    await _append_all(store, events, numbers, said, account, skip_bad=skip_bad)


async def _append_all(
    store: Any,
    events: list[object],
    numbers: list[int],
    said: dict[str, Any],
    account: Imported,
    *,
    skip_bad: bool,
) -> bool:
    """Append them together, or one by one where some are refused; whether to go on."""
    if not events:
        return True
    try:
        await store.append(events, **said)
    except StoreUnavailableError:
        raise
    except PenstockError as failure:
        if len(events) == 1:
            return not _refuse(account, numbers[0], failure, skip_bad=skip_bad)
    else:
        account.appended += len(events)
        return True
    for event, number in zip(events, numbers, strict=True):
        if not await _append_all(store, [event], [number], said, account, skip_bad=skip_bad):
            return False
    return True


def _refuse(account: Imported, number: int, failure: Exception, *, skip_bad: bool) -> bool:
    """Note a bad line; whether it ends here."""
    account.refuse(f"line {number}", str(failure))
    if not skip_bad:
        account.stopped = f"line {number}: {failure}"
    return not skip_bad


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
    for each in account.problems:
        out.note(f"{each.where}: {each.error}", style="red")
    if len(account.problems) < account.bad:
        out.note(f"... and {account.bad - len(account.problems):,} more lines")
    if account.stopped is not None and not account.bad:
        out.note(account.stopped, style="red")
    bad = (
        f", passed over {account.bad:,} bad line{'s' * (account.bad > 1)}"
        if account.bad and account.stopped is None
        else ""
    )
    stopped = ", then stopped" if account.stopped is not None else ""
    out.say(f"Appended {account.appended:,} {form.name}{bad}{stopped}")
