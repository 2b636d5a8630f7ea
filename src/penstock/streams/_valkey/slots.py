"""Hash slots: which one a key lies in, and what a node tells of who keeps which.

Source: ``keyHashSlot`` and ``crc16`` in Valkey's ``cluster.c`` and ``crc16.c`` (CRC-16/XMODEM, modulo 16384), and the
documented reply of ``CLUSTER SLOTS``.
"""

from binascii import crc_hqx
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["SLOTS", "Address", "SlotRange", "read_slots", "slot_of"]

SLOTS: Final = 16384


class Address(NamedTuple):
    """Where a node is."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class SlotRange(NamedTuple):
    """Neighbouring slots, from the first to the last, and the master that keeps them."""

    first: int
    last: int
    master: Address


def slot_of(key: bytes) -> int:
    """The slot of a key: that of the part in braces, if there is one with something in it."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


def read_slots(reply: Sequence[Sequence[Any]], asked: Address) -> Iterator[SlotRange]:
    """What ``CLUSTER SLOTS`` of the node *asked* says. A node that tells no host for another has it as its own."""
    for first, last, master, *_ in reply:
        host = master[0] or b""
        name = host.decode() if isinstance(host, bytes) else str(host)
        yield SlotRange(first, last, Address(asked.host if name in ("", "?") else name, int(master[1])))
