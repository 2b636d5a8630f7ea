"""Letting go of the ids in inboxes that are older than any message that could come again."""

from datetime import timedelta
from typing import Final

from penstock._housekeeping._jobs import Keeping

__all__ = ["Forgetting"]

_EVERY: Final = timedelta(hours=1)
_WHILE_THERE_IS_MORE: Final = timedelta(seconds=1)
_FULL: Final = 10_000


class Forgetting:
    """Removes old ids from the inboxes of the app's listeners. Two that do it at a time do no harm."""

    name = "inboxes"

    async def run(self, keeping: Keeping) -> timedelta:
        """Remove some; when to come back."""
        is_more = False
        stores = {
            each.store for group in keeping.registry for each in group.listeners if each.store is not None
        }
        if keeping.clean_inbox is not None:
            for store in sorted(stores):
                is_more = await keeping.clean_inbox(store) >= _FULL or is_more
        return _WHILE_THERE_IS_MORE if is_more else _EVERY
