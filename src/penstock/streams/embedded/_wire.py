"""The few words we say to a server without a client library: short questions over its unix socket.

The process that watches an idle server says them too, and stays small by importing nothing else.
"""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["Loading", "Look", "Ready", "RefusedError", "Silent", "ask", "look"]

_PATIENCE_S = 1.0


class RefusedError(Exception):
    """The server answered with an error."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The server answers and has its data; `info` is what ``INFO`` says, by name."""

    info: dict[str, str]

    @property
    def pid(self) -> int:
        """The server's process id, as the server sees it."""
        return int(self.info["process_id"])

    @property
    def product(self) -> str:
        """``"valkey"`` or ``"redis"``."""
        return "valkey" if "valkey_version" in self.info else "redis"

    @property
    def version(self) -> str:
        """The server's own version; Valkey shows the version of Redis it is compatible with beside it."""
        return self.info.get("valkey_version") or self.info["redis_version"]


@dataclass(frozen=True, slots=True)
class Loading:
    """The server is reading its data from disk and takes no commands yet."""

    info: dict[str, str]

    @property
    def percent(self) -> float:
        """How much of the data has been read."""
        return float(self.info.get("loading_loaded_perc", 0))


@dataclass(frozen=True, slots=True)
class Silent:
    """No answer; `missing` when there is not even a socket."""

    reason: str
    missing: bool = False


Look = Ready | Loading | Silent


def look(path: Path, patience_s: float = _PATIENCE_S) -> Look:
    """What is behind the socket *path*, seen with one ``INFO``, which servers answer while loading, too."""
    try:
        text = ask(path, "INFO", patience_s=patience_s)
    except RefusedError as error:
        return Silent(f"it answers {error}")
    except TimeoutError:
        return Silent("it takes connections but does not answer")
    except OSError as error:
        return Silent(error.strerror or str(error), missing=isinstance(error, FileNotFoundError))
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Loading(info) if info.get("loading", "0") != "0" else Ready(info)


def ask(path: Path, *words: str, patience_s: float = _PATIENCE_S) -> str:
    """The server's answer to one command, a list with an item a line; empty when it leaves, as after ``SHUTDOWN``.

    Raises `RefusedError` for an error reply, `OSError` when there is no server or no answer within *patience_s*.
    Source: https://valkey.io/topics/protocol/
    """
    command = b"*%d\r\n" % len(words) + b"".join(
        b"$%d\r\n%b\r\n" % (len(w), w) for w in map(str.encode, words)
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience_s)
        connection.connect(str(path))
        connection.sendall(command)
        with connection.makefile("rb") as replies:
            return _reply(replies)


def _reply(replies: BinaryIO) -> str:
    kind, rest = replies.read(1), replies.readline().rstrip().decode(errors="surrogateescape")
    match kind:
        case b"-":
            raise RefusedError(rest)
        case b"$":
            return replies.read(int(rest) + 2)[:-2].decode(errors="surrogateescape")
        case b"*":
            return "\n".join(_reply(replies) for _ in range(int(rest)))
        case _:
            return rest
