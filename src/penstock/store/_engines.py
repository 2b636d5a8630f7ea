"""A database's engine of SQLAlchemy: made when it is first asked for, once, and closed with the database."""

import threading
from abc import ABC, abstractmethod
from typing import Any

from penstock.errors import MissingExtraError

__all__ = ["WithEngine"]


class WithEngine(ABC):
    """The part of a `Database` that users' own sessions are made of. Any thread may ask."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._making = threading.Lock()

    def engine(self) -> Any:
        """A ``sqlalchemy.Engine`` for this database, made once. Raises `MissingExtraError`."""
        with self._making:
            if self._engine is None:
                try:
                    self._engine = self._make_engine()
                except ImportError as missing:
                    raise MissingExtraError("a session of SQLAlchemy", "sql") from missing
            return self._engine

    def dispose(self) -> None:
        """Close what `engine` keeps open."""
        with self._making:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    @abstractmethod
    def _make_engine(self) -> Any:
        """A new engine. Raises `ImportError` without SQLAlchemy."""
