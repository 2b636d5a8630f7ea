"""The workbench for failed messages: grouped by error, edited, and with a log of who did what."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from penstock.operations import _retrying
from penstock.operations._editing import edit
from penstock.operations._failures import FailedWhich
from penstock.operations._grouping import by_error
from penstock.operations._noting import Person, actions, person
from penstock.operations._scope import Scope
from penstock.operations._workbench_values import EditOutcome, EditResult, ErrorGroups, LoggedAction

__all__ = ["Workbench"]


class Workbench(ABC):
    """The part of `Operations` for whoever mends failed messages."""

    @abstractmethod
    async def _scope(self) -> Scope: ...

    async def failed_by_error(self, which: FailedWhich | None = None) -> ErrorGroups:
        """Failed messages by stream, group, listener and error, the most frequent error first.

        Numbers, ids and quoted texts in messages do not tell errors apart. Raises `UnknownStreamError`.
        """
        return await by_error(await self._scope(), which or FailedWhich())

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
        stays as it was. All listeners of the group that failed on the message have one body.

        Raises:
            CodecError: The body does not fit; nothing was changed.
            UnknownStreamError: *which* names a stream that neither exists nor is registered.
            UsageError: Several messages match, the entry or the place of a change cannot be read, or both or neither of
                *changes* and *body* are given.
        """
        scope = await self._scope()
        by = person(who, why) or Person("", "")
        result = await edit(scope, which, changes=changes, body=body, by=by, dry_run=dry_run)
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

    async def failed_log(
        self, stream: str | None = None, *, pool: str | None = None, limit: int = 100
    ) -> list[LoggedAction]:
        """Who did what to failed messages, latest first, as far as it was said. Raises `UnknownStreamError`.

        A thousand actions of each stream are remembered.
        """
        return await actions(await self._scope(), stream, pool=pool, limit=limit)
