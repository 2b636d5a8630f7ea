"""A process that promotes or rolls back, and may be killed: ``python -m tests.replays.sqlite.cycling DATABASE``.

Each line of its input is a task for a process that it forks: a number of steps at which that is killed (0: never; a
step is a statement, a commit, a rollback, a file that is closed or removed, and the kill comes right before), and what
is to be done. How it ended is printed, with the number of steps.
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
from penstock.store import migrating
from penstock.store._sqlite import SqliteBackend, _database
from tests.replays.sqlite.spending import KEY, Thing, direct, folder_in_memory, nothing

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
        """Count what is done to files of SQLite from here on."""
        deadly = self

        class Watched(sqlite3.Connection):
            """One that was opened without a class of its own."""

        def watch(kind: Any, *names: str) -> None:
            for name in names:
                setattr(kind, name, stepping(getattr(kind, name)))

        def stepping(act: Any) -> Any:
            def acted(*arguments: Any, **named: Any) -> Any:
                deadly.step()
                return act(*arguments, **named)

            return acted

        def connect(*arguments: Any, **named: Any) -> Any:
            return opened(*arguments, **{"factory": Watched, **named})

        for kind in (Watched, _database.SqliteConnection):
            watch(kind, "execute", "commit", "rollback", "close")
        watch(os, "unlink")
        opened, sqlite3.connect = sqlite3.connect, connect


def done(path: str, what: str) -> None:
    """Do it."""
    thing = Thing(SqliteBackend("local", path), page=20)
    match what:
        case "make":
            thing.create()
        case "build":
            thing.create()
            thing.feed()
        case "prepare":
            thing.copy.prepare_switch(nothing)
        case "to1" | "to2":
            _switch(thing, int(what[2:]))
        case "drop":
            thing.copy.drop()
        case _:
            raise AssertionError(what)


def _switch(thing: Thing, version: int) -> None:
    """Have this version live, unless it is, and bring both generations to the end."""

    def record(held: Held) -> None:
        raw: Any = held.live
        raw.execute("UPDATE recorded SET version = ?", (version,))

    if thing.place().version != version:
        thing.switch(version, record)
    thing.run_live(version)
    thing.feed(3 - version)
    assert thing.place(KEY).version == 3 - version


def warm_up() -> None:
    """Import and compile here, once, what each forked process would have to."""
    with folder_in_memory() as folder:
        path = str(folder / "another.db")
        store = SqliteBackend("local", path)
        migrating.apply(store.database)
        Thing(store).run_live()
        with direct(path) as user:
            user.execute("CREATE TABLE recorded (version INTEGER)")
        for what in ("build", "to2", "to1", "drop"):
            done(path, what)


def main(path: str) -> None:
    """Fork a process for each line."""
    warm_up()
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
