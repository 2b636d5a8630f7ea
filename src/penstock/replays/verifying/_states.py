"""The states of folds, which have no tables: what both checkpoints have folded, item by item."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from penstock.projections.abc import LIVE
from penstock.replays.abc import Comparing, CopiedTable, RowDifference, TableDifference
from penstock.replays.verifying._subject import shown

__all__ = ["state_differences"]

_CHECKPOINTS: Final = CopiedTable("penstock_checkpoints")
_NEW: Final = "there is no live state, so nothing was compared"
_PART: Final = "only the items that the copy has were compared"


def state_differences(
    comparing: Comparing, key: str, projections: Sequence[str], *, rows: int, copy_only: bool = False
) -> list[TableDifference]:
    """What is not the same in the states of those projections that fold one, as of a table of its items.

    A state that is no dictionary is one item without a name. With *copy_only* only the items of the copy count.
    """
    live_place = comparing.live(_CHECKPOINTS)
    # On PostgreSQL all generations have theirs in one table.
    _, is_apart = comparing.columns(_CHECKPOINTS)
    copy_place = comparing.copy(_CHECKPOINTS) if is_apart else live_place
    found = list[TableDifference]()
    for name in sorted(projections):
        live, copied = _state(comparing, live_place, name, LIVE), _state(comparing, copy_place, name, key)
        if live or copied:
            found.append(_compared(f"state_of_{name}", live, copied or {}, rows, copy_only=copy_only))
    return found


def _state(comparing: Comparing, place: str | None, name: str, generation: str) -> Mapping[str, Any] | None:
    """The items of a state; ``None`` where there is no checkpoint."""
    row = comparing.database.execute(
        comparing.connection,
        f"SELECT state FROM {place} WHERE projection = ? AND generation = ?",
        (name, generation),
    ).fetchone()
    if row is None:
        return None
    if row[0] is None:
        return {}
    state = msgspec.json.decode(bytes(row[0]))
    return cast("dict[str, Any]", state) if isinstance(state, dict) else {"": state}


def _compared(
    table: str, live: Mapping[str, Any] | None, copied: Mapping[str, Any], most: int, *, copy_only: bool
) -> TableDifference:
    if live is None:
        return TableDifference(table, 0, len(copied), note=_NEW, is_new=True)
    found = list[RowDifference]()
    for item in sorted({*live, *copied}):
        if item not in copied:
            if not copy_only:
                found.append(_row(item, "missing"))
        elif item not in live:
            found.append(_row(item, "surplus"))
        elif _text(live[item]) != _text(copied[item]):
            found.append(_row(item, "changed", {"value": (shown(live[item]), shown(copied[item]))}))
    return TableDifference(
        table,
        live_rows=len(copied) if copy_only else len(live),
        copy_rows=len(copied),
        compared=("key", "value"),
        differing=len(found),
        rows=tuple(found[:most]),
        note=_PART if copy_only else "",
    )


def _row(
    item: str,
    kind: Literal["missing", "surplus", "changed"],
    columns: Mapping[str, tuple[Any, Any]] | None = None,
) -> RowDifference:
    return RowDifference({"key": shown(item)}, kind, columns or {})


def _text(value: Any) -> bytes:
    """By which two values are told apart: true is not 1."""
    return msgspec.json.encode(value, order="deterministic")
