"""Emitting what comes in on standard input: an event a line, in batches, in order, every line accounted for."""

import os
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Self

import typer

from penstock.app import App
from penstock.cli._accounts import code_of, ending_of, name_bad, telling_when_interrupted
from penstock.cli._errors import WrongUsage
from penstock.cli._lines import Line, read_bodies
from penstock.cli._near import one_of
from penstock.cli._output import Output, short_duration
from penstock.codec import BYTES, JSON, MESSAGEPACK, TEXT, Codec
from penstock.errors import CodecError, PublishError, UsageError
from penstock.event import EventType
from penstock.operations import declared_event

__all__ = ["Body", "CodecName", "EventName", "Form", "Header", "Kind", "emit_lines", "headers_of"]

_CODECS: Final[Mapping[str, Codec]] = {"json": JSON, "msgpack": MESSAGEPACK, "text": TEXT, "bytes": BYTES}
"""What a codec is called on the command line."""
_MOST_NAMED: Final = 20

EventName = Annotated[str, typer.Argument(metavar="NAME", help="The event's name, as in order.placed.")]
Body = Annotated[
    str | None,
    typer.Argument(metavar="JSON|-", help="The body; - reads one from each line of standard input."),
]
Header = Annotated[
    list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="A header; may be given again.")
]
Kind = Annotated[
    str | None, typer.Option("--kind", metavar="KIND", help="event, command, or a word of yours.")
]
CodecName = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="CODEC",
        help="json, msgpack, text or bytes.  [default: what the event's class says, or json]",
    ),
]


@dataclass(frozen=True, slots=True)
class Form:
    """How a text becomes an event of one name."""

    name: str
    declared: EventType | None
    """Its class, by which texts are read; ``None``: they are values as they stand."""
    codec: str | None
    said: Mapping[str, Any]
    """What is said beside each event."""

    @classmethod
    def of(cls, app: App, name: str, *, codec: str | None, header: Sequence[str] | None, **said: Any) -> Self:
        """What the options of a command mean, in the words of `App.emit` and `EventStore.append`.

        Raises `WrongUsage`.
        """
        _ = app.settings  # they may declare handlers, and those name event classes
        codec = one_of("--codec", codec, list(_CODECS))
        declared = declared_event(app, name) if codec in (None, "json", "msgpack") else None
        said["headers"] = headers_of(header or [])
        if codec is not None:
            said["codec"] = _CODECS[codec]
        if declared is None:
            said["name"] = name
        return cls(name, declared, codec, said)

    def event(self, text: bytes | None) -> object:
        """The event of a body. Raises `UsageError`, `CodecError`."""
        if self.declared is not None:
            return self.declared.decode(text, version=self.declared.version, content_type=JSON.content_type)
        if text is None:
            return None
        if self.codec == "bytes":
            return text
        return TEXT.decode(text) if self.codec == "text" else JSON.decode(text)


def headers_of(pairs: Sequence[str]) -> dict[str, str]:
    """What ``--header NAME=VALUE``, given any number of times, says. Raises `WrongUsage`."""
    headers: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise WrongUsage(f"{pair!r} is no header", remedy="write it as in --header tenant=acme")
        headers[name] = value
    return headers


@dataclass
class _Account:
    """What became of the lines."""

    written: int = 0
    bad: int = 0
    unknown: int = 0
    named: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    """The first lines that were not emitted, with the reason."""
    stopped: str | None = None

    def refuse(self, number: int, reason: str) -> None:
        self.bad += 1
        if len(self.named) < _MOST_NAMED:
            self.named.append({"line": number, "error": reason})


async def emit_lines(out: Output, app: App, form: Form, *, skip_bad: bool) -> int:
    """Emit every line, say what became of them, and answer the exit code."""
    account, began, done_bytes = _Account(), time.monotonic(), 0
    total = _size_of_input()
    with (
        telling_when_interrupted(lambda: account.written, done="emitted", fact="written"),
        out.progress(f"Emitting {form.name}", total=total, of_bytes=total is not None) as bar,
    ):
        async for lines in read_bodies(app.settings.max_body):
            await _emit_batch(app, form, lines, account, skip_bad=skip_bad)
            done_bytes += sum(line.size for line in lines)
            seconds = max(time.monotonic() - began, 1e-6)
            bar.to(
                done_bytes if total is not None else account.written,
                f"{account.written:,} events, {account.written / seconds:,.0f}/s",
            )
            if account.stopped is not None:
                break
    seconds = time.monotonic() - began
    _tell(out, form, account, seconds)
    return code_of(account.written + account.unknown, account.bad, account.stopped)


async def _emit_batch(app: App, form: Form, lines: list[Line], account: _Account, *, skip_bad: bool) -> None:
    events: list[object] = []
    numbers: list[int] = []
    for line in lines:
        try:
            if line.text is None:
                raise UsageError("the line is too long for a body")
            event = form.event(line.text)
        except (UsageError, CodecError) as failure:
            account.refuse(line.number, str(failure))
            if not skip_bad:
                account.stopped = f"line {line.number}: {failure}"
                break
        else:
            events.append(event)
            numbers.append(line.number)
    if not events:
        return
    try:
        account.written += len(await app.emit_many(events, **form.said))
    except PublishError as failure:
        _account_for(failure, numbers, account)
    except (UsageError, CodecError):
        # Nothing was sent. Decoded, but not to be encoded or published: find out which, one by one.
        await _emit_singly(app, events, numbers, form, account, skip_bad=skip_bad)


async def _emit_singly(
    app: App,
    events: list[object],
    numbers: list[int],
    form: Form,
    account: _Account,
    *,
    skip_bad: bool,
) -> None:
    for number, event in zip(numbers, events, strict=True):
        try:
            await app.emit(event, **form.said)
            account.written += 1
        except (UsageError, CodecError) as failure:
            account.refuse(number, str(failure))
            if not skip_bad:
                account.stopped = f"line {number}: {failure}"
                return


def _account_for(failure: PublishError, numbers: list[int], account: _Account) -> None:
    for number, outcome, cause in zip(numbers, failure.outcomes, failure.causes, strict=True):
        match outcome:
            case "written":
                account.written += 1
            case "unknown":
                account.unknown += 1
                if len(account.named) < _MOST_NAMED:
                    account.named.append(
                        {"line": number, "error": f"unknown whether it was written: {cause}"}
                    )
            case _:
                account.refuse(number, f"not written: {cause}")
    account.stopped = str(failure)


def _tell(out: Output, form: Form, account: _Account, seconds: float) -> None:
    rate = account.written / seconds if seconds > 0 else 0.0
    if out.json:
        out.document(
            name=form.name,
            written=account.written,
            bad=account.bad,
            unknown=account.unknown,
            stopped=account.stopped,
            problems=account.named,
            seconds=seconds,
        )
        return
    named = [(f"line {each['line']}", str(each["error"])) for each in account.named]
    name_bad(out, named, account.bad + account.unknown)
    out.say(
        f"Emitted {account.written:,} {form.name} in {short_duration(seconds)} ({rate:,.0f}/s)"
        f"{ending_of(account.bad, account.stopped)}"
    )


def _size_of_input() -> int | None:
    """The bytes that are to come, when standard input is a file."""
    try:
        status = os.fstat(sys.stdin.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
