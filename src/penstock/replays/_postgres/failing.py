"""What fails while a copy is made, in terms of what was to be copied."""

import contextlib
from collections.abc import Iterator

from penstock.errors import PenstockError, ReplayError

__all__ = ["copying"]


@contextlib.contextmanager
def copying(what: str) -> Iterator[None]:
    """Within the block *what* is copied: a mistake in its definition becomes a `ReplayError` that names it."""
    try:
        yield
    except PenstockError:
        raise
    except Exception as failure:
        said = " ".join(str(failure).split("\n[", maxsplit=1)[0].split())
        raise ReplayError(f"table {what} cannot be copied: {said}") from failure
