"""Rows of read models, written in batches by themselves: many changes of one page, one statement for each table.

Nothing goes to the database while events are handled. What is said of a row is put together in memory, and at the end
of the page, or before anything is read in it, the rows of a table are written by one statement. (Rows that are given
different columns need one for each set of columns.)
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import msgspec

from penstock.errors import UsageError
from penstock.store.work._tables import RowTable

__all__ = ["Change", "Rows"]

_MANY: Final = 50
"""From so many rows on it is worth a question how they are written fastest."""


class Change(msgspec.Struct, gc=False):
    """What a page makes of one row: it is deleted first, then set, then added to, as far as each was said.

    A page has thousands, and none is part of a cycle: the garbage collector need not look at them.
    """

    key: tuple[Any, ...]
    deleted: bool = False
    written: bool = False
    """Whether the row is there afterwards."""
    sets: dict[str, Any] = {}
    adds: dict[str, Any] = {}

    def set(self, values: Mapping[str, Any]) -> None:
        """The row is there, with these values."""
        self.written = True
        self.sets.update(values)
        for name in values:
            self.adds.pop(name, None)

    def add(self, amounts: Mapping[str, Any]) -> None:
        """The row is there, with so much more; what was not there counts as 0."""
        self.written = True
        for name, amount in amounts.items():
            if name in self.sets:
                self.sets[name] = (self.sets[name] or 0) + amount
            elif self.deleted:
                self.sets[name] = amount
            else:
                self.adds[name] = self.adds.get(name, 0) + amount

    def delete(self) -> None:
        """The row is not there."""
        self.deleted, self.written = True, False
        self.sets.clear()
        self.adds.clear()


class Rows:
    """Changes to rows of read models, for one page. A handler asks for it by type.

    A table is an SQLAlchemy model or ``Table``, or a name. A *key* names the columns that a primary key or a unique
    index is on, with their values. ::

        rows.increment(CustomerTotal, {"customer": order.customer}, orders=1, total_cents=order.total_cents)
        rows.upsert(OrderStatus, {"order_id": order.order_id}, status="placed")
        rows.delete(OpenOrder, {"order_id": order.order_id})

    Changes take effect in the order in which they are said, also between changes made by a session of the same page,
    which sees them. A statement on the driver's connection sees what was said before it.
    """

    def __init__(
        self,
        table_of: Callable[[Any], RowTable],
        run: Callable[[str, list[object]], Any],
        before: Callable[[RowTable, tuple[str, ...], tuple[Any, ...]], None],
    ) -> None:
        self._table_of = table_of
        self._run = run
        self._before = before
        self._pending: dict[tuple[Hashable, tuple[str, ...]], dict[tuple[Any, ...], Change]] = {}
        self._tables: dict[Hashable, RowTable] = {}
        self._type_of: dict[str, dict[str, str]] = {}
        self._checked: dict[tuple[Any, ...], RowTable] = {}
        """By table and names as they were said: they are the same for most events."""
        self._places: dict[
            tuple[Any, ...], tuple[RowTable, tuple[str, ...], dict[tuple[Any, ...], Change]]
        ] = {}
        """Where what is said so is put, until it is written."""

    def upsert(self, table: Any, key: Mapping[str, Any], /, **values: Any) -> None:
        """Have the row with these values, whether it was there or not; columns that are not named stay as they are."""
        self._change(table, key, values).set(values)

    def increment(self, table: Any, key: Mapping[str, Any], /, **amounts: Any) -> None:
        """Add to columns of a row; a row that is not there begins with the amounts, and empty counts as 0."""
        self._change(table, key, amounts).add(amounts)

    def delete(self, table: Any, key: Mapping[str, Any], /) -> None:
        """Have no such row."""
        self._change(table, key, {}).delete()

    @property
    def are_pending(self) -> bool:
        """Whether anything waits to be written."""
        return bool(self._pending)

    def flush(self) -> None:
        """Write what waits. It is done at the end of a page, and before anything that we know of reads."""
        pending, self._pending = self._pending, {}
        self._places.clear()
        for (table, names), changes in reversed(pending.items()):
            gone = [change.key for change in changes.values() if change.deleted]
            for sql, parameters in self._tables[table].deletes(names, gone):
                self._run(sql, parameters)
        for (table, names), changes in pending.items():
            alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Change]] = {}
            for change in changes.values():
                if change.written:
                    alike.setdefault((_names(change.sets), _names(change.adds)), []).append(change)
            for (sets, adds), same in alike.items():
                values = [
                    (*each.key, *map(each.sets.__getitem__, sets), *map(each.adds.__getitem__, adds))
                    for each in same
                ]
                types = self._types(self._tables[table]) if len(values) >= _MANY else None
                for sql, parameters in self._tables[table].upserts(names, sets, adds, values, types):
                    self._run(sql, parameters)

    def _types(self, table: RowTable) -> Mapping[str, str]:
        # Asked for again on each page: somebody may have changed the table meanwhile.
        found = self._type_of.get(table.name)
        if found is None:
            found = self._type_of[table.name] = {}
            if table.types is not None:
                found.update(self._run(table.types, [table.name]).fetchall())
        return found

    def _change(self, table: Any, key: Mapping[str, Any], values: Mapping[str, Any]) -> Change:
        said = (table, len(key), *key, *values)
        if (known := self._places.get(said)) is None:
            known = self._places[said] = self._place(said, table, tuple(key), values)
        found, names, changes = known
        place = tuple(key.values())
        self._before(found, names, place)
        if said not in self._places:  # all that waited was written just now
            found, names, changes = self._places[said] = self._place(said, table, names, values)
        try:
            change = changes.get(place)
        except TypeError:
            raise UsageError(
                f"a key of a row of {found.name} is {key!r}; its values are texts, numbers, ids"
            ) from None
        if change is None:
            if None in place:
                raise UsageError(
                    f"a key of a row of {found.name} is {key!r}; no row is found by an empty value"
                )
            change = changes[place] = Change(place)
        return change

    def _place(
        self, said: tuple[Any, ...], table: Any, names: tuple[str, ...], values: Mapping[str, Any]
    ) -> tuple[RowTable, tuple[str, ...], dict[tuple[Any, ...], Change]]:
        found = self._checked.get(said)
        if found is None:
            found = self._table_of(table)
            found.check(names, values)
            self._checked[said] = self._tables[found.name] = found
        return found, names, self._pending.setdefault((found.name, names), {})


def _names(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(values) if len(values) < 2 else tuple(sorted(values))
