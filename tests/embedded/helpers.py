"""What the tests of the embedded server say to processes, to servers, and to the system."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = [
    "NO_LINGER",
    "ROOT",
    "Companion",
    "Starter",
    "add",
    "client",
    "entry_ids",
    "processes_naming",
    "server_pids_of",
    "starts",
    "wait_until",
    "watcher_of",
]

ROOT = Path(__file__).parent.parent.parent
NO_LINGER = timedelta(0)


def wait_until(condition: Callable[[], object], what: str, *, within_s: float = 10) -> None:
    """Wait for a condition; fails when it does not come true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s} s in vain until {what}"
        time.sleep(0.005)


def processes_naming(text: str) -> dict[int, str]:
    """Processes, ourselves aside, with *text* among their arguments. What has ended has no arguments any more."""
    told = subprocess.run(
        ["ps", "-axww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    lines = (line.strip().partition(" ") for line in told.splitlines())
    return {int(pid): words for pid, _, words in lines if text in words and int(pid) != os.getpid()}


def server_pids_of(folder: Path) -> list[int]:
    """The servers that were started for *folder*; the shells that start them aside."""
    return [pid for pid, words in processes_naming(f"--dir {folder} ").items() if "/sh " not in words]


def watcher_of(folder: Path) -> list[int]:
    """The processes that wait for the last user of *folder* to leave."""
    return [
        pid
        for pid, words in processes_naming(str(folder)).items()
        if "import watch" in words and "/sh " not in words
    ]


def starts(folder: Path) -> int:
    """How often a server has got ready in *folder*, by its log."""
    return (folder / "server.log").read_text(encoding="utf-8").count("Ready to accept connections")


def client(url: str) -> redis.Redis:
    """A connection to the server, to be used as a context manager. It says every command once only."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))  # pyright: ignore[reportUnknownMemberType]


def add(server: redis.Redis, data: str) -> bytes:
    """Add an entry to the stream ``written``; its id, once the server has acknowledged it."""
    return cast("bytes", server.xadd("written", {"data": data}))


def entry_ids(server: redis.Redis) -> set[bytes]:
    """The ids of all entries of the stream ``written``."""
    return {entry_id for entry_id, _ in cast("list[tuple[bytes, object]]", server.xrange("written"))}


class Companion:
    """Another process that uses the server of a data folder, as told over its standard input."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.pid = process.pid

    def tell(self, word: str) -> None:
        """Have it do something, without waiting."""
        assert self.process.stdin
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """What it says next."""
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def do(self, word: str) -> Any:
        """Have it do something, and hear how that went."""
        self.tell(word)
        return self.answer()

    def kill(self) -> None:
        """End it with SIGKILL, so that it can tidy nothing up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


class Starter(Protocol):
    """What the fixture ``companion`` gives."""

    def __call__(self, folder: Path = ..., *, linger_s: float = 0, durability: str = "everysec") -> Companion:
        """Start another process that uses *folder* when told to."""
        ...
