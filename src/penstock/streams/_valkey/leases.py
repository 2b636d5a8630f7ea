"""Leases and members on the server: hashes that outlive their holders, so that fences go on, and sets by end of life.

Beside a stream lie ``lease:<name>`` for each of its leases, ``leases`` with their names, ``members`` and
``memberships`` (who shares the work of a group, until when, and what each says of itself). A lease without a stream is
a key in a slot of its own.
"""

from datetime import timedelta
from typing import Any, Final

from penstock.errors import UsageError
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import milliseconds
from penstock.streams.abc import Lease, LeaseInfo, Member
from penstock.streams.keys import escape, unescape

__all__ = ["ValkeyLeases", "ValkeyMembers"]

_US: Final = timedelta(microseconds=1)
_MS: Final = timedelta(milliseconds=1)
_LONGEST: Final = timedelta(days=36_500)
_REMEMBERED: Final = timedelta(days=1)
"""How long a fence outlives its lease."""


class ValkeyLeases:
    """`LeaseStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def acquire(
        self, name: str, *, token: str, description: str, life: timedelta, stream: str | None = None
    ) -> Lease | LeaseInfo:
        """Take a free or expired lease for *life*: the `Lease`, or the `LeaseInfo` of whoever holds it."""
        server = self._server
        key = server.keys.lease(name, stream)
        if not token:
            raise UsageError(f"taking the lease {name!r} needs a token")
        keys = (key,) if stream is None else (key, server.keys.beside(stream, "leases"))
        arguments = (token, description, *_life(name, life), escape(name))
        taken, *facts = await server.run(server.settles, "acquire_lease", keys, arguments)
        return Lease(name, token, int(facts[0]), stream) if taken else _info(name, stream, facts)

    async def renew(self, lease: Lease, *, life: timedelta) -> bool:
        """Hold the lease for *life* from now; False when it is not ours any more (expired, taken, revoked)."""
        return await self._on_lease("renew_lease", lease, *_life(lease.name, life))

    async def release(self, lease: Lease) -> bool:
        """Give the lease up; False when it was not ours any more. Works at the server's memory limit."""
        return await self._on_lease("release_lease", lease)

    async def look(self, name: str, *, stream: str | None = None) -> LeaseInfo | None:
        """Who holds it; ``None`` when nobody does."""
        server = self._server
        facts = await server.run(server.looks, "look_lease", (server.keys.lease(name, stream),))
        return None if facts is None else _info(name, stream, facts)

    async def leases(self, stream: str) -> list[LeaseInfo]:
        """The leases of a stream that are held, by name."""
        server = self._server
        escaped = await server.ask(server.looks, b"SMEMBERS", server.keys.beside(stream, "leases"))
        names = sorted(unescape(name.decode()) for name in escaped)
        calls = [((server.keys.lease(name, stream),), ()) for name in names]
        found = await server.run_all(server.looks, "look_lease", calls)
        return [
            _info(name, stream, facts) for name, facts in zip(names, found, strict=True) if facts is not None
        ]

    async def revoke(self, name: str, *, stream: str | None = None) -> bool:
        """Take a lease away from whoever holds it (a person's command); whether somebody did."""
        server = self._server
        key = server.keys.lease(name, stream)
        return bool(await server.run(server.settles, "revoke_lease", (key,)))

    async def _on_lease(self, script: str, lease: Lease, *arguments: int) -> bool:
        server = self._server
        key = server.keys.lease(lease.name, lease.stream)
        return bool(await server.run(server.settles, script, (key,), (lease.token, lease.fence, *arguments)))


class ValkeyMembers:
    """`MemberStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def join(
        self, stream: str, group: str, *, token: str, description: str, life: timedelta
    ) -> list[Member]:
        """Be a member for *life* from now, and see all living ones, ourselves included, sorted by token."""
        if life < _MS or not token:
            raise UsageError(f"a member of {group!r} needs a token, and a life of at least a millisecond")
        life = min(life, _LONGEST)
        arguments = (token, description, life // _US, milliseconds(life))
        return _members(await self._run("join_members", stream, group, *arguments))

    async def leave(self, stream: str, group: str, *, token: str) -> bool:
        """Be one no more; whether we were."""
        return bool(await self._run("leave_members", stream, group, token))

    async def members(self, stream: str, group: str) -> list[Member]:
        """Everybody living, sorted by token."""
        return _members(await self._run("members", stream, group))

    async def _run(self, script: str, stream: str, group: str, *arguments: str | int) -> Any:
        server = self._server
        keys = (server.keys.beside(stream, "members"), server.keys.beside(stream, "memberships"))
        lines = server.looks if script == "members" else server.settles
        return await server.run(lines, script, keys, (escape(group), *arguments), stream=stream, group=group)


def _life(name: str, life: timedelta) -> tuple[int, int]:
    """A life in microseconds, and for how many milliseconds its key is kept."""
    if life < _MS:
        raise UsageError(f"the lease {name!r} cannot be held for {life}; use at least a millisecond")
    life = min(life, _LONGEST)
    return life // _US, milliseconds(life + _REMEMBERED)


def _info(name: str, stream: str | None, facts: list[bytes]) -> LeaseInfo:
    token, description, fence, remaining_us = (fact.decode() for fact in facts)
    return LeaseInfo(name, stream, token, description, int(fence), int(remaining_us) * _US)


def _members(flat: list[bytes]) -> list[Member]:
    return sorted(
        (
            Member(token.decode(), description.decode())
            for token, description in zip(flat[::2], flat[1::2], strict=True)
        ),
        key=lambda member: member.token,
    )
