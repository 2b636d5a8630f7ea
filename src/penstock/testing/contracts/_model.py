"""What the random test expects of a broker, in plain dicts: each entry of a group is in exactly one place."""

from dataclasses import dataclass, field

from penstock.position import EntryId
from penstock.streams.abc import FailureKey

__all__ = ["GroupModel", "RecordModel", "StreamModel"]


@dataclass
class RecordModel:
    """One failure record. `token` is set while it runs, `final` when only a person may run it again."""

    attempts: int
    final: bool
    token: str | None = None


@dataclass
class GroupModel:
    """What a group was given, and what became of it."""

    last: EntryId = EntryId(0)
    delivered: set[EntryId] = field(default_factory=set)
    pending: dict[EntryId, str] = field(default_factory=dict)
    settled: set[EntryId] = field(default_factory=set)
    alone: dict[EntryId, int] = field(default_factory=dict)
    records: dict[FailureKey, RecordModel] = field(default_factory=dict)

    @property
    def failed(self) -> set[EntryId]:
        """Entries with a failure record."""
        return {key.entry_id for key in self.records}

    @property
    def needed_from(self) -> EntryId:
        """The lowest id that a cap may not remove."""
        return min([*self.pending, self.last.next()])

    def deliver(self, entry_id: EntryId, consumer: str) -> None:
        """A read brought the entry to the consumer."""
        self.last = entry_id
        self.delivered.add(entry_id)
        self.pending[entry_id] = consumer

    def settle(self, entry_id: EntryId) -> bool:
        """The entry was acknowledged; whether it was pending."""
        self.alone.pop(entry_id, None)
        if self.pending.pop(entry_id, None) is None:
            return False
        if entry_id not in self.failed:
            self.settled.add(entry_id)
        return True

    def forget(self, key: FailureKey) -> None:
        """A record was removed; without records the message is settled."""
        del self.records[key]
        if key.entry_id not in self.failed:
            self.settled.add(key.entry_id)


@dataclass
class StreamModel:
    """Entries that are there, all that ever were, and the groups."""

    entries: dict[EntryId, list[bytes]] = field(default_factory=dict)
    added: list[EntryId] = field(default_factory=list)
    groups: dict[str, GroupModel] = field(default_factory=dict)

    def add(self, entry_id: EntryId, fields: list[bytes]) -> None:
        """An entry was written."""
        self.entries[entry_id] = fields
        self.added.append(entry_id)

    def unread(self, group: GroupModel) -> list[EntryId]:
        """What the group's next reads will bring, in order."""
        return [entry_id for entry_id in self.entries if entry_id > group.last]

    def removed(self, group: GroupModel) -> set[EntryId]:
        """What was deleted before the group got it."""
        return set(self.added) - set(self.entries) - group.delivered

    def room_for_one(self, max_entries: int) -> int | None:
        """How many of the oldest entries a capped append removes; ``None``: it is refused."""
        excess = max(0, len(self.entries) + 1 - max_entries)
        floor = min(group.needed_from for group in self.groups.values())
        free = sum(entry_id < floor for entry_id in self.entries)
        return excess if excess <= free else None
