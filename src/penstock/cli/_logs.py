"""Logs of a running command: one JSON object a line where a program reads them, readable lines in a terminal.

Whoever has set up logging in the app's module keeps it as it is.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from penstock.cli._errors import WrongUsage
from penstock.cli._output import clean
from penstock.cli._plain import json_text
from penstock.telemetry import LOGGER

__all__ = ["LEVELS", "set_up_logs"]

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_OWN_FACTS: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
_STYLES: Final = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red", "DEBUG": "dim"}


def set_up_logs(level: str, *, shows_failures: bool = False) -> None:
    """Send logs of *level* and above to stderr, unless logging is set up already.

    In a terminal, failures of listeners are left out where the command *shows_failures* itself.
    """
    if level.lower() not in LEVELS:
        raise WrongUsage(f"{level!r} is no log level", remedy=f"choose one of {', '.join(LEVELS)}")
    LOGGER.setLevel(level.upper())
    root = logging.getLogger()
    if root.handlers:
        return
    handler: logging.Handler = _ReadableHandler() if sys.stderr.isatty() else _JsonHandler()
    if shows_failures and sys.stderr.isatty():
        handler.addFilter(lambda record: getattr(record, "operation", None) != "handle")
    root.addHandler(handler)
    root.setLevel(level.upper())


class _JsonHandler(logging.Handler):
    """One object a line: time, level, logger, message, and whatever the call gave as ``extra=``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        document |= {name: value for name, value in vars(record).items() if name not in _OWN_FACTS}
        if record.exc_info:
            document["traceback"] = logging.Formatter().formatException(record.exc_info)
        try:
            sys.stderr.write(json_text(document) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody reads any more
            self.handleError(record)


class _ReadableHandler(logging.Handler):
    """Time, level where it matters, message."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        style = _STYLES.get(record.levelname, "")
        line = Text.assemble((f"{time} ", "dim"))
        if record.levelno >= logging.WARNING:
            line.append(f"{record.levelname.lower()}: ", style=style)
        line.append(clean(record.getMessage()), style="dim" if record.levelno < logging.INFO else "")
        if record.exc_info:
            line.append("\n" + logging.Formatter().formatException(record.exc_info), style="dim")
        try:
            console.print(line, soft_wrap=True)
        except (OSError, ValueError):
            self.handleError(record)
