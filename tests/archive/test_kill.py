"""kill -9 of a process that archives or restores: a message is in the archive, in the stream, or in both."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from penstock.archive import Archiver, Restorer
from penstock.streams.valkey import ValkeyBroker
from tests.archive.dying import opened
from tests.archive.moving import STREAM, add, kept, run, there

EVENTS = ["e0", "e1", "e2"]


async def die(what: str, url: str, namespace: str, kind: str, where: Path, step: int) -> int:
    """Run the process; its exit code, negative for a signal."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.archive.dying", what, url, namespace, kind, str(where), str(step)),
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
    )
    return await asyncio.wait_for(process.wait(), 60)


@pytest.mark.covers("ARCH-4", "ARCH-6")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sql", "files"])
@pytest.mark.parametrize("what", ["archive", "restore"])
async def test_killed_at_any_step_nothing_is_lost(
    what: str, kind: str, server_url: str, tmp_path: Path
) -> None:
    """One process for each step, killed there; run again to the end, each message is in one place, once."""
    deaths = 0
    for step in range(1000):
        namespace, where = f"kill-{uuid.uuid4().hex[:12]}", tmp_path / str(step)
        where.mkdir()
        broker, archive = ValkeyBroker(server_url, namespace=namespace), opened(kind, str(where))
        await broker.open()
        await archive.open()
        await add(broker, 3)
        if what == "restore":
            await run(Archiver(archive), broker)
            assert await kept(archive) == EVENTS

        code = await die(what, server_url, namespace, kind, where, step)

        archived, streamed = await kept(archive), await there(broker)
        assert {*archived, *streamed} == set(EVENTS), (step, archived, streamed)
        assert len(archived) == len(set(archived))
        if code:
            assert code == -signal.SIGKILL
            deaths += 1
            if what == "archive":
                await run(Archiver(archive), broker)
            elif archived:
                await Restorer(archive).restore(broker, await archive.find_many(STREAM))
            archived, streamed = await kept(archive), await there(broker)
        assert (archived, streamed) == ((EVENTS, []) if what == "archive" else ([], EVENTS)), step
        await archive.close()
        await broker.delete_stream(STREAM)
        await broker.close()
        if not code:
            break
    assert deaths == 4, "before and after each of the two steps"
