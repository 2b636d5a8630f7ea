"""How many messages are taken at a time: by their size, so that memory is bounded whatever they weigh."""

from dataclasses import dataclass

__all__ = ["Pace"]


@dataclass(slots=True)
class Pace:
    """Says how many come next."""

    budget: int = 8 * 1024 * 1024
    """About so many bytes."""
    most: int = 500
    count: int = 32

    def took(self, messages: int, size: int) -> None:
        """So many came, and weighed so many bytes."""
        if messages:
            self.count = max(1, min(self.most, self.budget * messages // max(size, 1)))
