"""What a comparison of two versions found, and which two they were."""

from dataclasses import dataclass
from datetime import timedelta

from penstock.replays.abc import TableDifference

__all__ = ["Difference", "Side"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two versions, and what it made of the events."""

    label: str
    """As it was asked for: ``main``, ``shop:app``, ``projection:totals_2``; empty for the app that asked."""
    commit: str
    """The full id of the commit; empty where it is no revision."""
    versions: dict[str, int]
    """Of its projections, by name."""
    tables: tuple[str, ...]
    events: int
    """How many were handled; one that two projections handle counts for each."""
    put_aside: int
    """Events that a projection could not handle and, by its policy, went past."""
    took: timedelta

    @property
    def shown(self) -> str:
        """For people."""
        if self.commit:
            return f"{self.label} ({self.commit[:10]})"
        return self.label or "this app"


@dataclass(frozen=True, slots=True)
class Difference:
    """Two versions of the same read models, made of the same events.

    In `tables` the *live* side is `before` and the *copy* is `after`: a row that is ``missing`` is only in `before`, a
    ``surplus`` one only in `after`.
    """

    before: Side
    after: Side
    through: int
    """Events up to this position were played."""
    tables: tuple[TableDifference, ...]
    """Of those that both have, equal or not."""
    only_before: tuple[str, ...] = ()
    """Tables that `after` has not."""
    only_after: tuple[str, ...] = ()
    other_types: tuple[str, ...] = ()
    """Columns that both have with another type, in words; their values were not compared."""

    @property
    def differing(self) -> int:
        """How many rows are not the same, of the tables that both have."""
        return sum(each.differing for each in self.tables)

    @property
    def has_equal_rows(self) -> bool:
        """Whether all that both have is the same, whatever tables and columns one of them has alone."""
        return all(each.is_equal for each in self.tables) and self.before.put_aside == self.after.put_aside

    @property
    def has_equal_shape(self) -> bool:
        """Whether both have the same tables with the same columns of the same types."""
        alone = (*self.only_before, *self.only_after, *self.other_types)
        return not alone and not any(each.only_live or each.only_copy for each in self.tables)

    @property
    def is_equal(self) -> bool:
        """Whether nothing at all is different."""
        return self.has_equal_rows and self.has_equal_shape
