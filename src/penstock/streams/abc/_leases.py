"""Leases: timed ownership of a name, with a number that only grows."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

__all__ = ["Lease", "LeaseInfo", "LeaseStore", "Member", "MemberStore"]


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was given to us.

    `fence` is ``max(former fence + 1, server time in microseconds)``: whoever keeps the highest fence it has seen can
    refuse the word of a former owner. `stream` is set when the lease belongs to a stream (it then lives in the stream's
    cluster slot, so that the scripts that settle can check it) and ``None`` for a free name.
    """

    name: str
    token: str
    fence: int
    stream: str | None = None


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """Who holds a lease, and for how long if it is not renewed."""

    name: str
    stream: str | None
    token: str
    description: str
    fence: int
    remaining: timedelta


class LeaseStore(Protocol):
    """Leases on the server. Every call is one script; the server's clock decides."""

    async def acquire(
        self, name: str, *, token: str, description: str, life: timedelta, stream: str | None = None
    ) -> Lease | LeaseInfo:
        """Take a free or expired lease for *life*: the `Lease`, or the `LeaseInfo` of whoever holds it.

        The holder's own token gets the lease that it has, renewed, under the same fence: asking again after an unknown
        outcome is safe.

        Raises:
            UsageError: *life* is below a millisecond, or the name or the token is empty.
        """
        ...

    async def renew(self, lease: Lease, *, life: timedelta) -> bool:
        """Hold the lease for *life* from now; False when it is not ours any more (expired, taken, revoked).

        Works at the server's memory limit. Raises `UsageError` for a *life* below a millisecond.
        """
        ...

    async def release(self, lease: Lease) -> bool:
        """Give the lease up; False when it was not ours any more. Works at the server's memory limit."""
        ...

    async def look(self, name: str, *, stream: str | None = None) -> LeaseInfo | None:
        """Who holds it; ``None`` when nobody does."""
        ...

    async def leases(self, stream: str) -> list[LeaseInfo]:
        """The leases of a stream that are held, by name."""
        ...

    async def revoke(self, name: str, *, stream: str | None = None) -> bool:
        """Take a lease away from whoever holds it (a person's command); whether somebody did."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """A living process that shares the work of a group over the partitions of a stream."""

    token: str
    description: str


class MemberStore(Protocol):
    """Who is there: members of a group, each for as long as it renews."""

    async def join(
        self, stream: str, group: str, *, token: str, description: str, life: timedelta
    ) -> list[Member]:
        """Be a member for *life* from now, and see all living ones, ourselves included, sorted by token.

        Raises:
            UsageError: *life* is below a millisecond, or the token is empty.
        """
        ...

    async def leave(self, stream: str, group: str, *, token: str) -> bool:
        """Be one no more; whether we were."""
        ...

    async def members(self, stream: str, group: str) -> list[Member]:
        """Everybody living, sorted by token."""
        ...
