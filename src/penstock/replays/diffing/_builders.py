"""Who builds one side of a comparison: this process with its app, or one that is started for it."""

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from penstock.errors import ReplayError, UsageError
from penstock.replays._workplace import Workplace, chosen
from penstock.replays.diffing._building import Built, build
from penstock.replays.diffing._checkouts import check_out
from penstock.replays.diffing._events import Chosen
from penstock.replays.diffing._exchange import COMMAND, Answer, Request, StoreAt
from penstock.replays.diffing._places import Place, live_file, scratch_at
from penstock.replays.diffing._scratch import Scratch
from penstock.replays.diffing._sides import Asked, Here, NamedApp, Revision
from penstock.replays.diffing._workrooms import Workroom
from penstock.replays.diffing.values import Side

__all__ = ["Builder", "Job"]

_LAST_WORDS: Final = 2000
_AT_ONCE: Final = 64 * 1024
_END_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """What both sides have in common."""

    projections: tuple[str, ...]
    store: StoreAt
    chosen: Chosen
    folder: Path
    """Where the one who asks works."""
    app: str = ""
    """How the app of a revision is named, as on the command line; empty: as it is found there."""
    config: str = ""


class Builder:
    """Builds one side into a throw-away database, in a folder of its own."""

    def __init__(self, workplace: Workplace, asked: Asked, job: Job, place: Place, room: Workroom) -> None:
        self._workplace, self._asked, self._job, self._room = workplace, asked, job, room
        self._place = place
        self._scratch: Scratch | None = None

    @property
    def scratch(self) -> Scratch:
        """The database."""
        if self._scratch is None:
            self._scratch = scratch_at(self._place, ())
        return self._scratch

    async def build(self) -> Side:
        """Build it. Raises `ReplayError`, which says for whom; `UsageError`, `UnknownProjectionError`."""
        return _side(self._asked, await self._built())

    async def _built(self) -> Built:
        match self._asked:
            case Here(projection=other):
                return await self._here(other)
            case NamedApp(label):
                return await self._elsewhere(self._job.folder, {}, app=label, config=self._job.config)
            case Revision() as revision:
                return await self._at(revision)

    async def _here(self, other: str) -> Built:
        if other and len(self._job.projections) != 1:
            raise UsageError(f"{_PROJECTION_HINT} compares one projection with another; name one to compare")
        names = (other,) if other else self._job.projections
        projections = chosen(names, self._workplace.projections)
        place = self._place
        if not place.url:
            place = msgspec.structs.replace(place, beside=live_file(self._workplace, projections))
        self._scratch = scratch_at(place, projections)
        source = self._job.store.source(self._job.chosen)
        return await build(self._workplace, projections, self._scratch, source)

    async def _at(self, revision: Revision) -> Built:
        checkout = await asyncio.to_thread(
            check_out, revision.root, revision.commit, self._room.path / "checkout"
        )
        folder = checkout.moved(self._job.folder)
        if not folder.is_dir() or folder == self._job.folder:
            raise ReplayError(
                f"{revision.label} has no folder {self._job.folder.relative_to(revision.root)}; run this in one that "
                "both revisions have"
            )
        config = str(checkout.moved(Path(self._job.config))) if self._job.config else ""
        more = {"PYTHONPATH": checkout.import_path()}
        if named := os.environ.get("PENSTOCK_CONFIG"):
            more["PENSTOCK_CONFIG"] = str(checkout.moved(Path(named)))
        return await self._elsewhere(folder, more, app=self._job.app, config=config)

    async def _elsewhere(self, folder: Path, more: dict[str, str], *, app: str, config: str) -> Built:
        """In a process of its own, whose modules are those of *folder*."""
        answer = self._room.path / "answer.json"
        await asyncio.to_thread(self.scratch.claim)
        projections = [
            each for name, each in self._workplace.projections.items() if name in self._job.projections
        ]
        place = self._place
        if not place.url and projections:
            place = msgspec.structs.replace(place, beside=live_file(self._workplace, projections))
        request = Request(self._job.projections, self._job.store, self._job.chosen, place, str(answer))
        words = [*(("--app", app) if app else ()), *(("--config", config) if config else ())]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "penstock",
            *words,
            COMMAND,
            cwd=folder,
            env={**os.environ, **more, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=self._room.locks,
        )
        try:
            errors = await _asked(process, msgspec.json.encode(request))
        finally:
            await _ended(process)
        label = _label(self._asked)
        try:
            found = msgspec.json.decode(answer.read_bytes(), type=Answer)
        except (FileNotFoundError, msgspec.DecodeError) as failure:
            words_of_it = errors.decode(errors="replace").strip()[-_LAST_WORDS:]
            raise ReplayError(
                f"{label} could not be built: its process ended with {process.returncode}: {words_of_it}"
            ) from failure
        if found.failure:
            raise ReplayError(f"{label} could not be built: {found.failure}")
        return found.built

    def drop(self) -> None:
        """Remove the database."""
        self.scratch.drop()


_PROJECTION_HINT: Final = "projection:NAME"


async def _asked(process: asyncio.subprocess.Process, request: bytes) -> bytes:
    """Send a request; the last of what the process said of errors. Its input stays open as long as anybody waits."""
    assert process.stdin is not None
    assert process.stderr is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(request + b"\n")
        await process.stdin.drain()
    errors = b""
    while said := await process.stderr.read(_AT_ONCE):
        errors = (errors + said)[-_AT_ONCE:]
    await process.wait()
    return errors


async def _ended(process: asyncio.subprocess.Process) -> None:
    """See to it that a process is gone."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _label(asked: Asked) -> str:
    return asked.label or "this app"


def _side(asked: Asked, built: Built) -> Side:
    return Side(
        label=asked.label,
        commit=asked.commit if isinstance(asked, Revision) else "",
        versions=dict(built.versions),
        tables=built.tables,
        events=built.events,
        put_aside=built.put_aside,
        took=built.took,
    )
