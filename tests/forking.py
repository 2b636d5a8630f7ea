"""Processes that are forked from one which has imported everything, and killed at the right moment."""

import itertools
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from penstock.errors import PenstockError

__all__ = ["Deadly", "Forks", "forked", "serve", "serve_counted"]


def forked(work: Callable[[], object]) -> int:
    """Do *work* in a child of this process; its process id.

    The child ends with 0 if it went well, 1 for an error of ours, 2 for any other, which it prints.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
        except PenstockError:
            os._exit(1)
        except BaseException:  # noqa: BLE001  the forked process ends here, whatever it was
            traceback.print_exc()
            os._exit(2)
        os._exit(0)
    return child


def serve(run: Callable[[list[str]], object]) -> None:
    """Fork a process for each line of standard input; it calls *run* with the words after the first.

    The first word says after how many milliseconds it is killed, 0 for never. How it ended is printed: as by `forked`,
    or negative for a signal.
    """
    for line in sys.stdin:
        first, *words = line.split()
        child = forked(partial(run, words))
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


def serve_counted(run: Callable[[list[str]], int]) -> None:
    """Fork a process for each line of standard input; it calls *run* with its words.

    How it ended is printed, as by `forked` or negative for a signal, and what *run* has counted, 0 unless it came to
    its end.
    """

    def count(words: list[str], told: int) -> None:
        os.write(told, str(run(words)).encode())

    for line in sys.stdin:
        reads, writes = os.pipe()
        child = forked(partial(count, line.split(), writes))
        os.close(writes)
        with os.fdopen(reads) as said:
            counted = said.read() or "0"
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)} {counted}\n")
        sys.stdout.flush()


class Deadly:
    """Counts steps of this process; right before the one of number *die_at*, from 0 on, it is gone. Never for -1."""

    def __init__(self, die_at: int) -> None:
        self._die_at = die_at
        self._steps = itertools.count()
        self.taken = 0

    def step(self) -> None:
        """One moment; maybe the last."""
        if next(self._steps) == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.taken += 1

    def is_due(self) -> bool:
        """Whether the next moment is the last."""
        return self.taken == self._die_at

    def stepping(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """The same with a step before it."""

        def acted(*arguments: Any, **named: Any) -> Any:
            self.step()
            return act(*arguments, **named)

        return acted


class Forks:
    """Processes one after the other, forked by one that runs a module: the other end of `serve`."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *words: object) -> list[int]:
        """One process, to its end; what is printed of it."""
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(" ".join(map(str, words)) + "\n")
        stdin.flush()
        return [int(word) for word in stdout.readline().split()]

    def end(self) -> None:
        """End them."""
        self._server.communicate(timeout=60)
