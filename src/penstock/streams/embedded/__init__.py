"""The embedded server: a real Valkey or Redis of the data folder's own, shared by the processes that use the folder.

It is for development and small services: one machine, one user. Everything here is synchronous and meant to be called
in a thread from asynchronous code. How it works, and what it promises: ``docs/explanation/embedded-server.md``.
"""

from penstock.streams.embedded._binary import ServerBinary, find_binary
from penstock.streams.embedded._status import ServerStatus, server_status, start_server, stop_server
from penstock.streams.embedded._using import ServerUse, use_server

__all__ = [
    "ServerBinary",
    "ServerStatus",
    "ServerUse",
    "find_binary",
    "server_status",
    "start_server",
    "stop_server",
    "use_server",
]
