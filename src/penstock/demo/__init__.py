"""``penstock demo``: a year of real flights through a real server, with a crash, a bug and a comparison at the end.

Read it in this order: `events` (what is told), `listeners` (who listens), `book` (where figures are kept so that an
event counts once), `aircraft` (order by key, and the archive), `ledger` and `keeping` (the event store), `story` (what
happens). `data` reads the table, `figures` computes the answer without any events.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.demo.data import table_folder
from penstock.demo.processes import Workers, settled_environment
from penstock.demo.screen import Screen
from penstock.errors import UsageError

__all__ = ["FEWEST_FLIGHTS", "main"]

FEWEST_FLIGHTS = 1000
"""With fewer, none lands at midnight, and there is nothing to mend."""
_INTERRUPTED = 130

_SETTINGS = """\
# The demo's project: commands that are run in this folder look at its server and its stores.
app = "penstock.demo.listeners:app"
store = {store}

[stores.shared]
url = {shared}

[archive]
driver = "files"
"""


def main(
    flights: int | None = None,
    stay: bool = False,
    *,
    folder: Path | None = None,
    store: str = "sqlite:///ledger.db",
    shared: str = "sqlite:///shared.db",
) -> int:
    """Play the demo; 0 if the figures came out equal and nothing was left failed, 1 if not, 130 if interrupted.

    Args:
        flights: How many flights, from the beginning of the table; left out, all 336,776 of the year.
        stay: Keep server and workers going afterwards, until Ctrl-C.
        store: The database of the ledger.
        shared: The database of the store that it shares with others.
        folder: Where settings, data and logs go, and stay; left out, a temporary folder that is removed.

    Raises:
        UsageError: Too few flights, or the folder is not empty.
        MissingExtraError: The table of flights is not installed.
        PenstockError: The server cannot be started, or a worker ended by itself.
    """
    if flights is not None and flights < FEWEST_FLIGHTS:
        raise UsageError(
            f"flights is {flights}; the demo plays at least {FEWEST_FLIGHTS}: an early one has to fail"
        )
    table_folder()
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    try:
        with _own_settings(), _project(folder, store, shared) as project, Workers(project) as workers:
            try:
                return asyncio.run(_play(project, workers, flights, stay))
            except (KeyboardInterrupt, asyncio.CancelledError):
                Screen().say("interrupted; workers and server are being ended")
                return _INTERRUPTED
            finally:
                # Ending them takes a moment, which a second Ctrl-C must not cut short.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGINT, on_ctrl_c)


async def _play(project: Path, workers: Workers, limit: int | None, stay: bool) -> int:
    from penstock.demo.ledger import app as ledger
    from penstock.demo.listeners import app
    from penstock.demo.story import Story

    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    for each in (app, ledger):
        each.configure(file=project / "penstock.toml")
    screen = Screen()
    async with app, ledger:
        went_well = await Story(screen, workers, project, limit).tell()
        if stay:
            await _stay(screen, project)
    return 0 if went_well else 1


async def _stay(screen: Screen, project: Path) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    command = Path(sys.executable).with_name("penstock")
    screen.step("Server and workers go on until Ctrl-C. To look around from another terminal:")
    screen.say(
        f"cd {project}\n"
        f"{command} status\n"
        f"{command} streams list\n"
        f"{command} streams tail flights\n"
        f"{command} groups show flights board\n"
        f"{command} failed list\n"
        f"{command} archive list\n"
        f"{command} store show\n"
        f"{command} projections list"
    )
    await ended.wait()


@contextmanager
def _project(folder: Path | None, store: str, shared: str) -> Iterator[Path]:
    """A folder with settings of its own, whose server is stopped at the end. One of our own making is removed."""
    from penstock.streams.embedded import stop_server

    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; the demo begins in a folder of its own")
    project = Path(tempfile.mkdtemp(prefix="penstock-demo-")) if folder is None else folder.absolute()
    try:
        project.mkdir(parents=True, exist_ok=True)
        settings = _SETTINGS.format(store=json.dumps(store), shared=json.dumps(shared))
        (project / "penstock.toml").write_text(settings, encoding="utf-8")
        yield project
    finally:
        stop_server(project / ".penstock")
        if folder is None:
            shutil.rmtree(project, ignore_errors=True)


@contextmanager
def _own_settings() -> Iterator[None]:
    """Within the block no variable of the environment leads to another server than the demo's."""
    former = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(settled_environment(former))
        yield
    finally:
        os.environ.clear()
        os.environ.update(former)
