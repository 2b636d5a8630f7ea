"""Leases and members in memory, by the clock of their server."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from penstock.errors import UsageError
from penstock.streams.abc import Lease, LeaseInfo, Member
from penstock.streams.keys import Keys

__all__ = ["MemoryLeases", "MemoryMembers"]

_US = timedelta(microseconds=1)
_MS = timedelta(milliseconds=1)


@dataclass(slots=True)
class _Held:
    """What is known under the name of a lease: its last fence for ever, a token while somebody has it."""

    fence: int = 0
    token: str | None = None
    description: str = ""
    until_us: int = 0


class MemoryLeases:
    """`LeaseStore` in memory."""

    def __init__(self, keys: Keys, time_us: Callable[[], int]) -> None:
        self._keys = keys
        self._time_us = time_us
        self._known: dict[tuple[str | None, str], _Held] = {}

    async def acquire(
        self, name: str, *, token: str, description: str, life: timedelta, stream: str | None = None
    ) -> Lease | LeaseInfo:
        """Take a free or expired lease, or learn who holds it."""
        self._keys.lease(name, stream)
        if not token:
            raise UsageError(f"taking the lease {name!r} needs a token")
        now_us, until_us = self._time_us(), self._until(name, life)
        held = self._known.setdefault((stream, name), _Held())
        if held.token is not None and held.until_us > now_us:
            if held.token != token:
                return self._shown(stream, name, held, now_us)
        else:
            held.fence = max(held.fence + 1, now_us)
        held.token, held.description, held.until_us = token, description, until_us
        return Lease(name, token, held.fence, stream)

    async def renew(self, lease: Lease, *, life: timedelta) -> bool:
        """Hold the lease for *life* from now, if it is still ours."""
        until_us = self._until(lease.name, life)
        if not self.holds(lease):
            return False
        self._known[lease.stream, lease.name].until_us = until_us
        return True

    async def release(self, lease: Lease) -> bool:
        """Give the lease up; whether it was still ours."""
        if not self.holds(lease):
            return False
        self._known[lease.stream, lease.name].token = None
        return True

    async def look(self, name: str, *, stream: str | None = None) -> LeaseInfo | None:
        """Who holds it."""
        self._keys.lease(name, stream)
        held, now_us = self._known.get((stream, name)), self._time_us()
        if held is None or held.token is None or held.until_us <= now_us:
            return None
        return self._shown(stream, name, held, now_us)

    async def leases(self, stream: str) -> list[LeaseInfo]:
        """The leases of a stream that are held, by name."""
        names = sorted(name for of_stream, name in self._known if of_stream == stream)
        found = [await self.look(name, stream=stream) for name in names]
        return [info for info in found if info is not None]

    async def revoke(self, name: str, *, stream: str | None = None) -> bool:
        """Take a lease away from whoever holds it; whether somebody did."""
        if await self.look(name, stream=stream) is None:
            return False
        self._known[stream, name].token = None
        return True

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is held under its token and fence at this moment."""
        held = self._known.get((lease.stream, lease.name))
        return (
            held is not None
            and (held.token, held.fence) == (lease.token, lease.fence)
            and held.until_us > self._time_us()
        )

    def forget_stream(self, stream: str) -> None:
        """Nobody holds the leases of a stream that is being removed any more. The fences go on from where they are."""
        for (of_stream, _), held in self._known.items():
            if of_stream == stream:
                held.token = None

    def _until(self, name: str, life: timedelta) -> int:
        if life < _MS:
            raise UsageError(f"the lease {name!r} cannot be held for {life}; use at least a millisecond")
        return self._time_us() + life // _US

    def _shown(self, stream: str | None, name: str, held: _Held, now_us: int) -> LeaseInfo:
        remaining = (held.until_us - now_us) * _US
        return LeaseInfo(name, stream, held.token or "", held.description, held.fence, remaining)


class MemoryMembers:
    """`MemberStore` in memory."""

    def __init__(self, keys: Keys, time_us: Callable[[], int]) -> None:
        self._keys = keys
        self._time_us = time_us
        self._crowds: dict[tuple[str, str], dict[str, tuple[str, int]]] = {}
        """Description and end of life by token, of each group of a stream."""

    async def join(
        self, stream: str, group: str, *, token: str, description: str, life: timedelta
    ) -> list[Member]:
        """Be a member for *life* from now; everybody living."""
        self._keys.stream(stream)
        if life < _MS or not token:
            raise UsageError(f"a member of {group!r} needs a token, and a life of at least a millisecond")
        until_us = self._time_us() + life // _US
        self._crowds.setdefault((stream, group), {})[token] = description, until_us
        return await self.members(stream, group)

    async def leave(self, stream: str, group: str, *, token: str) -> bool:
        """Be a member no more; whether we were."""
        _, until_us = self._crowd(stream, group).pop(token, ("", 0))
        return until_us > self._time_us()

    async def members(self, stream: str, group: str) -> list[Member]:
        """Everybody living, sorted by token."""
        now_us = self._time_us()
        crowd = self._crowd(stream, group)
        for token in [token for token, (_, until_us) in crowd.items() if until_us <= now_us]:
            del crowd[token]
        return [Member(token, description) for token, (description, _) in sorted(crowd.items())]

    def forget_stream(self, stream: str) -> None:
        """Drop the members of a stream that is being removed."""
        for key in [key for key in self._crowds if key[0] == stream]:
            del self._crowds[key]

    def _crowd(self, stream: str, group: str) -> dict[str, tuple[str, int]]:
        return self._crowds.get((stream, group), {})
