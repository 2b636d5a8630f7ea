"""What the rules of the random test stand on: the broker, the model beside it, and the comparison after every step."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import count
from typing import Any, Final, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import FailureKey, FailureState, NewEntry, PendingEntry, RetryClaim, StreamBroker
from penstock.testing.contracts._model import GroupModel, RecordModel, StreamModel

__all__ = ["CONSUMERS", "GROUPS", "STREAMS", "UNKNOWN", "Machine"]

R = TypeVar("R")

STREAMS: Final = ("orders", "a:{b} ✗")
GROUPS: Final = ("billing", "shipping:eu")
CONSUMERS: Final = ("ann", "bob", "c/d:e")
UNKNOWN: Final = EntryId(1)


class Machine(RuleBasedStateMachine):
    """A broker beside its model, without rules."""

    connect: Callable[[], AbstractAsyncContextManager[StreamBroker]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.broker = self.run(self.stack.enter_async_context(self.connect()))
        self.tokens = count()
        self.claims: list[RetryClaim] = []
        """Every claim of a retry there was, oldest first; most have ended."""
        self.streams = {stream: StreamModel() for stream in STREAMS}
        for stream, model in self.streams.items():
            for group in GROUPS:
                self.run(self.broker.create_group(stream, group, BEGINNING))
                model.groups[group] = GroupModel()
            self.begin(stream)

    def begin(self, stream: str) -> None:
        """Deliver some entries to begin with: most of what can happen happens to pending ones."""
        model = self.streams[stream]
        for number in range(4):
            fields = [b"n", b"%d" % number]
            raw = self.run(self.broker.append(NewEntry(stream, fields)))
            model.add(EntryId.parse(raw), fields)
        for group, consumer in zip(GROUPS, CONSUMERS, strict=False):
            self.run(self.broker.read_group(group, consumer, [stream], count=3))
            for entry_id in model.added[:3]:
                model.groups[group].deliver(entry_id, consumer)

    def teardown(self) -> None:
        """Close what was opened."""
        self.run(self.stack.aclose())
        self.runner.close()

    def run(self, call: Coroutine[Any, Any, R]) -> R:
        """Wait for one call."""
        return self.runner.run(call)

    def model(self, stream: str, group: str) -> GroupModel:
        """What a group should be like."""
        return self.streams[stream].groups[group]

    def some(self, stream: str, group: str, pick: int) -> EntryId:
        """A pending entry mostly, else any that was ever added, else an unknown one."""
        model = self.streams[stream]
        choice = [*model.groups[group].pending] * 4 + model.added[-3:] + [UNKNOWN]
        return choice[pick % len(choice)]

    def holder(self, stream: str, group: str, entry_id: EntryId, consumer: str, pick: int) -> str:
        """Mostly whoever holds the entry, else the given consumer."""
        return self.model(stream, group).pending.get(entry_id, consumer) if pick % 5 else consumer

    def records(self) -> dict[FailureKey, RecordModel]:
        """Every failure record there should be."""
        models = (group for stream in self.streams.values() for group in stream.groups.values())
        return {key: record for model in models for key, record in model.records.items()}

    def pending(self, stream: str, group: str) -> list[PendingEntry]:
        """What the broker says is pending."""
        return self.run(self.broker.pending(stream, group, count=10_000))

    @invariant()
    def every_entry_is_in_exactly_one_place(self) -> None:
        """For each group: unread, pending, settled, failed, or removed before it was delivered."""
        for stream, model in self.streams.items():
            present = {EntryId.parse(raw): found for raw, found in self.run(self.broker.range(stream))}
            assert present == model.entries
            last = {info.name: info.last_delivered for info in self.run(self.broker.groups(stream))}
            for group, expected in model.groups.items():
                unread = {one for one in present if one > last[group]}
                pending = {one.entry_id: one.consumer for one in self.pending(stream, group)}
                records = self.run(self.broker.failures.find(stream, group, count=10_000))
                failed = {record.key.entry_id for record in records}

                assert unread == set(model.unread(expected))
                assert pending == expected.pending
                assert {record.key: (record.attempts, record.state) for record in records} == {
                    key: (record.attempts, FailureState.FAILED if record.final else FailureState.RETRYING)
                    for key, record in expected.records.items()
                }
                places = (unread, set(pending), expected.settled, failed, model.removed(expected))
                assert {one: sum(one in place for place in places) for one in model.added} == dict.fromkeys(
                    model.added, 1
                )
