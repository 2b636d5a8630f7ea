"""How a command that does not end well says so: what is wrong, what to do, and an exit code that scripts can act on.

0 done · 1 refused, nothing valid, or differences found · 2 usage · 3 partial failure · 130 interrupted.
"""

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import typer
from rich.text import Text

from penstock.cli._output import clean
from penstock.cli._plain import plain
from penstock.errors import (
    BrokerFullError,
    BrokerRefusedError,
    BrokerUnavailableError,
    InvalidSettingsError,
    PenstockError,
    PublishError,
    UsageError,
)

__all__ = [
    "DONE",
    "INTERRUPTED",
    "PARTIAL",
    "REFUSED",
    "USAGE",
    "ErrorReport",
    "NotCompared",
    "Refusal",
    "WrongUsage",
    "explain",
    "human_text",
]

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
PARTIAL: Final = 3
INTERRUPTED: Final = 130

_TYPER_ERROR: Final[type[BaseException]] = typer.BadParameter.__mro__[2]
"""What Typer raises for a wrong command line, whichever click it brings."""

_REMEDIES: Final[dict[type[PenstockError], str]] = {
    BrokerUnavailableError: "start the server, or name another: PENSTOCK_STREAMS=redis://HOST:6379",
    BrokerRefusedError: "check the user, the password and the permissions in the streams URL",
    BrokerFullError: "free memory on the server, or raise its maxmemory",
}


class Refusal(Exception):  # noqa: N818  a way to end, which need not be an error
    """A command ends here, with this code, and this to say."""

    def __init__(
        self,
        message: str,
        *,
        code: int = REFUSED,
        remedy: str | None = None,
        did_you_mean: Sequence[str] = (),
        **facts: object,
    ) -> None:
        self.message, self.code, self.remedy = message, code, remedy
        self.did_you_mean, self.facts = tuple(did_you_mean), facts
        super().__init__(message)


class WrongUsage(Refusal):
    """The command line makes no sense: exit code 2."""

    def __init__(
        self, message: str, *, remedy: str | None = None, did_you_mean: Sequence[str] = (), **facts: object
    ) -> None:
        super().__init__(message, code=USAGE, remedy=remedy, did_you_mean=did_you_mean, **facts)


class NotCompared(Refusal):
    """A comparison was not made, because of *failure*: exit code 2, since 1 says that there are differences."""

    def __init__(self, failure: BaseException) -> None:
        self.report = replace(explain(failure), code=USAGE)
        super().__init__(self.report.message, code=USAGE)


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """An error as both kinds of reader get it."""

    type: str
    message: str
    code: int
    remedy: str | None = None
    did_you_mean: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    problems: tuple[str, ...] = ()
    """For people: one line each instead of the message."""

    def as_document(self) -> dict[str, Any]:
        """The value of ``error`` in a JSON document."""
        return {
            "type": self.type,
            "message": self.message,
            "facts": self.facts,
            "did_you_mean": list(self.did_you_mean),
            "remedy": self.remedy,
        }


def explain(error: BaseException) -> ErrorReport:
    """What there is to say about an error that ended a command."""
    match error:
        case NotCompared():
            return error.report
        case Refusal():
            return ErrorReport(
                {USAGE: "UsageError", INTERRUPTED: "Interrupted"}.get(error.code, "Refused"),
                error.message,
                error.code,
                error.remedy,
                error.did_you_mean,
                plain(error.facts),
            )
        case KeyboardInterrupt() | typer.Abort():
            return ErrorReport("Interrupted", "interrupted", INTERRUPTED)
        case BaseExceptionGroup():
            reports = list({report.message: report for report in map(explain, error.exceptions)}.values())
            if len(reports) == 1:
                return reports[0]
            message = "; ".join(report.message for report in reports)
            return ErrorReport(type(error).__name__, message, max(report.code for report in reports))
        case PenstockError():
            return _explain_ours(error)
        case _ if isinstance(error, _TYPER_ERROR):
            return _explain_typer(error)
        case OSError(filename=str(file), strerror=str(said)):
            return ErrorReport(type(error).__name__, f"{file}: {said}", REFUSED, "--debug shows where")
        case OSError(errno=errno.ENOSPC, strerror=str(said)):
            return ErrorReport(
                type(error).__name__, f"the output cannot be written: {said}", REFUSED, "make room"
            )
        case _:
            return ErrorReport(
                type(error).__name__,
                f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
                REFUSED,
                remedy="--debug shows where",
            )


def _explain_ours(error: PenstockError) -> ErrorReport:
    message = str(error)
    what, _, remedy = message.rpartition("; ")
    facts = {name: plain(value) for name, value in vars(error).items() if not name.startswith("_")}
    named = [value for name in ("nearest", "suggestion") if isinstance(value := facts.get(name), str)]
    code = USAGE if isinstance(error, UsageError) else REFUSED
    if isinstance(error, PublishError) and "written" in error.outcomes:
        code = PARTIAL
    given = next((text for kind, text in _REMEDIES.items() if isinstance(error, kind)), None)
    problems = error.problems if isinstance(error, InvalidSettingsError) else ()
    nearest = tuple(dict.fromkeys([*named, *_meant(message)]))
    if problems or given is not None or not what:
        return ErrorReport(type(error).__name__, message, code, given, nearest, facts, tuple(problems))
    return ErrorReport(type(error).__name__, message, code, remedy, nearest, facts)


def _meant(message: str) -> list[str]:
    """What a message already proposes."""
    return re.findall(r"did you mean '([^']+)'", message)


def _explain_typer(error: BaseException) -> ErrorReport:
    possible: Sequence[str] = getattr(error, "possibilities", None) or ()
    message = str(getattr(error, "message", "")) or str(error)
    format_message = getattr(error, "format_message", None)
    if format_message is not None:
        message = str(format_message())
    message = re.sub(r"\s*(\(Possible options: .*\)|Did you mean .*)$", "", message)
    context: Any = getattr(error, "ctx", None)
    remedy = f"`{context.command_path} --help` shows how it is written" if context is not None else None
    return ErrorReport("UsageError", message.strip().rstrip("."), USAGE, remedy, tuple(possible))


def human_text(report: ErrorReport) -> Text:
    """An error for a terminal: what is wrong, then what to do."""
    if report.code == INTERRUPTED:
        return Text(report.message[0].upper() + report.message[1:], style="yellow")
    text = Text()
    if report.problems:
        text.append(f"{len(report.problems)} settings are wrong:\n" if len(report.problems) > 1 else "")
    shown = report.problems or [_without_remedy(report)]
    for number, each in enumerate(shown):
        text.append("\n" if number else "")
        text.append("Error: ", style="bold red")
        text.append(clean(each))
    said = "".join(shown) + (report.remedy or "")
    proposed = [name for name in dict.fromkeys(report.did_you_mean) if f"'{name}'" not in said]
    if proposed:
        text.append("\n  Did you mean ").append(" or ".join(proposed), style="bold").append("?")
    if report.remedy and not report.problems:
        text.append(f"\n  {clean(report.remedy[0].upper() + report.remedy[1:])}", style="dim")
    return text


def _without_remedy(report: ErrorReport) -> str:
    return report.message.removesuffix(f"; {report.remedy}")
