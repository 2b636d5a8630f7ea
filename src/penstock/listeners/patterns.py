"""Streams by pattern: ``order.*`` stands for every stream of that form, those included that do not exist yet."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

__all__ = ["FindStreams", "is_pattern", "matching"]

FindStreams: TypeAlias = Callable[[], Awaitable[Sequence[str]]]
"""Answers which streams a worker reads at this moment."""


def is_pattern(stream: str) -> bool:
    """Whether a declared stream is a pattern: an asterisk stands for any text, everything else for itself."""
    return "*" in stream


def matching(patterns: Iterable[str], streams: Iterable[str]) -> list[str]:
    """Those of *streams* that have the form of one of *patterns*, sorted."""
    forms = [re.compile(".*".join(map(re.escape, each.split("*"))), re.DOTALL) for each in patterns]
    return sorted({stream for stream in streams if any(form.fullmatch(stream) for form in forms)})
