"""Rows of read models, written in batches by themselves: many changes of one page, one statement for each table.

Nothing goes to the database while events are handled. What is said of a row is put together in memory, and at the end
of the page, or before anything is read in it, the rows of a table are written by one statement. (Rows that are given
different columns need one for each set of columns.)
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from penstock.errors import UsageError
from penstock.store.work._tables import RowTable

__all__ = ["Change", "Rows"]

_NONE: Final[Mapping[str, Any]] = {}
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
    sets: dict[str, Any] | None = None
    adds: dict[str, Any] | None = None

    def set(self, values: dict[str, Any]) -> None:
        """The row is there, with these values, which become its own."""
        self.written = True
        if self.adds is not None:
            for name in values:
                self.adds.pop(name, None)
        if self.sets is None:
            self.sets = values
        else:
            self.sets.update(values)

    def add(self, amounts: dict[str, Any]) -> None:
        """The row is there, with so much more, which becomes its own; what was not there counts as 0."""
        self.written = True
        if self.adds is None and self.sets is None:
            if self.deleted:
                self.sets = amounts
            else:
                self.adds = amounts
            return
        sets = self.sets = self.sets or {}
        adds = self.adds = self.adds or {}
        for name, amount in amounts.items():
            if name in sets:
                sets[name] = (sets[name] or 0) + amount
            elif self.deleted:
                sets[name] = amount
            else:
                adds[name] = adds.get(name, 0) + amount

    def delete(self) -> None:
        """The row is not there."""
        self.deleted, self.written = True, False
        self.sets = self.adds = None


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
        copy: Callable[[str, str], None],
        before: Callable[[RowTable, tuple[str, ...], tuple[Any, ...]], None],
    ) -> None:
        self._table_of = table_of
        self._run, self._copy = run, copy
        self._before = before
        self._pending: dict[
            tuple[Hashable, tuple[str, ...]], dict[tuple[Any, ...], Change] | list[tuple[Any, ...]]
        ] = {}
        """By table and columns of the key, changes by key; or by table and columns, rows that are added."""
        self._added: dict[tuple[Any, ...], tuple[RowTable, list[tuple[Any, ...]]]] = {}
        """By table and names as they were said, the rows that are added so, until they are written."""
        self._is_adding: dict[str, bool] = {}
        """By table, whether what waits for it is rows to add or changes: never both, so that they stay in order."""
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

    def insert(self, table: Any, /, **values: Any) -> None:
        """Add a row. Nothing is looked for, so this is the quickest way to write many.

        If there is a row of its key already, the database raises its error when the page is written.
        """
        said = (table, *values)
        if (known := self._added.get(said)) is None:
            known = self._added[said] = self._adding(table, values)
        found, rows = known
        self._before(found, (), ())
        if said not in self._added:  # all that waited was written just now
            found, rows = self._added[said] = self._adding(table, values)
        rows.append((*values.values(),))

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
        self._added.clear()
        self._is_adding.clear()
        for (table, names), changes in reversed(pending.items()):
            if isinstance(changes, list):
                continue
            gone = [change.key for change in changes.values() if change.deleted]
            for sql, parameters in self._tables[table].deletes(names, gone):
                self._run(sql, parameters)
        for (table, names), changes in pending.items():
            if isinstance(changes, list):
                self._write_added(self._tables[table], names, changes)
                continue
            for (sets, adds), values in _alike(changes.values()).items():
                types = self._types(self._tables[table]) if len(values) >= _MANY else None
                for sql, parameters in self._tables[table].upserts(names, sets, adds, values, types):
                    self._run(sql, parameters)

    def _write_added(self, table: RowTable, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        types = self._types(table) if len(rows) >= _MANY else None
        if types and (copied := table.copies(names, rows, types)) is not None:
            self._copy(*copied)
            return
        for sql, parameters in table.inserts(names, rows, types):
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
        self._in_order(found, adds=False)
        changes: Any = self._pending.setdefault((found.name, names), {})
        return found, names, changes

    def _adding(self, table: Any, values: Mapping[str, Any]) -> tuple[RowTable, list[tuple[Any, ...]]]:
        found = self._table_of(table)
        found.check_columns(values)
        self._tables[found.name] = found
        self._in_order(found, adds=True)
        rows: Any = self._pending.setdefault((found.name, tuple(values)), [])
        return found, rows

    def _in_order(self, table: RowTable, *, adds: bool) -> None:
        """See to it that nothing of the other kind waits for the table."""
        if self._is_adding.get(table.name, adds) is not adds:
            self.flush()
        self._is_adding[table.name] = adds


_Columns: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""Those that are set, and those that are added to."""


def _alike(changes: Iterable[Change]) -> dict[_Columns, list[tuple[Any, ...]]]:
    """The rows that are written, by the columns that are given: their keys and values in the columns' order."""
    found: dict[_Columns, list[tuple[Any, ...]]] = {}
    said: dict[_Columns, tuple[tuple[str, ...], tuple[str, ...], list[tuple[Any, ...]]]] = {}
    for change in changes:
        if not change.written:
            continue
        sets, adds = change.sets or _NONE, change.adds or _NONE
        shape = tuple(sets), tuple(adds)
        if (known := said.get(shape)) is None:
            columns = tuple(sorted(sets)), tuple(sorted(adds))
            known = said[shape] = (*columns, found.setdefault(columns, []))
        set_, added, values = known
        values.append((*change.key, *[sets[name] for name in set_], *[adds[name] for name in added]))
    return found
