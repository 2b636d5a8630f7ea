"""Which copy of a read model is being written: the live one, or one that is rebuilt beside it."""

from dataclasses import dataclass

from penstock.projections.abc import LIVE

__all__ = ["Generation"]


@dataclass(frozen=True, slots=True)
class Generation:
    """The copy of the read model that a handler writes; a handler asks for it by type.

    What must happen once and not again when a read model is rebuilt (a mail, a call elsewhere) looks at `is_live`.
    """

    name: str = LIVE
    """Empty for the live one."""

    @property
    def is_live(self) -> bool:
        """Whether readers see what is written now."""
        return self.name == LIVE
