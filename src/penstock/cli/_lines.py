"""Lines of standard input as they come: many at once from a file, each at once from someone who types."""

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from penstock.cli._errors import Refusal

__all__ = ["Line", "Source", "numbered", "read_bodies", "read_lines", "standard_input"]

_CHUNK: Final = 256 * 1024
_AHEAD: Final = 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank. `text` is ``None`` when it was too long to be kept."""

    number: int
    text: bytes | None
    size: int


class Source(Protocol):
    """Where bytes come from: an unbuffered file."""

    def read(self, size: int = -1, /) -> bytes | None:
        """What is there, waiting for the first byte; nothing at the end."""


def standard_input() -> Source:
    """Standard input without its buffer, which a thread that is still reading would hold locked at the end."""
    source: Source = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    return source


async def read_lines(source: Source, *, longest: int) -> AsyncIterator[list[Line]]:
    """Batches of lines; a line over *longest* bytes comes without its text, and never fills the memory."""
    splitter = _Splitter(longest)
    async for chunk in _chunks(source):
        if lines := splitter.feed(chunk):
            yield lines
    if lines := splitter.feed(b"\n"):
        yield lines


def read_bodies(max_body: int) -> AsyncIterator[list[Line]]:
    """Batches of lines of standard input, each long enough for a body of *max_body* bytes as JSON."""
    return read_lines(standard_input(), longest=4 * max_body + 4096)


async def numbered(batches: AsyncIterator[list[Line]]) -> AsyncIterator[Sequence[tuple[int, bytes | None]]]:
    """Lines as operations take them: the number of each, and its text."""
    async for lines in batches:
        yield [(line.number, line.text) for line in lines]


async def _chunks(source: Source) -> AsyncIterator[bytes]:
    """What a thread reads. It is a daemon, because nothing ends a read from a terminal when we are interrupted."""
    loop, room = asyncio.get_running_loop(), threading.Semaphore(_AHEAD)
    chunks: asyncio.Queue[bytes | BaseException] = asyncio.Queue()

    def pump() -> None:
        found: bytes | BaseException = b"..."
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            while found and isinstance(found, bytes):
                room.acquire()
                try:
                    found = source.read(_CHUNK) or b""
                except (OSError, ValueError) as failure:
                    found = failure
                loop.call_soon_threadsafe(chunks.put_nowait, found)

    threading.Thread(target=pump, name="penstock standard input", daemon=True).start()
    while found := await chunks.get():
        room.release()
        if isinstance(found, BaseException):
            raise Refusal(f"standard input cannot be read: {found}") from found
        yield found


class _Splitter:
    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._pieces: list[bytes] = []
        """The line that has no end yet; in pieces, so that a long one is not copied with each."""
        self._kept = 0
        self._dropped = 0
        self._number = 0

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that *chunk* completes."""
        first, *others = chunk.split(b"\n")
        self._keep(first)
        found: list[Line] = []
        for other in others:
            if (line := self._line(b"".join(self._pieces))) is not None:
                found.append(line)
            self._pieces, self._kept = [], 0
            self._keep(other)
        return found

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._pieces.append(piece)
        self._kept += len(piece)
        if self._dropped or self._kept > self._longest:
            self._dropped += self._kept
            self._pieces, self._kept = [], 0

    def _line(self, text: bytes) -> Line | None:
        self._number += 1
        size, self._dropped = self._dropped + len(text) + 1, 0
        if size - 1 > self._longest:
            return Line(self._number, None, size)
        return Line(self._number, text, size) if text.strip() else None
