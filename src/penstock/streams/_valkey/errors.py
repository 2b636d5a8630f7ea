"""What the server says when it says no, and which of our errors that is: the one edge where this is decided.

Replies that are errors travel as `ReplyError` values up to the command that knows what was asked; `translate` then
makes the error that the caller can act on.
"""

import re
from typing import Final

from penstock.errors import (
    BrokerError,
    BrokerFullError,
    BrokerRefusedError,
    BrokerUnavailableError,
    UnknownGroupError,
)

__all__ = ["LEAVE", "ConnectionLostError", "NodeAwayError", "ReplyError", "translate"]

LEAVE: Final = frozenset({"LOADING", "READONLY", "MASTERDOWN"})
"""After these answers the connection leads to the wrong place: it is left, and the next one may find a better."""

_UNAVAILABLE: Final = LEAVE | {
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "UNBLOCKED",
    "NOREPLICAS",
    "NOSCRIPT",
}
_CLUSTER: Final = frozenset({"MOVED", "ASK", "CROSSSLOT"})
# Redis 6.2 wraps what a command inside of a script answered; later ones append where it happened.
_WRAPPED: Final = re.compile(
    r"^ERR Error running script .*?@user_script:\s*[0-9]+: (?:@user_script: [0-9]+: )?-?(.*)$", re.S
)
_SCRIPT_TRAILER: Final = re.compile(r" script: (?:[0-9a-f]{40}, )?on @user_script:[0-9]+\.?$")


class ReplyError(Exception):
    """An error reply, as the server wrote it: ``CODE text``."""

    def __init__(self, text: str) -> None:
        if match := _WRAPPED.match(text):
            text = match[1]
        self.text = _SCRIPT_TRAILER.sub("", text)
        self.code = self.text.partition(" ")[0]
        super().__init__(self.text)

    @property
    def is_change_of_role(self) -> bool:
        """A waiting read was ended because the master has become a replica.

        Source: ``disconnectOrRedirectAllBlockedClients`` in Valkey's ``blocked.c``.
        """
        return self.code == "UNBLOCKED" and "instance state changed" in self.text

    @property
    def leads_astray(self) -> bool:
        """The connection leads to the wrong place: it is left, and the next one may find a better."""
        return self.code in LEAVE or self.is_change_of_role


class ConnectionLostError(BrokerUnavailableError):
    """The connection broke after the command had been sent and before its answer came."""


class NodeAwayError(BrokerUnavailableError):
    """A node of a cluster cannot be reached at this moment; another may keep its slots by now. Nothing was sent."""


def translate(
    error: ReplyError,
    command: str,
    *,
    user: str,
    server: str,
    stream: str = "",
    group: str = "",
    key: bytes = b"",
) -> BrokerError:
    """The error to raise for what *server* answered to *command* of *user*."""
    code, text = error.code, error.text
    if code == "NOGROUP":
        return UnknownGroupError(stream, group)
    if code == "OOM":
        return BrokerFullError(f"{server} is at its memory limit and refused {command}: {text}")
    if code == "MISCONF":
        return BrokerFullError(
            f"{server} cannot write its files and refused {command}; free its disk: {text}"
        )
    if code in _UNAVAILABLE:
        return BrokerUnavailableError(f"{server} cannot serve {command} at present: {text}")
    if code in ("NOPERM", "NOAUTH", "WRONGPASS"):
        return BrokerRefusedError(f"{server} refused {command} of user {user!r}: {text}")
    if code == "WRONGTYPE":
        shown = key.decode(errors="replace") or stream
        return BrokerRefusedError(
            f"{command} failed: the key {shown!r} on {server} holds something else: {text}"
        )
    if code in _CLUSTER:
        return BrokerRefusedError(
            f"{server} is a node of a cluster, and {command} belongs to another one: {text}; "
            "give the cluster's URL, redis+cluster://HOST:PORT"
        )
    return BrokerRefusedError(f"{server} refused {command}: {text}")
