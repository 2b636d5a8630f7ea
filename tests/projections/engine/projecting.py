"""A projecting process, which counts, and may be killed: ``python -m tests.projections.engine.projecting URL [...]``.

``--die-at N`` ends it by SIGKILL at the N-th step: before or after a statement or commit; ``--die-at-commit N`` at the
N-th commit, *before* it is sent, when it was *sent* and nothing was heard (PostgreSQL), or *after* it (``--moment``);
``--poison P`` ends it at the event at position P; ``--slow MS`` waits in each handler; ``--forever`` supervises until
SIGTERM. ``--serve`` reads such options line by line, gives each to a process of its own (a line may begin with a number
of milliseconds, after which it is killed from outside), and prints how it ended.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from penstock.projections._engine._run import Supervised
from penstock.projections._engine._supervisor import ProjectionSupervisor
from penstock.projections.abc import ProjectionPlan
from penstock.retry import Retry
from penstock.store._postgres import make_backend
from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import StoreBackend, StoredEvent
from penstock.store.database import Connection
from tests.forking import Deadly, serve
from tests.projections.engine.doubles import Counting

__all__ = ["backend_of"]


def backend_of(url: str) -> StoreBackend:
    """The store at a URL."""
    return SqliteBackend("local", url) if url.startswith("sqlite") else make_backend("local", url)


class DyingConnection:
    """A connection whose commits are steps: before they are sent, when they were sent, after the answer."""

    def __init__(self, real: Any, deadly: Deadly, commits: Mapping[str, Deadly]) -> None:
        self.real, self._deadly, self._commits = real, deadly, commits

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def commit(self) -> None:
        """Commit, if there is time."""
        self._deadly.step()
        self._commits["before"].step()
        if self._commits["sent"].is_due():
            self.real.pgconn.send_query(b"COMMIT")
            self.real.pgconn.flush()
        self._commits["sent"].step()
        self.real.commit()
        self._commits["after"].step()
        self._deadly.step()


class DeadlyDatabase:
    """A database whose every call is a step, before and after."""

    def __init__(self, database: Any, deadly: Deadly, commits: Mapping[str, Deadly]) -> None:
        self._database, self._deadly, self._commits = database, deadly, commits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def connect(self, *, application: str = "") -> Any:
        """A new connection; those of runners are counted."""
        real = self._database.connect(application=application)
        return DyingConnection(real, self._deadly, self._commits)

    def begin(self, connection: Any, *, write: bool = True) -> None:
        """Begin a transaction."""
        self._database.begin(connection.real, write=write)

    def execute(self, connection: Any, *arguments: Any) -> Any:
        """One statement."""
        self._deadly.step()
        outcome = self._database.execute(connection.real, *arguments)
        self._deadly.step()
        return outcome


async def main(arguments: Sequence[str]) -> None:
    """Project until idle, or until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--die-at", type=int, default=-1)
    parser.add_argument("--die-at-commit", type=int, default=-1)
    parser.add_argument("--moment", choices=["before", "sent", "after"], default="after")
    parser.add_argument("--poison", type=int, default=-1)
    parser.add_argument("--slow", type=int, default=0)
    parser.add_argument("--lease", type=int, default=300)
    parser.add_argument("--page", type=int, default=7)
    parser.add_argument("--policy", default="halt")
    parser.add_argument("--forever", action="store_true")
    options = parser.parse_args(arguments)
    store = backend_of(options.url)
    await store.open()
    if options.die_at >= 0 or options.die_at_commit >= 0:
        commits = {
            moment: Deadly(options.die_at_commit if moment == options.moment else -1)
            for moment in ("before", "sent", "after")
        }
        deadly: Any = DeadlyDatabase(store.database, Deadly(options.die_at), commits)
        store.database = deadly  # type: ignore[misc]

    def before(event: StoredEvent, _: Connection) -> None:
        if options.slow:
            sys.stdout.write(f"{event.position}\n")
            sys.stdout.flush()
            time.sleep(options.slow / 1000)
        if event.position == options.poison:
            os.kill(os.getpid(), signal.SIGKILL)

    supervisor = ProjectionSupervisor(
        [
            Supervised(
                ProjectionPlan(
                    "totals",
                    page_events=options.page,
                    on_failure=options.policy,
                    retry=Retry(attempts=2, initial="10ms", longest="10ms"),
                ),
                Counting(store.database, before=before),
            )
        ],
        {"local": store},
        lease=timedelta(milliseconds=options.lease),
        poll=timedelta(milliseconds=20),
        until_idle=not options.forever,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, supervisor.stop)
    await supervisor.run()
    await store.close()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(lambda options: asyncio.run(main([sys.argv[2], *options])))
    else:
        asyncio.run(main(sys.argv[1:]))
