"""Commands as the server reads them. With hiredis in C; without, the same bytes from Python, several times slower."""

from collections.abc import Callable
from typing import Any, cast

__all__ = ["HAS_HIREDIS", "pack", "pack_in_python"]


def pack_in_python(command: tuple[bytes | str | int, ...]) -> bytes:
    """One command in RESP. Source: the protocol specification, "Sending commands to a Redis server"."""
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        raw = argument if isinstance(argument, bytes) else str(argument).encode()
        parts += (b"$%d\r\n" % len(raw), raw, b"\r\n")
    return b"".join(parts)


pack: Callable[[tuple[Any, ...]], bytes] = pack_in_python
"""One command (bytes, text and whole numbers) as the bytes to be sent."""

try:
    import hiredis
except ImportError:
    pass
else:
    pack = cast("Callable[[tuple[Any, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]

HAS_HIREDIS = pack is not pack_in_python
"""Whether commands are packed, and replies read, in C."""
