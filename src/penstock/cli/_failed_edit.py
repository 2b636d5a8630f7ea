"""``penstock failed edit``: give a failed message another body, having seen the difference."""

import asyncio
import difflib
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from penstock.app import App
from penstock.cli._cli import Cli
from penstock.cli._errors import DONE, PARTIAL, Refusal, WrongUsage
from penstock.cli._failed import NOUN
from penstock.cli._failed_shown import body_text, show_result
from penstock.cli._near import suggesting
from penstock.cli._options import Yes
from penstock.cli._output import Output, clean
from penstock.cli._person import login_name
from penstock.codec import JSON
from penstock.errors import CodecError
from penstock.operations import EditOutcome, EditResult, FailedWhich, RetryOutcome
from penstock.position import EntryId

__all__ = ["NOUN"]

_REFUSED: Final = {
    EditOutcome.GONE: ("there is no failed message {}", "`penstock failed list` shows which there are"),
    EditOutcome.EMPTY: ("message {} had vanished before it failed, so it has no body", None),
    EditOutcome.BUSY: (
        "message {} is being run at this moment, or its key is being unparked; nothing was changed",
        "try again when that has ended",
    ),
    EditOutcome.STORED: (
        "{} is an event of a store, and what has happened is not changed: others have read it as it is",
        "mend the handler and run it again (`penstock failed retry --id {0} --projection {1}`), append an event that "
        "corrects it, or give it up (`penstock failed flush --id {0} --projection {1}`)",
    ),
}


@NOUN.verb("edit")
async def edit(
    cli: Cli,
    entry_id: Annotated[str, typer.Argument(metavar="ID", help="The entry's id, as `failed list` shows it.")],
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="The reason; it is kept with the message.")
    ],
    stream: Annotated[str | None, typer.Option("--stream", metavar="STREAM", help="Its stream.")] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="GROUP", help="Its consumer group.")] = None,
    projection: Annotated[
        str | None,
        typer.Option("--projection", metavar="NAME", help="Its projection, whose events cannot be edited."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PATH=JSON", help="A value of the body, as in customer.city='\"Rome\"'."
        ),
    ] = None,
    body: Annotated[
        str | None,
        typer.Option("--body", metavar="FILE", help="A whole body instead; - reads standard input."),
    ] = None,
    who: Annotated[
        str | None, typer.Option("--who", metavar="NAME", help="Who edits it.  [default: the login name]")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run it again at once.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the difference, and change nothing.")
    ] = False,
    yes: Yes = False,
) -> int:
    """Give one failed message another body, which it is run with from then on; the original is kept.

    Its envelope, and its entry in the stream, stay as they are. All listeners of the group that failed on it have this
    one body. Where the app declares the event's class, the body is checked against it.
    """
    which = FailedWhich(entry_id=EntryId.parse(entry_id), stream=stream, group=group, projection=projection)
    if (body is None) == (not assignments):
        raise WrongUsage("say either --set, as often as you like, or --body")
    said: dict[str, Any] = {
        "who": login_name() if who is None else who,
        "why": why,
        "changes": _changes(assignments) if assignments else None,
        "body": None if body is None else await asyncio.to_thread(_body, body),
    }
    app = cli.app() if retry else cli.find_app() or App.of_settings(cli.settings())
    _ = app.settings  # they may declare listeners, and those name event classes
    if retry:
        cli.logs(app)
    async with app, cli.operations(app) as operations, suggesting(operations):
        try:
            result = await operations.failed_edit(which, **said, dry_run=True)
            _refuse(result, entry_id)
            _show(cli.out, result)
            if not dry_run:
                if result.outcome is EditOutcome.PLANNED:
                    cli.confirm("Give it this body?", yes=yes, affects=1)
                result = await operations.failed_edit(which, **said, retry=retry)
                _refuse(result, entry_id)
        except CodecError as failure:
            raise WrongUsage(f"the body does not do: {failure}", remedy="nothing was changed") from failure
    _tell(cli.out, result, dry_run=dry_run)
    succeeded = all(each.outcome is RetryOutcome.SUCCEEDED for each in result.retried)
    return DONE if succeeded else PARTIAL


def _changes(assignments: list[str]) -> dict[str, object]:
    changes: dict[str, object] = {}
    for each in assignments:
        path, equals, value = each.partition("=")
        if not equals or not path:
            raise WrongUsage(f"{each!r} sets nothing", remedy="write it as in --set customer.zip=8000")
        try:
            changes[path] = JSON.decode(value.encode("utf-8", "surrogateescape"))
        except CodecError as failure:
            raise WrongUsage(
                f"the value of {path!r} is no JSON", remedy=f"text has quotes: --set '{path}=\"...\"'"
            ) from failure
    return changes


def _body(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as failure:
        raise Refusal(f"the body cannot be read from {name}: {failure.strerror}") from failure


def _refuse(result: EditResult, entry_id: str) -> None:
    if result.outcome in _REFUSED:
        message, remedy = _REFUSED[result.outcome]
        of = result.failed[0].projection if result.failed else None
        remedy = remedy.format(entry_id, of) if remedy is not None else None
        raise Refusal(message.format(entry_id), remedy=remedy, outcome=result.outcome)


def _show(out: Output, result: EditResult) -> None:
    """The difference, and who else is run with it; nothing in JSON mode."""
    if result.before is None or result.after is None or out.json:
        return
    first, *others = result.failed
    out.say(
        f"{first.entry_id} of stream {first.stream}, group {first.group}: {result.before.name}", style="bold"
    )
    if others:
        listeners = ", ".join(each.listener for each in result.failed)
        out.say(f"All of these are run with this body: {listeners}")
    before, after = (body_text(each).splitlines() for each in (result.before, result.after))
    for line in [*difflib.unified_diff(before, after, lineterm="", n=3)][3:]:
        style = {"+": "green", "-": "red"}.get(line[:1], "dim")
        out.say(Text(clean(line), style=style))


def _tell(out: Output, result: EditResult, *, dry_run: bool) -> None:
    if out.json:
        out.document(
            outcome=result.outcome,
            items=result.failed,
            before=result.before,
            after=result.after,
            retried=result.retried,
            dry_run=dry_run,
        )
        return
    match result.outcome:
        case EditOutcome.UNCHANGED:
            out.say("It has this body already")
        case EditOutcome.PLANNED:
            out.say("Nothing was changed")
        case _:
            out.say("Edited; `penstock failed show` has the original, too")
    for each in result.retried:
        show_result(out, each)
    if result.outcome is EditOutcome.EDITED and not result.retried:
        first = result.failed[0]
        parked = any(each.state == "parked" for each in result.failed)
        verb = f"unpark --key {first.parked_key!r}" if parked else f"retry --id {first.entry_id}"
        out.note(f"To have it run: penstock failed {verb} --stream {first.stream} --group {first.group}")
