"""What became of many lines, told in the same way by every command that reads them."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from penstock.cli._errors import DONE, INTERRUPTED, PARTIAL, REFUSED, USAGE, Refusal
from penstock.cli._output import Output

__all__ = ["code_of", "ending_of", "name_bad", "telling_when_interrupted"]


def code_of(done: int, bad: int, stopped: str | None) -> int:
    """The exit code where *done* lines went in and *bad* did not, and what *stopped* it before the end, if anything."""
    if stopped is None and not bad:
        return DONE
    if done:
        return PARTIAL
    return USAGE if bad else REFUSED


def name_bad(out: Output, problems: Sequence[tuple[str, str]], bad: int) -> None:
    """Name the first lines that did not go in, with the reason, and say how many more there are."""
    for where, error in problems:
        out.note(f"{where}: {error}", style="red")
    if len(problems) < bad:
        out.note(f"... and {bad - len(problems):,} more lines")


def ending_of(bad: int, stopped: str | None) -> str:
    """How it ended, to be put behind what was done; nothing, if nothing remarkable happened."""
    passed_over = f", passed over {bad:,} bad line{'s' * (bad > 1)}" if bad and stopped is None else ""
    return f"{passed_over}{', then stopped' if stopped is not None else ''}"


@contextmanager
def telling_when_interrupted(count: Callable[[], int], *, done: str, fact: str) -> Iterator[None]:
    """Have Ctrl-C within the block say how many events were *done*, which a program finds under *fact*."""
    try:
        yield
    except asyncio.CancelledError:
        facts: dict[str, Any] = {fact: count()}
        raise Refusal(
            f"interrupted; {count():,} events were {done} before", code=INTERRUPTED, **facts
        ) from None
