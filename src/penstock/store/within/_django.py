"""Django's connections, on SQLite and PostgreSQL."""

from collections.abc import Callable
from typing import Any

from penstock.errors import UsageError
from penstock.store.within._callers import Caller, Rows
from penstock.store.within._placeholders import translated

__all__ = ["DjangoCaller"]


class DjangoCaller(Caller):
    """A connection of Django's."""

    def __init__(self, connection: Any) -> None:
        if connection.vendor not in ("sqlite", "postgresql"):
            raise UsageError(
                f"Django's database {connection.alias!r} is of kind {connection.vendor!r}; "
                "an event store is in SQLite or PostgreSQL"
            )
        self.dialect = connection.vendor
        self._connection = connection
        self.place = connection

    def check(self) -> None:
        """Raises `UsageError` where what is run would be committed at once."""
        if self._connection.get_autocommit() and not self._connection.in_atomic_block:
            alias = self._connection.alias
            named = "" if alias == "default" else f"using={alias!r}"
            raise UsageError(
                f"Django's database {alias!r} is in no transaction and commits each statement by itself; "
                f"open one: with transaction.atomic({named}): ..."
            )

    def run(self, sql: str, parameters: tuple[object, ...]) -> Rows:
        """The rows of one statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(translated(sql, "format"), parameters)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description is not None else []

    def after_commit(self, ring: Callable[[], None]) -> None:
        """Ring by Django's own hook, which knows of savepoints."""
        if self._connection.in_atomic_block:  # with autocommit switched off by hand Django has no hook
            self._connection.on_commit(ring, robust=True)
