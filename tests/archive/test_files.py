"""The archive of files: what lies on the disk, what damage does, and what is read."""

import asyncio
import errno
import gzip
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.archive import ArchivedMessage, Created
from penstock.archive._folders import open_folder
from penstock.archive._segments import Segment, folder_name, stream_of_folder
from penstock.archive.files import FilesArchive
from penstock.errors import (
    ArchiveDamagedError,
    ArchiveUnavailableError,
    ConfigurationError,
    MissingExtraError,
)
from penstock.position import EntryId
from penstock.testing.contracts.archive import archived

DAY = timedelta(days=1) // timedelta(milliseconds=1)


def messages(count: int, *, start: int = 0, body: bytes = b"{}") -> list[ArchivedMessage]:
    """Messages of one day."""
    return [
        archived(f"e{number}", EntryId(1000 + number), body=body) for number in range(start, start + count)
    ]


def segments(folder: Path) -> list[Path]:
    """The segment files."""
    return sorted(folder.rglob("*.seg"))


async def every(archive: FilesArchive) -> list[str]:
    """All event ids."""
    return [message.event_id async for message in archive.all()]


async def test_segments_lie_by_stream_and_day_and_are_compressed(tmp_path: Path) -> None:
    """One folder a stream, one a day, whole small files; nothing half written is left."""
    archive = FilesArchive(str(tmp_path))
    body = b"the same text again and again, " * 50
    days = [archived(f"d{day}", EntryId(day * DAY + 5), body=body) for day in (0, 20_000, 10**9)]
    await archive.create_many([*days, *messages(100, body=body)])

    found = [path.relative_to(tmp_path).parts for path in segments(tmp_path)]
    assert [parts[:2] for parts in found] == [
        ("orders", "1970-01-01"),
        ("orders", "2024-10-04"),
        ("orders", "d1000000000"),
    ]
    assert sum(path.stat().st_size for path in segments(tmp_path)) < 103 * len(body) / 5
    assert not list(tmp_path.rglob("*.part"))
    raw = segments(tmp_path)[0].read_bytes()
    assert b"the same text" in gzip.decompress(raw[raw.rindex(b"\x1f\x8b\x08") :])


@pytest.mark.covers("ARCH-1")
async def test_finding_one_reads_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred segments, listing and finding read only those that have what is asked for."""
    writer = FilesArchive(str(tmp_path))
    for day in range(100):
        await writer.create_many(
            [archived(f"e{day}-{number}", EntryId(day * DAY + number)) for number in range(5)]
        )
    archive = FilesArchive(str(tmp_path))
    whole: list[str] = []
    real = archive._folder.read

    def read(path: str, start: int = 0, end: int | None = None) -> bytes:
        if end is None:
            whole.append(path)
        return real(path, start, end)

    monkeypatch.setattr(archive._folder, "read", read)

    assert dict(await archive.counts()) == {"orders": 500}
    assert whole == []
    assert await archive.find("orders", "e42-3") is not None
    assert await archive.find("orders", "none") is None
    assert len(set(whole)) == 1
    whole.clear()
    assert await archive.find("orders", EntryId(50 * DAY + 1)) is not None
    assert len(set(whole)) == 1
    whole.clear()
    page = await archive.find_many("orders", after=archived("e10-4", EntryId(10 * DAY + 4)).place, count=5)
    assert [message.event_id for message in page] == [f"e11-{number}" for number in range(5)]
    assert len(set(whole)) <= 3


@pytest.mark.parametrize("how", ["cut off", "body", "index", "hashes", "magic", "empty"])
async def test_a_damaged_segment_is_named_and_loses_nothing_else(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is passed over with an error that names it; all else is listed, found, kept and removed."""
    writer = FilesArchive(str(tmp_path))
    for start in (0, 10, 20):
        await writer.create_many(messages(10, start=start))
    victim = segments(tmp_path)[1]
    raw = bytearray(victim.read_bytes())
    match how:
        case "cut off":
            raw = raw[: len(raw) // 2]
        case "body":
            raw[-20] ^= 0xFF
        case "index":
            raw[16 + 8 * 10 + 15] ^= 0xFF
        case "hashes":
            raw[20] ^= 0xFF
        case "magic":
            raw[0] ^= 0xFF
        case _:
            raw.clear()
    victim.write_bytes(raw)
    good = [f"e{number}" for number in (*range(10), *range(20, 30))]

    archive = FilesArchive(str(tmp_path))
    assert await every(archive) == good
    assert [each.path for each in archive.damaged] == [str(victim.relative_to(tmp_path))]
    assert victim.name in caplog.text
    if how == "body":
        with pytest.raises(ArchiveDamagedError, match=victim.name):
            await archive.find("orders", "e15")
    for wanted in good:
        assert await archive.find("orders", wanted) is not None
    assert await archive.create_many(messages(2, start=30)) == [Created.NEW] * 2
    assert await archive.delete("orders", [each.place for each in messages(3)]) == 3
    await archive.compact("orders")
    assert await every(archive) == [*good[3:], "e30", "e31"]
    assert victim.exists(), "it may be mended"


async def test_a_removed_message_leaves_no_trace_in_the_end(tmp_path: Path) -> None:
    """Where little is left a segment is written anew; the last removal removes the file and the notes."""
    archive = FilesArchive(str(tmp_path))
    await archive.create_many(messages(10))
    await archive.delete("orders", [each.place for each in messages(4)])
    assert len(list(tmp_path.rglob("*.gone-*"))) == 1
    await archive.delete("orders", [each.place for each in messages(4, start=4)])
    assert list(tmp_path.rglob("*.gone-*")) == []
    assert await every(archive) == ["e8", "e9"]
    await archive.delete("orders", [each.place for each in messages(2, start=8)])
    assert segments(tmp_path) == []
    assert dict(await archive.counts()) == {}


@pytest.mark.parametrize("url", ["local", "memory://compacted"])
async def test_many_small_segments_become_few(tmp_path: Path, url: str) -> None:
    """By themselves on a local folder, on demand elsewhere; nothing changes for who reads."""
    archive = FilesArchive(str(tmp_path) if url == "local" else url)
    for number in range(70):
        await archive.create_many(messages(1, start=number))
    await archive.delete("orders", [each.place for each in messages(5)])
    before = await every(archive)
    assert len(before) == 65
    if url == "local":
        assert len(segments(tmp_path)) < 35
    assert await archive.compact("orders") > 0
    assert await every(archive) == before
    assert len(archive._shelf.segments("orders")) == 1
    assert await archive.compact("orders") == 0


async def test_a_reader_is_not_disturbed_by_merging(tmp_path: Path) -> None:
    """Segments go away underneath a listing, which looks again."""
    writer, reader = FilesArchive(str(tmp_path)), FilesArchive(str(tmp_path))
    await writer.create_many(messages(300))

    async def write() -> None:
        for number in range(300, 400):
            await writer.create_many(messages(1, start=number))

    writing = asyncio.create_task(write())
    while not writing.done():
        listed = await every(reader)
        assert len(listed) == len(set(listed)) >= 300
    await writing
    assert len(await every(reader)) == 400


CHILD = """
import asyncio, sys
from penstock.archive.files import FilesArchive
from penstock.position import EntryId
from penstock.testing.contracts.archive import archived
async def main():
    archive = FilesArchive(sys.argv[1])
    new = 0
    for start in range(0, 60, 3):
        messages = [archived(f"e{n}", EntryId(1000 + n)) for n in range(start, start + 3)]
        new += sum(answer.value == "new" for answer in await archive.create_many(messages))
    print(new)
asyncio.run(main())
"""


@pytest.mark.covers("ARCH-4")
async def test_processes_keep_each_other_out(tmp_path: Path) -> None:
    """Three processes keep the same messages at the same time: each is new to one of them, and there once."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    printed = [(await process.communicate())[0] for process in processes]
    assert sum(map(int, printed)) == 60
    archive = FilesArchive(str(tmp_path))
    assert await every(archive) == [f"e{number}" for number in range(60)]
    assert dict(await archive.counts()) == {"orders": 60}


async def test_what_two_wrote_twice_counts_once(tmp_path: Path) -> None:
    """Where nothing can be locked, two may write the same message: listed, counted and removed as one."""
    one, two = FilesArchive("memory://twice/a"), FilesArchive("memory://twice/a")
    message = messages(1)[0]
    one._write("orders", "1970-01-01", [message])
    two._write("orders", "1970-01-01", [message, *messages(1, start=1)])

    assert await every(one) == ["e0", "e1"]
    assert dict(await one.counts()) == {"orders": 2}
    assert await one.delete("orders", [message.place]) == 1
    assert await every(two) == ["e1"]


async def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write that fails leaves nothing half written, and says what is wrong; later it works again."""
    archive = FilesArchive(str(tmp_path))
    await archive.create_many(messages(3))
    real = os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchiveUnavailableError, match="No space left"):
        await archive.create_many(messages(3, start=3))
    monkeypatch.setattr(os, "fsync", real)

    assert not list(tmp_path.rglob("*.part"))
    assert await every(archive) == ["e0", "e1", "e2"]
    assert await archive.create_many(messages(3, start=3)) == [Created.NEW] * 3


async def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A file stands where the folder should be: nothing is kept, and the error names it."""
    (tmp_path / "kept").write_text("a file")
    archive = FilesArchive(str(tmp_path / "kept"))
    with pytest.raises(ArchiveUnavailableError, match="kept"):
        await archive.open()
    with pytest.raises(ArchiveUnavailableError, match="kept"):
        await archive.create_many(messages(1))


def test_urls_are_told_from_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file URL is a local folder; an unknown one, and a missing package, are refused by name."""
    assert open_folder(f"file://{tmp_path}").shown == str(tmp_path)
    assert open_folder("memory://x").locks is False
    with pytest.raises(ConfigurationError, match="gopher"):
        open_folder("gopher://host/archive")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError, match=r"penstock\[files\]"):
        open_folder("s3://bucket/archive")


@pytest.mark.parametrize(
    "stream", ["orders", "Orders", "a/b", "..", ".x", "ü", "x" * 500, "a~b", "%2e", "\0"]
)
def test_folders_tell_their_stream(stream: str) -> None:
    """Every stream has a folder of its own, lower case, which no file system mixes up."""
    name = folder_name(stream)
    assert name == name.lower()
    assert len(name) < 200
    assert not set(name) & set("/\\\0") or name.startswith(".")
    assert stream_of_folder(name) in (stream, None)


def test_a_strange_file_is_no_segment() -> None:
    """What others put there is left alone."""
    names: Sequence[Any] = ["README", "x.seg", ".lock", "0-0_0-0_1.1.1_x.seg"]
    assert [Segment.parse("orders", name) for name in names] == [None] * 4


async def test_large_messages_are_not_written_again_and_again(tmp_path: Path) -> None:
    """Segments that are full by their bytes stay as they are, however few messages they have."""
    archive = FilesArchive(str(tmp_path))
    large = os.urandom(5 * 1024 * 1024)
    for number in range(3):
        await archive.create_many(messages(1, start=number, body=large))
    before = segments(tmp_path)
    assert await archive.compact("orders") == 0
    assert segments(tmp_path) == before
