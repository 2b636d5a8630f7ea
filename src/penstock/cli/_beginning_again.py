"""Beginning again with the code as it is now, when somebody asks for a reload.

A worker under a supervisor ends with a code of its own, and is started anew; a process by itself replaces itself by
another one of the same command line, under the same process id.
"""

import logging
import os
import sys
from typing import Final, NoReturn

from penstock.cli._running import SUPERVISOR_PIPE
from penstock.telemetry import LOGGER

__all__ = ["AGAIN", "Reloads", "begin_again", "has_supervisor"]

AGAIN: Final = 75
"""The exit code of a worker that is to be started anew at once; nobody else sees it."""


class Reloads:
    """Takes notice of a reload, once."""

    def __init__(self) -> None:
        self.is_asked = False
        """Whether to begin again at the end."""
        self._was_told = False

    def ask(self) -> bool:
        """Somebody asks for one; whether it can be done."""
        can_begin_again = sys.platform != "win32"
        if not self._was_told:
            self._was_told = True
            if can_begin_again:
                LOGGER.info("a reload was asked for: draining, then starting with the present code")
            else:
                LOGGER.error(
                    "a reload was asked for, and on Windows a process cannot replace itself: the projections begin "
                    "again with the code that they have; restart this process to have the present one"
                )
        self.is_asked = self.is_asked or can_begin_again
        return can_begin_again


def has_supervisor() -> bool:
    """Whether a supervisor started this process. Asked before it works, which takes the mark away."""
    return SUPERVISOR_PIPE in os.environ


def begin_again() -> NoReturn:
    """Replace this process by a new one of its command line."""
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
