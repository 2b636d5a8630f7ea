"""From the archive back into the stream: added first, then removed from the archive, so that a crash leaves both.

Run again after a crash, a restoration adds nothing twice: each entry is added under a token made of the event id and
of the place of the archived copy, which the server remembers for `WINDOW`. A message that was archived anew has a new
place, so that its next restoration is another one; and a copy is removed only at the place that was restored, so that
one which an archiver has kept meanwhile stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec

from penstock.archive._copies import restored_fields
from penstock.archive.abc import Archive, ArchivedMessage
from penstock.errors import ArchiveError, CodecError, PenstockError
from penstock.position import EntryId
from penstock.streams.abc import AppendOutcome, Cap, Condition, Dedupe, Index, NewEntry, StreamBroker
from penstock.streams.layouts import LAYOUTS, NATIVE, Layout

__all__ = ["WINDOW", "Restored", "Restorer"]

WINDOW: Final = timedelta(days=1)
"""For how long a restoration that broke off is finished, and not begun anew, by running it again."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of one archived message."""

    stream: str
    event_id: str
    name: str
    old_id: EntryId
    """Its place when it was archived."""
    new_id: EntryId | None = None
    """Its place in the stream now; ``None`` where it went to one group, or nowhere."""
    group: str | None = None
    """The one group it was given to."""
    error: str | None = None
    """Why it is still in the archive; ``None`` when all went well."""


class Restorer:
    """Puts archived messages back. Any number may work at the same time."""

    def __init__(
        self,
        archive: Archive,
        *,
        layout_for: Callable[[str], Layout] = lambda _: NATIVE,
        cap_for: Callable[[str], Cap | None] = lambda _: None,
        index_of: Callable[[ArchivedMessage], Index | None] = lambda _: None,
    ) -> None:
        self._archive = archive
        self._layout_for = layout_for
        self._cap_for = cap_for
        self._index_of = index_of

    async def restore(self, broker: StreamBroker, messages: Sequence[ArchivedMessage]) -> list[Restored]:
        """Add messages of one stream to it, then remove them from the archive; what became of each.

        An error of one does not stop the others. Raises `BrokerUnavailableError` when nothing could be asked at all.
        """
        started_ms = await broker.server_time_us() // 1000
        results: list[Restored | None] = []
        entries: list[tuple[int, NewEntry]] = []
        for number, message in enumerate(messages):
            try:
                entries.append((number, self._entry(message)))
                results.append(None)
            except CodecError as failure:
                results.append(_result(message, error=str(failure)))
        outcomes = await broker.append_many([entry for _, entry in entries]) if entries else []
        added: list[tuple[int, EntryId]] = []
        for (number, entry), outcome in zip(entries, outcomes, strict=True):
            new_id, error = await self._settled(broker, entry, outcome, started_ms)
            if new_id is None:
                results[number] = _result(messages[number], error=error)
            else:
                added.append((number, new_id))
        error = await self._remove([messages[number] for number, _ in added])
        for number, new_id in added:
            results[number] = _result(messages[number], new_id=new_id, error=error)
        return [result for result in results if result is not None]

    async def restore_to_group(
        self, broker: StreamBroker, group: str, messages: Sequence[ArchivedMessage], *, listener: str = "*"
    ) -> list[Restored]:
        """Have one group (or one listener of it) handle messages again, from a record that is due at once.

        They stay in the archive: nothing else would keep them once the group has handled them.
        """
        results: list[Restored] = []
        for message in messages:
            error: str | None = None
            try:
                await broker.failures.enqueue(
                    message.stream, group, message.entry_id, message.fields, listener=listener
                )
            except PenstockError as failure:
                error = str(failure)
            results.append(_result(message, group=group, error=error))
        return results

    def _entry(self, message: ArchivedMessage) -> NewEntry:
        layout = self._layout_for(message.stream)
        if layout.name != message.layout:
            # The stream was given another layout since.
            layout = LAYOUTS.get(message.layout, layout)
        token = f"restore/{message.entry_id}/{message.event_id}"
        return NewEntry(
            message.stream,
            restored_fields(message, layout),
            cap=self._cap_for(message.stream),
            dedupe=Dedupe(token, WINDOW),
            index=self._index_of(message),
        )

    async def _settled(
        self, broker: StreamBroker, entry: NewEntry, outcome: AppendOutcome, started_ms: int
    ) -> tuple[EntryId | None, str | None]:
        """Where the entry is now, or why it is not."""
        if outcome.condition is not Condition.WRITTEN or outcome.entry_id is None:
            return None, f"{outcome.condition.value}: {outcome.cause or 'no answer'}"
        new_id = EntryId.parse(outcome.entry_id)
        if new_id.ms >= started_ms or await broker.range(entry.stream, new_id, new_id, count=1):
            return new_id, None
        # An earlier restoration added it and broke off, and the entry was removed since: it is added anew.
        assert entry.dedupe is not None
        again = Dedupe(f"{entry.dedupe.token}/{new_id}", WINDOW)
        renewed = msgspec.structs.replace(entry, dedupe=again)
        [outcome] = await broker.append_many([renewed])
        return await self._settled(broker, renewed, outcome, started_ms)

    async def _remove(self, messages: Sequence[ArchivedMessage]) -> str | None:
        """Take restored messages out of the archive; why that could not be done."""
        if not messages:
            return None
        try:
            await self._archive.delete(messages[0].stream, [message.place for message in messages])
        except ArchiveError as failure:
            return f"it is back in the stream and still in the archive, restore it again: {failure}"
        return None


def _result(
    message: ArchivedMessage,
    *,
    new_id: EntryId | None = None,
    group: str | None = None,
    error: str | None = None,
) -> Restored:
    return Restored(message.stream, message.event_id, message.name, message.entry_id, new_id, group, error)
