"""The window of a lane: entries taken in and not settled yet, in turns that each have one entry at work.

Only bookkeeping: it waits for nothing and knows no server. Its bounds are those of the memory that a lane needs.
"""

from collections import deque
from collections.abc import Sequence

from penstock.errors import UndecodableEntryError
from penstock.message import Message
from penstock.position import EntryId
from penstock.streams.abc import RawId

__all__ = ["Item", "Window"]


class Item:
    """One entry in the window. `message` is ``None`` when it is gone from the stream or cannot be read."""

    __slots__ = ("entry_id", "fields", "is_settled", "is_suspect", "message", "size", "turn", "undecodable")

    def __init__(
        self,
        entry_id: RawId,
        fields: list[bytes] | None,
        turn: str,
        message: Message | None = None,
        *,
        undecodable: UndecodableEntryError | None = None,
        is_suspect: bool = False,
    ) -> None:
        self.entry_id = entry_id
        self.fields = fields
        self.turn = turn
        self.message = message
        self.undecodable = undecodable
        self.is_suspect = is_suspect
        """Whether a process may have died of it: delivered before, and not given back by whoever had it."""
        self.is_settled = False
        """Whether its handler has acknowledged it."""
        self.size = sum(map(len, fields)) if fields is not None else 0

    @property
    def key(self) -> str:
        """The key under which it is parked; events without one share ``""``."""
        return (self.message.key or "") if self.message is not None else ""


class Window:
    """Entries by turn. A turn with entries is ready, or at work, or waits.

    Args:
        most: How many entries are taken in at most.
        byte_budget: How many bytes; one entry is taken in whatever its size.
    """

    def __init__(self, *, most: int, byte_budget: int) -> None:
        self._most = most
        self._byte_budget = byte_budget
        self._items: dict[RawId, Item] = {}
        self._turns: dict[str, deque[Item]] = {}
        self._ready: dict[
            str, None
        ] = {}  # an ordered set: turns begin in the order in which they became ready
        self._at_work: set[str] = set()
        self._waiting: set[str] = set()
        self._reserved: dict[str, int] = {}
        self._bytes = 0
        self._largest = 1

    # -- taking in ----------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many entries may come in now, if they are no larger than those before."""
        if not self._items:
            return max(1, min(self._most, self._byte_budget // self._largest))
        return max(0, min(self._most - len(self._items), (self._byte_budget - self._bytes) // self._largest))

    def take(self, item: Item) -> bool:
        """Put an entry at the end of its turn; False if it is in the window already."""
        if item.entry_id in self._items:
            return False
        self._items[item.entry_id] = item
        self._bytes += item.size
        self._largest = max(self._largest, item.size)
        self._turns.setdefault(item.turn, deque()).append(item)
        self._may_start(item.turn)
        return True

    # -- turns --------------------------------------------------------------------------------------------------

    def start(self) -> Item | None:
        """The next entry that may be handled: its turn is at work until `settle` or `hold`."""
        for turn in self._ready:
            del self._ready[turn]
            self._at_work.add(turn)
            return self._turns[turn][0]
        return None

    def settle(self, item: Item) -> None:
        """The entry at work is done with: it leaves, and the next of its turn may start."""
        queue = self._turns[item.turn]
        queue.popleft()
        del self._items[item.entry_id]
        self._bytes -= item.size
        self._at_work.discard(item.turn)
        if queue:
            self._may_start(item.turn)
        else:
            del self._turns[item.turn]

    def hold(self, turn: str) -> None:
        """The entry at work has to wait, and its turn with it, until `wake`."""
        self._at_work.discard(turn)
        self._waiting.add(turn)

    def wake(self, turn: str) -> None:
        """The entry that waited may start again."""
        if turn in self._at_work or turn in self._waiting:
            self._waiting.discard(turn)
            self._may_start(turn)

    def reserve(self, turn: str) -> None:
        """Let nothing more of a turn start until `seize` was tried with success; what is at work goes on."""
        self._reserved[turn] = self._reserved.get(turn, 0) + 1
        self._ready.pop(turn, None)

    def seize(self, turn: str) -> bool:
        """Take a reserved turn for work that is not in the window; False while its entry is at work or waits."""
        if turn in self._at_work or turn in self._waiting:
            return False
        self.forgo(turn)
        self._ready.pop(turn, None)
        self._at_work.add(turn)
        return True

    def forgo(self, turn: str) -> None:
        """Give a reservation up."""
        self._reserved[turn] -= 1
        if not self._reserved[turn]:
            del self._reserved[turn]
        self._may_start(turn)

    def free(self, turn: str) -> None:
        """Let a seized turn, or one whose entry was not begun after all, start again."""
        self._at_work.discard(turn)
        self._may_start(turn)

    def _may_start(self, turn: str) -> None:
        is_free = turn not in self._at_work and turn not in self._waiting and turn not in self._reserved
        if turn in self._turns and is_free:
            self._ready[turn] = None

    # -- looking ------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> int:
        """How many turns could start now."""
        return len(self._ready)

    @property
    def at_work(self) -> int:
        """How many turns are at work."""
        return len(self._at_work)

    @property
    def waiting(self) -> frozenset[str]:
        """The turns that wait."""
        return frozenset(self._waiting)

    def behind(self, turn: str) -> int:
        """How many entries a turn has."""
        return len(self._turns.get(turn, ()))

    @property
    def lowest(self) -> EntryId | None:
        """The lowest entry in the window."""
        return min((EntryId.parse(entry_id) for entry_id in self._items), default=None)

    def entry_ids(self) -> Sequence[RawId]:
        """Everything in the window, in the order in which it came."""
        return list(self._items)

    def __contains__(self, entry_id: RawId) -> bool:
        return entry_id in self._items

    def __len__(self) -> int:
        return len(self._items)
