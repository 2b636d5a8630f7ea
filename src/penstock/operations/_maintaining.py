"""The part of `Operations` that removes: entries below the floor, streams, groups."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta

from penstock.operations import _removing
from penstock.operations._removing import DeletedStream, Purged, ResetGroup
from penstock.operations._scope import Place, Scope
from penstock.position import EntryId, Start

__all__ = ["Maintaining"]


class Maintaining(ABC):
    """Everything here says what it would do when *dry_run*, and what held entries back."""

    @abstractmethod
    async def _scope(self) -> Scope: ...

    async def _place(self, stream: str, pool: str | None) -> Place:
        [place, *_] = await (await self._scope()).places(stream, pool)
        return place

    async def purge(
        self,
        streams: Sequence[str] = (),
        *,
        older_than: timedelta | None = None,
        pool: str | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> AsyncGenerator[Purged, None]:
        """Remove what nobody needs from these streams (all, if none is named); what became of each that has entries.

        With *older_than* only what is older. *force* removes what is needed, too.

        Raises:
            UnknownStreamError: A stream was named that neither exists nor is registered; nothing was removed.
        """
        scope = await self._scope()
        names: Sequence[str | None] = streams or [None]
        places = [place for name in names for place in await scope.places(name, pool)]
        purged = _removing.purge(
            scope, list(dict.fromkeys(places)), age=older_than, force=force, dry_run=dry_run
        )
        async with aclosing(purged):
            async for one in purged:
                yield one

    async def trim(
        self,
        stream: str,
        *,
        keep: int | None = None,
        below: EntryId | None = None,
        pool: str | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> Purged:
        """Remove the oldest entries of a stream that nobody needs: all but the newest *keep*, or those below an id.

        Raises:
            UnknownStreamError: The stream does not exist.
            UsageError: *keep* is below 0.
        """
        place = await self._place(stream, pool)
        return await _removing.trim(
            await self._scope(), place, below=below, keep=keep, force=force, dry_run=dry_run
        )

    async def delete_stream(
        self, stream: str, *, pool: str | None = None, dry_run: bool = False
    ) -> DeletedStream:
        """Remove a stream, its groups, failures, cursors: everything. Raises `UnknownStreamError`."""
        return await _removing.delete_stream(
            await self._scope(), await self._place(stream, pool), dry_run=dry_run
        )

    async def reset_group(
        self, stream: str, group: str, start: Start, *, pool: str | None = None, dry_run: bool = False
    ) -> ResetGroup:
        """Have a group go on at *start*; what is pending stays so. Raises `UnknownStreamError`, `UnknownGroupError`."""
        place = await self._place(stream, pool)
        return await _removing.reset_group(await self._scope(), place, group, start, dry_run=dry_run)

    async def delete_group(
        self, stream: str, group: str, *, pool: str | None = None, force: bool = False, dry_run: bool = False
    ) -> int:
        """Remove a group, or expect one no more that never came; how many entries were pending with it.

        Raises:
            UnknownStreamError: The stream neither exists nor is registered.
            UnknownGroupError: The group neither exists nor is registered.
            ConsumerBusyError: A living process works in it, and would make it again; *force* is not given.
        """
        place = await self._place(stream, pool)
        return await _removing.delete_group(await self._scope(), place, group, force=force, dry_run=dry_run)
