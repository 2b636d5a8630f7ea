"""The workbench for failed messages: grouped by error, edited, and with a log of who did what."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from penstock.operations import _mending_projections, _retrying
from penstock.operations._editing import edit
from penstock.operations._failures import FailedWhich
from penstock.operations._failures_of_projections import ProjectionFailures
from penstock.operations._grouping import by_error
from penstock.operations._noting import Person, actions, person
from penstock.operations._scope import Scope
from penstock.operations._workbench_values import EditOutcome, EditResult, ErrorGroups, LoggedAction

__all__ = ["Workbench"]


class Workbench(ABC):
    """The part of `Operations` for whoever mends failed messages."""

    @abstractmethod
    async def _scope(self) -> Scope: ...

    @property
    @abstractmethod
    def _projection_failures(self) -> ProjectionFailures | None: ...

    async def failed_by_error(self, which: FailedWhich | None = None) -> ErrorGroups:
        """Failed messages by stream, group, listener and error, the most frequent error first.

        Numbers, ids and quoted texts in messages do not tell errors apart. Raises `UnknownStreamError`.
        """
        which = which or FailedWhich()
        others, problems = (
            await _mending_projections.errors(self._projection_failures, which)
            if self._projection_failures is not None
            else ([], ())
        )
        found = ErrorGroups((), 0)
        if which.projection is None:
            found = await by_error(await self._scope(), which)
        groups = sorted((*found.groups, *others), key=lambda each: -each.count)
        return ErrorGroups(tuple(groups), found.beyond, problems)

    async def failed_edit(
        self,
        which: FailedWhich,
        *,
        who: str,
        why: str,
        changes: Mapping[str, object] | None = None,
        body: bytes | None = None,
        retry: bool = False,
        dry_run: bool = False,
    ) -> EditResult:
        """Give one failed message another body, and with *retry* run it again at once; its envelope stays.

        *changes* are values by dotted path (``{"customer.city": "Berlin", "lines.0.count": 2}``). A whole *body* is
        JSON where the message's is JSON or MessagePack, else the bytes as they are. Where the app declares the event's
        class, the body has to fit it. The original and the edits are kept with the record; the entry in the stream
        stays as it was. All listeners of the group that failed on the message have one body. An event of a store that
        a projection could not handle is not changed: `EditOutcome.STORED`.

        Raises:
            CodecError: The body does not fit; nothing was changed.
            UnknownStreamError: *which* names a stream that neither exists nor is registered.
            UsageError: Several messages match, the entry or the place of a change cannot be read, or both or neither of
                *changes* and *body* are given.
        """
        by = person(who, why) or Person("", "")
        if which.projection is not None:
            return await self._stored(which)
        scope = await self._scope()
        result = await edit(scope, which, changes=changes, body=body, by=by, dry_run=dry_run)
        if result.outcome is EditOutcome.GONE:
            return await self._stored(which)
        if not retry or result.outcome not in (EditOutcome.EDITED, EditOutcome.UNCHANGED):
            return result
        failed = result.failed[0]
        again = FailedWhich(
            entry_id=failed.entry_id,
            stream=failed.stream,
            group=failed.group,
            listener=which.listener,
            pool=failed.pool,
        )
        retried = _retrying.retry(scope, again, concurrency=1)
        return replace(result, retried=tuple([each async for each in retried]))

    async def _stored(self, which: FailedWhich) -> EditResult:
        """That it is not edited, because it is in a store or not there at all."""
        if self._projection_failures is None:
            return EditResult(EditOutcome.GONE)
        found, _ = await self._projection_failures.matching(which)
        return EditResult(
            EditOutcome.STORED if found else EditOutcome.GONE, tuple(each.shown for each in found)
        )

    async def failed_log(
        self,
        stream: str | None = None,
        *,
        projection: str | None = None,
        pool: str | None = None,
        limit: int = 100,
    ) -> list[LoggedAction]:
        """Who did what to failed messages and to projections, latest first, as far as it was said.

        A thousand actions of each stream and of each projection are remembered. A store that is away is left out.

        Raises:
            UnknownStreamError: *stream* neither exists nor is registered, and nothing was done there.
        """
        found: list[LoggedAction] = []
        if projection is None:
            found = await actions(await self._scope(), stream, pool=pool, limit=limit)
        if stream is None and pool is None and self._projection_failures is not None:
            done, _ = await _mending_projections.deeds(self._projection_failures, projection, limit=limit)
            found += done
        return sorted(found, key=lambda each: each.when, reverse=True)[:limit]
