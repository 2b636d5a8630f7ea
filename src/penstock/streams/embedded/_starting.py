"""Getting to a server that answers: by starting one where nobody holds the lock, by joining the one that does."""

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from penstock.clock import format_duration
from penstock.errors import EmbeddedServerError
from penstock.streams.embedded._binary import find_binary
from penstock.streams.embedded._ending import clear_socket, end_unreachable
from penstock.streams.embedded._folder import REMEDY, socket_place
from penstock.streams.embedded._locks import FileLock
from penstock.streams.embedded._process import clear_the_way, log_tail, start_process
from penstock.streams.embedded._record import Durability, Record, ServerFolder
from penstock.streams.embedded._wire import Loading, Ready, Silent, ask, look

__all__ = ["PAUSE_S", "explain", "running_server"]

PAUSE_S = 0.005
"""How long to wait before looking again."""

_FIRST_WITH_FOLDER = 7
"""Redis 7 was the first to keep the append-only file in a folder; earlier ones look beside it and find nothing."""


def running_server(
    folder: ServerFolder, durability: Durability, deadline: float, allowed: timedelta
) -> Record:
    """The record of the folder's server, once it is ready.

    Raises `EmbeddedServerError` when it ends instead, or has not come so far at *deadline*, *allowed* after the call.
    """
    started: int | None = None
    called_back = False
    while True:
        with FileLock(folder.server_lock) as lock:
            if lock.try_exclusive():
                if started is not None and not _was_told_to_end(folder, started):
                    clear_socket(folder, _noted(folder, lock), lock)
                    raise _ended(folder, started)
                started = _start(folder, durability, lock)
            record = _noted(folder, lock)
        seen = look(record.path)
        match seen:
            case Ready():
                return _joined(folder, record, seen, durability)
            case Silent(missing=True) if record.pid is not None and not called_back:
                # The runtime folder was cleared, as at a logout: the server lives, but nobody can reach it any more.
                called_back = True
                end_unreachable(folder, record)
            case _:
                pass
        if time.monotonic() > deadline:
            raise _late(folder, record, seen, allowed)
        time.sleep(PAUSE_S)


def _start(folder: ServerFolder, durability: Durability, lock: FileLock) -> int:
    """Start a server, which gets *lock*; where in the log its words begin."""
    binary = find_binary()
    if int(binary.version.split(".")[0]) < _FIRST_WITH_FOLDER and (folder.path / "appendonlydir").is_dir():
        raise EmbeddedServerError(
            f"the data in {folder.path} was written by a newer server than {binary.path} ({binary.product} "
            f"{binary.version}), which would not see it and start empty; name a newer one in PENSTOCK_SERVER, {REMEDY}"
        )
    socket = socket_place(folder)
    clear_the_way(folder, socket)
    # Before the server: should we be killed in between, others still know where it listens.
    folder.write(
        Record(
            socket=str(socket),
            lock=lock.identity(),
            product=binary.product,
            version=binary.version,
            durability=durability,
            started_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        )
    )
    return start_process(binary, folder, socket, durability, lock)


def _noted(folder: ServerFolder, lock: FileLock) -> Record:
    """The record of the server; where ``server.json`` was lost, what it must be."""
    record = folder.read()
    if record is not None:
        return record
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return Record(str(socket_place(folder)), lock.identity(), "", "", "everysec", now)


def _joined(folder: ServerFolder, record: Record, server: Ready, durability: Durability) -> Record:
    """The record, brought up to date with the server that answers; the stricter durability wins."""
    if durability == "always" != record.durability:
        ask(record.path, "CONFIG", "SET", "appendfsync", durability)
        record = replace(record, durability=durability)
    known = replace(record, pid=server.pid, version=server.version, product=server.product)
    if known != folder.read():
        folder.write(known)
    return known


def explain(folder: ServerFolder, tail: str) -> str:
    """What to do about a server that would not start, judged by the end of its log."""
    unreadable = re.search(
        r"(?:Bad file format|Unexpected end of file) reading the append only file ([^:\s]+)", tail
    )
    # Valkey 8 takes the base file of Valkey 9, which begins with another word, for a damaged one (valkey#2888).
    if "Can't handle RDB format version" in tail or (unreadable and unreadable[1].endswith(".base.rdb")):
        return "its data was written by a newer server: start that one (PENSTOCK_SERVER names it), or update this one"
    if unreadable:
        # Not the manifest, as the log advises: the tool of Valkey 9.0 and 9.1 fails at its own base file (valkey#4739).
        file = folder.path / "appendonlydir" / unreadable[1]
        return f"its append-only file is damaged: keep a copy, then cut it with valkey-check-aof --fix {file}"
    if "No space left" in tail:
        return "its disk is full: free some space"
    return "what its log says has to be put right first"


def _was_told_to_end(folder: ServerFolder, since: int) -> bool:
    """Whether the server that we started ended in order: somebody stopped it just then, and we start it again."""
    return "bye bye" in log_tail(folder, since=since, lines=1)


def _ended(folder: ServerFolder, since: int) -> EmbeddedServerError:
    tail = log_tail(folder, since=since) or "    nothing"
    problem = f"the server of {folder.path} ended as soon as it was started; {explain(folder, tail)}"
    return EmbeddedServerError(f"{problem}\nIt wrote into {folder.log}:\n{tail}")


def _late(
    folder: ServerFolder, record: Record, seen: Loading | Silent, allowed: timedelta
) -> EmbeddedServerError:
    if isinstance(seen, Loading):
        problem = f"is still loading its data after {format_duration(allowed)} ({seen.percent:.0f} % read)"
        remedy = "it goes on by itself: try again in a while, or allow more time with start_timeout"
    else:
        problem = f"does not answer on {record.socket} within {format_duration(allowed)} ({seen.reason})"
        remedy = (
            f"something holds {folder.server_lock}: end it with `penstock server stop`, allow more time with "
            f"start_timeout, or, if it was started in another container, let both see the socket's folder, {REMEDY}"
        )
    tail = log_tail(folder)
    return EmbeddedServerError(
        f"the server of {folder.path} {problem}; {remedy}\n{folder.log} ends with:\n{tail}"
    )
