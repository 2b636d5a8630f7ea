"""What a worker has in hand: entries delivered to it and not settled yet, finished ones included.

They are what must be renewed, what must not be taken up twice, and what is handed back at the end.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from penstock.streams.abc import RawId

__all__ = ["Hand"]


class Hand:
    """Entries in hand by stream, and those of them whose acknowledgement is still to be sent.

    *left*: what was left pending on purpose, where it outlives this hand.
    """

    def __init__(self, on_first_done: Callable[[], None], left: dict[str, set[RawId]] | None = None) -> None:
        self._held: dict[str, dict[RawId, None]] = {}
        self._done: dict[str, list[RawId]] = {}
        self._left = {} if left is None else left
        self._halting: dict[str, set[RawId]] = {}
        self._on_first_done = on_first_done

    def take(self, stream: str, entry_ids: Iterable[RawId]) -> None:
        """Entries were delivered to us."""
        taken = dict.fromkeys(entry_ids)
        self._held.setdefault(stream, {}).update(taken)
        if left := self._left.get(stream):
            left.difference_update(taken)

    def has(self, stream: str, entry_id: RawId) -> bool:
        """Whether the entry is in hand already."""
        return entry_id in self._held.get(stream, ())

    def finish(self, stream: str, entry_id: RawId) -> None:
        """An entry was handled: its acknowledgement goes with the next write."""
        done = self._done.get(stream)
        if done is None:
            if not self._done:
                self._on_first_done()
            done = self._done[stream] = []
        done.append(entry_id)

    def drop(self, stream: str, entry_id: RawId) -> None:
        """An entry was settled in another way, or is not ours any more."""
        self._held.get(stream, {}).pop(entry_id, None)

    def leave(self, stream: str, entry_id: RawId) -> None:
        """An entry is left pending with us on purpose, until it has been idle for long enough."""
        self.drop(stream, entry_id)
        self._left.setdefault(stream, set()).add(entry_id)

    def halt(self, stream: str, entry_id: RawId) -> None:
        """An entry is left pending because it ends all work: whoever begins again begins with it, at once."""
        self.drop(stream, entry_id)
        self._halting.setdefault(stream, set()).add(entry_id)

    def knows(self, stream: str, entry_id: RawId) -> bool:
        """Whether the entry is in hand, or left on purpose."""
        left = entry_id in self._left.get(stream, ()) or entry_id in self._halting.get(stream, ())
        return left or self.has(stream, entry_id)

    def forget_left(self, stream: str, pending: Collection[RawId]) -> None:
        """What is not pending with us any more (*pending* is all that is) was left for others, who took it."""
        if left := self._left.get(stream):
            left.intersection_update(pending)

    def count(self, stream: str) -> int:
        """How many entries of the stream are in hand, or left on purpose."""
        return len(self._held.get(stream, ())) + len(self._left.get(stream, ()))

    def take_done(self) -> dict[str, list[RawId]]:
        """The acknowledgements to send now; follow up with `confirm` or `put_back`."""
        done, self._done = self._done, {}
        return done

    def confirm(self, done: Mapping[str, Sequence[RawId]]) -> None:
        """The server has answered these acknowledgements."""
        for stream, entry_ids in done.items():
            held = self._held.get(stream, {})
            for entry_id in entry_ids:
                held.pop(entry_id, None)

    def put_back(self, done: Mapping[str, Sequence[RawId]]) -> None:
        """These acknowledgements got no answer: they are sent again, which is harmless."""
        for stream, entry_ids in done.items():
            for entry_id in entry_ids:
                self.finish(stream, entry_id)

    @property
    def has_done(self) -> bool:
        """Whether acknowledgements wait to be sent."""
        return bool(self._done)

    def held(self) -> dict[str, list[RawId]]:
        """Everything in hand, by stream."""
        return {stream: list(entries) for stream, entries in self._held.items() if entries}

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._held.values())
