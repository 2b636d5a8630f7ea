"""Lines of standard input as they come: many at once from a file, each at once from someone who types."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["Line", "read_lines"]

_CHUNK: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank. `text` is ``None`` when it was too long to be kept."""

    number: int
    text: bytes | None
    size: int


class _Source(Protocol):
    """What standard input's buffer can do."""

    def read1(self, size: int = -1, /) -> bytes: ...


async def read_lines(source: _Source, *, longest: int) -> AsyncIterator[list[Line]]:
    """Batches of lines; a line over *longest* bytes comes without its text, and never fills the memory."""
    splitter = _Splitter(longest)
    while chunk := await asyncio.to_thread(source.read1, _CHUNK):
        if lines := splitter.feed(chunk):
            yield lines
    if lines := splitter.feed(b"\n"):
        yield lines


class _Splitter:
    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = b""
        self._dropped = 0
        self._number = 0

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that *chunk* completes."""
        *complete, rest = (self._rest + chunk).split(b"\n")
        found = [line for line in map(self._line, complete) if line is not None]
        if self._dropped or len(rest) > self._longest:
            self._dropped += len(rest)
            rest = b""
        self._rest = rest
        return found

    def _line(self, text: bytes) -> Line | None:
        self._number += 1
        size, self._dropped = self._dropped + len(text) + 1, 0
        if size - 1 > self._longest:
            return Line(self._number, None, size)
        return Line(self._number, text, size) if text.strip() else None
