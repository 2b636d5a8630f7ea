"""`HashReadModel`: a read model of hashes in a Valkey or Redis server, which replays build, exchange and remove.

Its keys are ``{name}:PLACE:ROW``, one hash for each row, with one place for each generation. ``{name}`` alone is the
pointer: which place is live. It is switched by one command, and readers follow it within the script that reads, so
whatever they read together is of one generation. All keys of a read model are in one slot of a cluster.

A page is written before its transaction is committed, so it may be written again. Each row therefore remembers the
position of the last event that changed it, and what comes again is left out: an increment counts once. So is, though,
an event that is handled after later ones of the same row: one that was skipped and is tried again, or one of a source
that was added. Replay the projection then.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from penstock.errors import ConfigurationError
from penstock.projections.elsewhere import FIRST_PLACE, ElsewhereReadModel
from penstock.store.work import Work

__all__ = ["HashReadModel"]

_CHANGES_AT_ONCE: Final = 5000
_REMOVED_AT_ONCE: Final = 500

_APPLY: Final = """
local prefix = ARGV[1]
local i = 2
while i <= #ARGV do
  local id, position, count = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local row = prefix .. ':' .. id
  local last = redis.call('HGET', row, '#')
  local is_new = not last or tonumber(last) < tonumber(position)
  i = i + 3
  if is_new then
    -- What cannot be done is said before anything of this event is done: it would be done twice, or be left out.
    local known, is_there = {}, true
    for j = i, i + 3 * (count - 1), 3 do
      local kind, field, value = ARGV[j], ARGV[j + 1], ARGV[j + 2]
      if kind == 'put' then known[field] = value
      elseif kind == 'delete' then known, is_there = {}, false
      else
        local now = known[field] or is_there and redis.call('HGET', row, field)
        if now and not string.match(now, '^-?%d+$') then
          return redis.error_reply('ERR row ' .. id .. ': field ' .. field .. ' is ' .. now .. ', no whole number')
        end
      end
    end
    for j = i, i + 3 * (count - 1), 3 do
      local kind, field, value = ARGV[j], ARGV[j + 1], ARGV[j + 2]
      if kind == 'put' then redis.call('HSET', row, field, value, '#', position)
      elseif kind == 'add' then redis.call('HINCRBY', row, field, value); redis.call('HSET', row, '#', position)
      else redis.call('DEL', row) end
    end
    redis.call(redis.call('EXISTS', row) == 1 and 'SADD' or 'SREM', prefix .. '#', id)
  end
  i = i + 3 * count
end
"""
_PROMOTE: Final = """
local known = tonumber(redis.call('HGET', KEYS[1], 'switches') or '-1')
if tonumber(ARGV[2]) > known then redis.call('HSET', KEYS[1], 'place', ARGV[1], 'switches', ARGV[2]) end
"""
_REMOVE: Final = """
local ids = redis.call('SPOP', ARGV[1] .. '#', ARGV[2])
for _, id in ipairs(ids) do redis.call('UNLINK', ARGV[1] .. ':' .. id) end
return #ids
"""
_READ: Final = """
local prefix = KEYS[1] .. ':' .. (redis.call('HGET', KEYS[1], 'place') or ARGV[1])
local found = {}
if #ARGV == 1 then return {redis.call('SMEMBERS', prefix .. '#')} end
for i = 2, #ARGV do found[#found + 1] = redis.call('HGETALL', prefix .. ':' .. ARGV[i]) end
return found
"""


class HashReadModel(ElsewhereReadModel):
    """A read model of hashes; subclass it, and give the class as ``read_model=``.

    So it is declared, written and read::

        class Balances(HashReadModel, name="balances", url="valkey://localhost:6379"):
            pass


        balances = app.projection("balances", read_model=Balances)


        @balances.on(Paid)
        def paid(event: Paid, rows: Balances) -> None:
            rows.increment(event.customer, cents=event.cents)


        Balances.get("ann")  # {"cents": "250"}

    Changes are kept until the page ends, and are written by one script. What handlers wrote in this page they do not
    see. Values are text; an increment is of whole numbers.
    """

    name: ClassVar[str] = ""
    url: ClassVar[str] = ""
    _clients: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, *, name: str = "", url: str = "", **said: Any) -> None:
        super().__init_subclass__(**said)
        cls.name, cls.url = name or cls.name, url or cls.url
        if cls.name and any(character in cls.name for character in "{}"):
            raise ConfigurationError(f"a read model of hashes cannot be named {cls.name!r}; leave out braces")

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        if not self.name:
            raise ConfigurationError(f"{type(self).__name__} has no name; give it one, as in name='balances'")
        self._changes: dict[tuple[str, int], list[tuple[str, str, str]]] = {}

    # -- for handlers ---------------------------------------------------------------------------------------------

    def put(self, row: str, **values: object) -> None:
        """Have the row with these values; fields that are not named stay as they are."""
        self._change(row, [("put", field, str(value)) for field, value in values.items()])

    def increment(self, row: str, **amounts: int) -> None:
        """Add to fields of the row; what is not there begins with the amounts."""
        self._change(row, [("add", field, str(amount)) for field, amount in amounts.items()])

    def delete_row(self, row: str) -> None:
        """Have no such row."""
        self._change(row, [("delete", "", "")])

    def _change(self, row: str, changes: list[tuple[str, str, str]]) -> None:
        if any(field == "#" for _, field, _ in changes):
            raise ConfigurationError(
                "the field '#' of a read model of hashes is its own; name yours otherwise"
            )
        self._changes.setdefault((row, self.position), []).extend(changes)

    # -- for readers ----------------------------------------------------------------------------------------------

    @classmethod
    def get(cls, row: str) -> dict[str, str] | None:
        """The live row; ``None`` where there is none."""
        return cls.get_many(row)[row]

    @classmethod
    def get_many(cls, *rows: str) -> Mapping[str, dict[str, str] | None]:
        """Live rows, all of them as they are at one moment and of one generation."""
        if not rows:
            return {}
        found = cls.client().eval(_READ, 1, cls._pointer(), FIRST_PLACE, *rows)
        return dict(zip(rows, map(_row, found), strict=True))

    @classmethod
    def ids(cls) -> set[str]:
        """Which rows there are live."""
        return set(cls.client().eval(_READ, 1, cls._pointer(), FIRST_PLACE)[0])

    @classmethod
    def client(cls) -> Any:
        """The ``redis.Redis`` that it is in, which gives text; override it where a URL does not say enough."""
        if cls.url not in HashReadModel._clients:
            # Whoever keeps no hashes does not load the client.
            import redis

            kind: Any = redis.Redis
            HashReadModel._clients[cls.url] = kind.from_url(_as_redis(cls.url), decode_responses=True)
        return HashReadModel._clients[cls.url]

    @classmethod
    def close(cls) -> None:
        """Close its connections; they are opened again when they are needed."""
        if (client := HashReadModel._clients.pop(cls.url, None)) is not None:
            client.close()

    @classmethod
    def _pointer(cls) -> str:
        return f"{{{cls.name}}}"

    # -- for projections and replays ------------------------------------------------------------------------------

    @property
    def _prefix(self) -> str:
        return f"{self._pointer()}:{self.place}"

    def persist(self) -> None:
        """Write what was held back."""
        super().persist()
        changes, self._changes = self._changes, {}
        words: list[str] = []
        for (row, position), said in changes.items():
            words += [row, str(position), str(len(said)), *(word for each in said for word in each)]
            if len(words) >= _CHANGES_AT_ONCE:
                self._apply(words)
                words = []
        if words:
            self._apply(words)

    def _apply(self, words: list[str]) -> None:
        self.client().eval(_APPLY, 1, self._pointer(), self._prefix, *words)

    def reset(self) -> None:
        """Remove every row at its place."""
        self._changes.clear()
        while self.client().eval(_REMOVE, 1, self._pointer(), self._prefix, _REMOVED_AT_ONCE):
            pass

    def promote(self) -> None:
        """Switch the pointer to its place, by one command; one that comes late does nothing."""
        self.client().eval(_PROMOTE, 1, self._pointer(), self.place, self.switches)

    def remove(self) -> None:
        """Remove every row at its place."""
        self.reset()


def _row(words: list[str]) -> dict[str, str] | None:
    found = dict(zip(words[::2], words[1::2], strict=True))
    found.pop("#", None)
    return found or None


def _as_redis(url: str) -> str:
    """What redis-py calls the same."""
    if url.startswith("valkeys://"):
        return f"rediss{url.removeprefix('valkeys')}"
    return f"redis{url.removeprefix('valkey')}" if url.startswith("valkey://") else url
