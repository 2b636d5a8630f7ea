"""A process that promotes or rolls back, and may be killed: ``python -m tests.replays.sqlite.cycling DATABASE``.

Each line of its input is a task for a process that it forks: a number of steps after which that is killed (0: never; a
step is one before and one after each statement and commit), and what is to be done. How it ended is printed, with the
number of steps.
"""

import itertools
import os
import signal
import sqlite3
import sys
import traceback
from pathlib import Path
from typing import Any

from penstock.replays.abc import Held
from penstock.store._sqlite import SqliteBackend, _database
from tests.replays.sqlite.spending import KEY, Thing

__all__ = ["done"]


class Deadly:
    """Counts steps; one of them is the last."""

    def __init__(self, die_at: int) -> None:
        self._die_at = die_at
        self._steps = itertools.count(1)
        self.taken = 0

    def step(self) -> None:
        """One moment."""
        self.taken = next(self._steps)
        if self.taken == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Count what connections of ours do from here on."""
        kind: Any = _database.SqliteConnection
        ends: Any = kind.commit

        def execute(connection: Any, *arguments: Any) -> Any:
            self.step()
            outcome = sqlite3.Connection.execute(connection, *arguments)
            self.step()
            return outcome

        def commit(connection: Any) -> None:
            self.step()
            ends(connection)
            self.step()

        kind.execute, kind.commit = execute, commit


def done(path: str, what: str) -> None:
    """Do it."""
    thing = Thing(SqliteBackend("local", path), page=20)
    match what:
        case "build":
            thing.create()
            thing.feed()
        case "cycle":
            live = thing.place().version

            def record(held: Held) -> None:
                raw: Any = held.live
                raw.execute("UPDATE recorded SET version = ?", (3 - live,))

            thing.switch(3 - live, record)
            _run(thing)
        case "run":
            _run(thing)
        case "drop":
            thing.copy.drop()
        case _:
            raise AssertionError(what)


def _run(thing: Thing) -> None:
    """Bring both generations to the end."""
    thing.run_live(thing.place().version)
    thing.feed(thing.place(KEY).version)


def main(path: str) -> None:
    """Fork a process for each line."""
    for line in sys.stdin:
        die_at, what = line.split()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                deadly = Deadly(int(die_at))
                deadly.watch()
                done(path, what)
                os.write(writing, str(deadly.taken).encode())
            except BaseException:  # noqa: BLE001  the forked process ends here, whatever it was
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as said:
            steps = said.read() or "0"
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)} {steps}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(str(Path(sys.argv[1])))
