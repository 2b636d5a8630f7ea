"""The random test of a streams backend: anything happens in any order beside a plain model, and both agree throughout.

After each step, for each group, every entry that was ever added is in exactly one place: unread, pending, settled,
failed, or removed before the group got it. Nothing here waits: idle and due times are zero, or longer than any test.
"""

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import rule

from penstock.errors import StreamFullError
from penstock.position import EntryId
from penstock.streams.abc import (
    Cap,
    FailureKey,
    ListenerFailure,
    NewEntry,
    RetryClaim,
    Settled,
    StreamBroker,
)
from penstock.testing.contracts._common import AGES, NOW
from penstock.testing.contracts._machine import CONSUMERS, GROUPS, STREAMS, UNKNOWN, Machine
from penstock.testing.contracts._model import RecordModel
from penstock.testing.strategies import fields

__all__ = ["broker_machine"]

_LISTENERS: Final = ("charge", "notify", "*")
_MAX_ATTEMPTS: Final = 2
_CAP: Final = 4
_ENDINGS: Final = ("succeed", "fail", "give up", "return", "split")

streams, groups, consumers = st.sampled_from(STREAMS), st.sampled_from(GROUPS), st.sampled_from(CONSUMERS)
picks = st.integers(0, 10**6)
"""Chooses one of however many there are at that moment."""


def broker_machine(
    connect: Callable[[], AbstractAsyncContextManager[StreamBroker]],
) -> type["BrokerMachine"]:
    """A state machine over the broker that *connect* opens, on an empty namespace each time it is called.

    Its ``TestCase`` attribute is what a test runner collects.
    """
    return type("ConnectedBrokerMachine", (BrokerMachine,), {"connect": staticmethod(connect)})


class BrokerMachine(Machine):
    """The rules: one for everything that a consumer, a publisher, a person, or a crash may do."""

    # -- publishers -----------------------------------------------------------------------------------------------

    @rule(stream=streams, entries=st.lists(fields(max_pairs=2), min_size=1, max_size=4))
    def append(self, stream: str, entries: list[list[bytes]]) -> None:
        """Some entries are added in one call."""
        outcomes = self.run(self.broker.append_many([NewEntry(stream, one) for one in entries]))
        for outcome, one in zip(outcomes, entries, strict=True):
            assert outcome.entry_id is not None
            self.streams[stream].add(EntryId.parse(outcome.entry_id), one)

    @rule(stream=streams, one=fields(max_pairs=2))
    def append_capped(self, stream: str, one: list[bytes]) -> None:
        """An entry is added to a stream that may not grow; what groups need stays, or the append is refused."""
        model = self.streams[stream]
        removed = model.room_for_one(_CAP)
        try:
            raw = self.run(self.broker.append(NewEntry(stream, one, cap=Cap(max_entries=_CAP))))
        except StreamFullError:
            assert removed is None
            return
        assert removed is not None
        for entry_id in list(model.entries)[:removed]:
            del model.entries[entry_id]
        model.add(EntryId.parse(raw), one)

    @rule(stream=streams, picked=st.lists(picks, max_size=3))
    def delete(self, stream: str, picked: list[int]) -> None:
        """Someone deletes entries, whatever state they are in."""
        model = self.streams[stream]
        choice = [*model.added, UNKNOWN]
        chosen = {choice[pick % len(choice)] for pick in picked}
        deleted = self.run(self.broker.delete(stream, sorted(chosen)))
        assert deleted == sum(model.entries.pop(entry_id, None) is not None for entry_id in chosen)

    # -- consumers ------------------------------------------------------------------------------------------------

    @rule(
        group=groups,
        consumer=consumers,
        wanted=st.lists(streams, min_size=1, unique=True),
        limit=st.integers(1, 4),
    )
    def read(self, group: str, consumer: str, wanted: list[str], limit: int) -> None:
        """A consumer reads new entries, at most so many of each stream."""
        self._read(group, consumer, wanted, limit, {})

    @rule(group=groups, consumer=consumers, stream=streams, picked=st.lists(picks, max_size=3))
    def read_acknowledging(self, group: str, consumer: str, stream: str, picked: list[int]) -> None:
        """A consumer reads one stream and acknowledges entries of another, or of the same."""
        along = {STREAMS[pick % 2]: {self.some(STREAMS[pick % 2], group, pick // 2)} for pick in picked}
        self._read(group, consumer, [stream], 2, along)

    def _read(
        self, group: str, consumer: str, wanted: list[str], limit: int, along: dict[str, set[EntryId]]
    ) -> None:
        answer = self.run(
            self.broker.read_group(
                group,
                consumer,
                wanted,
                count=limit,
                acknowledge={stream: [bytes(entry_id) for entry_id in ids] for stream, ids in along.items()},
            )
        )
        for stream, ids in along.items():
            model = self.model(stream, group)
            assert answer.acknowledged[stream] == sum([model.settle(entry_id) for entry_id in ids])
        got = dict(answer.batches)
        for stream in wanted:
            stream_model, model = self.streams[stream], self.model(stream, group)
            expected = stream_model.unread(model)[:limit]
            assert got.pop(stream, []) == [[bytes(one), stream_model.entries[one]] for one in expected]
            for entry_id in expected:
                model.deliver(entry_id, consumer)
        assert not got

    @rule(stream=streams, group=groups, picked=st.lists(picks, max_size=3))
    def acknowledge(self, stream: str, group: str, picked: list[int]) -> None:
        """Entries are acknowledged, pending or not, by whomever."""
        chosen = {self.some(stream, group, pick) for pick in picked}
        settled = self.run(self.broker.acknowledge(stream, group, [bytes(one) for one in chosen]))
        assert settled == sum([self.model(stream, group).settle(one) for one in chosen])

    @rule(stream=streams, group=groups, consumer=consumers)
    def crash(self, stream: str, group: str, consumer: str) -> None:
        """A process ends, another takes its place, and asks for what the first one held."""
        self.run(self.broker.close())
        self.run(self.broker.open())
        entries = self.run(self.broker.own_pending(stream, group, consumer, after=b"0-0", count=1000))
        held = sorted(one for one, holder in self.model(stream, group).pending.items() if holder == consumer)
        assert entries == [[bytes(one), self.streams[stream].entries.get(one)] for one in held]

    @rule(
        stream=streams,
        group=groups,
        consumer=consumers,
        source=st.none() | consumers,
        limit=st.integers(1, 3),
    )
    def claim(self, stream: str, group: str, consumer: str, source: str | None, limit: int) -> None:
        """A consumer goes through the pending list and takes over everything, or everything of another one."""
        model, present = self.model(stream, group), self.streams[stream].entries
        expected = sorted(one for one, holder in model.pending.items() if source in (None, holder))
        claimed: list[Any] = []
        vanished: list[bytes] = []
        start: EntryId | None = EntryId(0)
        while start is not None:
            page = self.run(
                self.broker.claim(
                    stream, group, consumer, min_idle=NOW, count=limit, start=start, from_consumer=source
                )
            )
            assert len(page.entries) <= limit
            claimed += page.entries
            vanished += page.vanished
            start = page.next_start
        assert claimed == [[bytes(one), present[one]] for one in expected if one in present]
        assert vanished == [bytes(one) for one in expected if one not in present]
        model.pending.update({one: consumer for one in expected if one in present})

    @rule(stream=streams, group=groups, consumer=consumers, picked=st.lists(picks, max_size=3))
    def renew(self, stream: str, group: str, consumer: str, picked: list[int]) -> None:
        """A consumer renews what it believes to hold."""
        chosen = sorted({self.some(stream, group, pick) for pick in picked})
        if picked:
            first = self.some(stream, group, picked[0])
            consumer = self.holder(stream, group, first, consumer, picked[0])
        lost = self.run(self.broker.renew(stream, group, consumer, [bytes(one) for one in chosen]))
        pending = self.model(stream, group).pending
        assert lost == [bytes(one) for one in chosen if pending.get(one) != consumer]

    @rule(stream=streams, group=groups, consumer=consumers, picked=st.lists(picks, max_size=3))
    def release(self, stream: str, group: str, consumer: str, picked: list[int]) -> None:
        """A consumer gives back what it believes to hold."""
        model = self.model(stream, group)
        chosen = {self.some(stream, group, pick) for pick in picked}
        if picked:
            first = self.some(stream, group, picked[0])
            consumer = self.holder(stream, group, first, consumer, picked[0])
        released = self.run(self.broker.release(stream, group, consumer, [bytes(one) for one in chosen]))
        ours = [one for one in chosen if model.pending.get(one) == consumer]
        assert released == len(ours)
        for one in ours:
            model.alone.pop(one, None)

    @rule(
        stream=streams,
        group=groups,
        consumer=consumers,
        pick=picks,
        how=st.sampled_from(["acknowledge", "give back", "die"]),
    )
    def handle_alone(self, stream: str, group: str, consumer: str, pick: int, how: str) -> None:
        """A consumer handles a suspicious entry alone: it is done with it, gives it back, or dies of it."""
        model, one = self.model(stream, group), self.some(stream, group, pick)
        consumer = self.holder(stream, group, one, consumer, pick)
        ours = model.pending.get(one) == consumer
        if ours:
            model.alone[one] = model.alone.get(one, 0) + 1
        counted = self.run(self.broker.begin_alone(stream, group, consumer, bytes(one)))
        assert counted == (model.alone[one] if ours else None)
        if how == "acknowledge":
            settled = self.run(self.broker.acknowledge_alone(stream, group, consumer, bytes(one)))
            assert settled is (Settled.DONE if ours else Settled.NOT_YOURS)
            if ours:
                model.settle(one)
        elif how == "give back":
            assert self.run(self.broker.release(stream, group, consumer, [bytes(one)])) == ours
            if ours:
                del model.alone[one]

    @rule(stream=streams, group=groups, consumer=consumers, heir=consumers)
    def remove_consumer(self, stream: str, group: str, consumer: str, heir: str) -> None:
        """A dead consumer is removed; what it held goes to another."""
        if consumer == heir:
            return
        self.run(self.broker.remove_consumer(stream, group, consumer, heir=heir))
        model, present = self.model(stream, group), self.streams[stream].entries
        holders = {one.entry_id: one.consumer for one in self.pending(stream, group)}
        for one in [one for one, holder in model.pending.items() if holder == consumer]:
            # A vanished entry stays pending, but no server can be asked to give it to someone else.
            model.pending[one] = heir if one in present else holders.get(one, "lost")

    # -- failures -------------------------------------------------------------------------------------------------

    @rule(
        stream=streams,
        group=groups,
        consumer=consumers,
        pick=picks,
        failing=st.lists(st.sampled_from(_LISTENERS), min_size=1, unique=True),
        final=st.booleans(),
    )
    def settle_failed(
        self, stream: str, group: str, consumer: str, pick: int, failing: list[str], final: bool
    ) -> None:
        """A consumer records that listeners failed on an entry."""
        model, one = self.model(stream, group), self.some(stream, group, pick)
        consumer = self.holder(stream, group, one, consumer, pick)
        ours = model.pending.get(one) == consumer
        settled = self.run(
            self.broker.failures.settle(
                stream, group, consumer, bytes(one), [b"n", bytes(one)], _failures(failing, final)
            )
        )
        assert settled is (Settled.DONE if ours else Settled.NOT_YOURS)
        if ours:
            for listener in failing:
                model.records[FailureKey(stream, group, one, listener)] = RecordModel(1, final)
            model.settle(one)

    @rule(stream=streams, group=groups, pick=picks)
    def settle_vanished(self, stream: str, group: str, pick: int) -> None:
        """Someone settles an entry that may have vanished."""
        model, one = self.model(stream, group), self.some(stream, group, pick)
        gone = one in model.pending and one not in self.streams[stream].entries
        settled = self.run(self.broker.failures.settle_vanished(stream, group, bytes(one)))
        assert settled is (Settled.DONE if gone else Settled.NOT_YOURS)
        if gone:
            model.records[FailureKey(stream, group, one, "*")] = RecordModel(1, final=True)
            model.settle(one)

    @rule(pick=picks, force=st.booleans(), how=st.sampled_from([*_ENDINGS, "leave", "extend"]))
    def retry(self, pick: int, force: bool, how: str) -> None:
        """A worker, or a person, retries a failed message, or dies while doing so."""
        records = self.records()
        if not records:
            return
        choice = [*sorted(records), *sorted(key for key, record in records.items() if record.token)]
        key = choice[-1 - pick % len(choice)]
        record = records[key]
        token = f"t{next(self.tokens)}"
        claim = self.run(
            self.broker.failures.claim_retry(
                key, token=token, visibility=AGES, max_attempts=_MAX_ATTEMPTS, force=force
            )
        )
        if record.token is not None or (not force and (record.final or record.attempts >= _MAX_ATTEMPTS)):
            assert claim is None
            record.final = record.final or record.token is None
            return
        record.attempts, record.token, record.final = record.attempts + 1, token, False
        assert claim is not None
        assert (claim.key, claim.token, claim.attempts) == (key, token, record.attempts)
        self.claims.append(claim)
        if how != "leave":
            self.end(claim, how)

    @rule(pick=picks, how=st.sampled_from([*_ENDINGS, "extend"]))
    def end_late(self, pick: int, how: str) -> None:
        """A retry comes to its end, unless it had one before, or its record was deleted or is run by another."""
        if self.claims:
            self.end(self.claims[-1 - pick % min(3, len(self.claims))], how)

    def end(self, claim: RetryClaim, how: str) -> None:
        """Say what a retry came to, as its holder would; said twice, it counts once."""
        key, store = claim.key, self.broker.failures
        model = self.model(key.stream, key.group)
        record = model.records.get(key)
        if key.listener != "*" and how == "split":
            how = "succeed"
        [failure] = _failures([key.listener], final=how == "give up")
        said: dict[str, Callable[[], Coroutine[Any, Any, Settled]]] = {
            "succeed": lambda: store.succeed_retry(claim),
            "fail": lambda: store.fail_retry(claim, failure),
            "give up": lambda: store.fail_retry(claim, failure),
            "return": lambda: store.return_retry(claim),
            "extend": lambda: store.extend_retry(claim, visibility=AGES),
            "split": lambda: store.split_retry(claim, []),
        }
        ours = record is not None and record.token == claim.token
        assert self.run(said[how]()) is (Settled.DONE if ours else Settled.NOT_YOURS)
        if record is None or not ours or how == "extend":
            return
        if how in ("succeed", "split"):
            model.forget(key)
        else:
            record.token, record.final = None, how == "give up"
            record.attempts -= how == "return"
        assert self.run(said[how]()) is Settled.NOT_YOURS

    @rule(pick=picks)
    def delete_record(self, pick: int) -> None:
        """A person forgets a failure, running or not."""
        records = self.records()
        if not records:
            return
        key = sorted(records)[pick % len(records)]
        assert self.run(self.broker.failures.delete(key)) is True
        self.model(key.stream, key.group).forget(key)


def _failures(listeners: list[str], final: bool) -> list[ListenerFailure]:
    due_in = None if final else NOW
    return [ListenerFailure(listener, "error", "ValueError", "boom", "", due_in) for listener in listeners]
