"""A process that promotes or rolls back, and may be killed: ``python -m tests.replays.sqlite.cycling DATABASE``.

Each line of its input is a task for a process that it forks: a number of steps at which that is killed (0: never; a
step is a statement, a commit, a rollback, a file that is closed or removed, and the kill comes right before), and what
is to be done. How it ended is printed, with the number of steps.
"""

import os
import sqlite3
import sys
from functools import partial
from itertools import product
from typing import Any

from penstock.replays.abc import Held
from penstock.store import migrating
from penstock.store._sqlite import SqliteBackend, _database
from tests.forking import Deadly, serve_counted
from tests.replays.sqlite.spending import Thing, direct, folder_in_memory
from tests.replays.things import KEY, nothing

__all__ = ["done"]


def watch(deadly: Deadly) -> None:
    """Count what is done to files of SQLite from here on."""

    class Watched(sqlite3.Connection):
        """One that was opened without a class of its own."""

    def connect(*arguments: Any, **named: Any) -> Any:
        return opened(*arguments, **{"factory": Watched, **named})

    kinds: tuple[Any, ...] = (Watched, _database.SqliteConnection)
    names = "execute", "commit", "rollback", "close"
    for kind, name in (*product(kinds, names), (os, "unlink")):
        setattr(kind, name, deadly.stepping(getattr(kind, name)))
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


def run(path: str, words: list[str]) -> int:
    """What a line says; how many steps it took."""
    die_at, what = words
    deadly = Deadly(int(die_at) - 1)
    watch(deadly)
    done(path, what)
    return deadly.taken


if __name__ == "__main__":
    warm_up()
    serve_counted(partial(run, sys.argv[1]))
