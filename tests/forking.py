"""Processes that are forked from one which has imported everything, and killed at the right moment."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

from penstock.errors import PenstockError

__all__ = ["forked", "serve"]


def forked(work: Callable[[], object]) -> int:
    """Do *work* in a child of this process; its process id. The child ends with 0 if it went well."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def serve(run: Callable[[list[str]], object]) -> None:
    """Fork a process for each line of standard input; it calls *run* with the words after the first.

    The first word says after how many milliseconds it is killed, 0 for never. How it ended is printed: 0, 1 for an
    error of ours, 2 for any other, negative for a signal.
    """
    for line in sys.stdin:
        first, *words = line.split()
        child = os.fork()
        if child == 0:
            try:
                run(words)
            except PenstockError:
                os._exit(1)
            except BaseException:  # noqa: BLE001  the forked process ends here, whatever it was
                traceback.print_exc()
                os._exit(2)
            os._exit(0)
        ends = time.monotonic() + int(first) / 1000
        while True:
            ended, status = os.waitpid(child, os.WNOHANG if int(first) else 0)
            if ended:
                break
            if time.monotonic() >= ends:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.0005)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
