"""Two throw-away databases side by side: what is in both is compared, what one has alone is named."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from penstock.replays.abc import Comparing, CopiedTable, TableDifference
from penstock.replays.diffing._scratch import Scratch
from penstock.replays.diffing.values import Difference, Side
from penstock.replays.verifying.differences import differences

__all__ = ["alike", "compared"]

_NO_KEY: Final = "there is no key that both have"


def compared(
    before: Scratch, after: Scratch, sides: tuple[Side, Side], *, through: int, rows: int
) -> Difference:
    """What is not the same. Raises `StoreUnavailableError`, `StoreRefusedError`."""
    names = set(sides[0].tables) & set(sides[1].tables)
    tables = [CopiedTable(name) for name in sides[1].tables if name in names]
    with before.comparing(after) as comparing:
        return Difference(
            *sides,
            through=through,
            tables=tuple(_without_roles(each) for each in differences(comparing, tables, rows=rows)),
            only_before=tuple(name for name in sides[0].tables if name not in names),
            only_after=tuple(name for name in sides[1].tables if name not in names),
            other_types=tuple(text for table in tables for text in _other_types(comparing, table)),
        )


def _without_roles(table: TableDifference) -> TableDifference:
    """Neither side is live here, so notes that say so are left out; other types are told by themselves."""
    notes = (each for each in table.note.split("; ") if each.startswith(_NO_KEY))
    return replace(table, note="; ".join(notes))


def _other_types(comparing: Comparing, table: CopiedTable) -> list[str]:
    before, after = comparing.columns(table)
    types = {each.name: each.type for each in before}
    return [
        f"{table.name}.{each.name}: {types[each.name] or 'no type'}, then {each.type or 'no type'}"
        for each in after
        if each.name in types and types[each.name] != each.type
    ]


def alike(before: Sequence[str], after: Sequence[str]) -> dict[str, str]:
    """New names for tables of another projection that does the same: those of the first, in the order of making."""
    alone = [name for name in before if name not in after]
    others = [name for name in after if name not in before]
    return dict(zip(others, alone, strict=True)) if len(alone) == len(others) else {}
