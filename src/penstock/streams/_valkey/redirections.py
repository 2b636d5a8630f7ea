"""What a server that did not execute a command wants to be done instead: the one place where this is decided.

Each of these answers is given before anything of the command, or of the script, has taken effect, so that sending it
again is safe. Sources: ``getNodeByQuery`` and ``clusterRedirectClient`` in Valkey's ``cluster.c``, ``processCommand``
in ``server.c``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from penstock.streams._valkey.errors import ReplyError
from penstock.streams._valkey.slots import Address

__all__ = ["Ask", "Command", "Load", "Moved", "Step", "Wait", "key_of", "next_step"]

Command: TypeAlias = Sequence[bytes | str | int]

_WAIT: Final = frozenset({"TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS"})
_WITHOUT_KEY: Final = frozenset(
    {b"TIME", b"INFO", b"COMMAND", b"CONFIG", b"CLIENT", b"SCRIPT", b"PING", b"CLUSTER"}
)
_KEY_IS_THIRD: Final = frozenset({b"XGROUP", b"XINFO", b"MEMORY", b"OBJECT"})
_SCRIPTS: Final = frozenset({b"EVALSHA", b"EVAL"})
_READS: Final = frozenset({b"XREAD", b"XREADGROUP"})


@dataclass(frozen=True, slots=True)
class Moved:
    """The slot lies with another node from now on."""

    slot: int
    address: Address


@dataclass(frozen=True, slots=True)
class Ask:
    """The slot is on its way to another node, which has this key already: ask there, this once."""

    address: Address


@dataclass(frozen=True, slots=True)
class Load:
    """The node does not know the script yet."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nobody can do it at this moment; soon somebody will."""


Step: TypeAlias = Moved | Ask | Load | Wait


def next_step(reply: ReplyError) -> Step | None:
    """What to do before the command is sent again; ``None`` when the answer is final."""
    code = reply.code
    if code in _WAIT or reply.is_change_of_role:
        return Wait()
    if code == "NOSCRIPT":
        return Load()
    if code not in ("MOVED", "ASK"):
        return None
    _, slot, where = reply.text.split(" ", 2)
    host, _, port = where.rpartition(":")
    address = Address(host.strip("[]"), int(port))
    return Moved(int(slot), address) if code == "MOVED" else Ask(address)


def key_of(command: Command) -> bytes:
    """The first key of a command, empty for one without; the others lie in the same slot."""
    name = command[0]
    if name in _WITHOUT_KEY:
        return b""
    if name in _SCRIPTS:
        place = 3
    elif name in _KEY_IS_THIRD:
        place = 2
    elif name in _READS:
        place = command.index(b"STREAMS") + 1
    else:
        place = 1
    if place >= len(command):
        return b""
    key = command[place]
    return key if isinstance(key, bytes) else str(key).encode()
