"""What people ask of a data folder's server: how it is, to start it for good, to stop it."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from penstock.errors import EmbeddedServerError
from penstock.streams.embedded._ending import end_server
from penstock.streams.embedded._folder import data_folder_of, trouble_with
from penstock.streams.embedded._locks import FileLock
from penstock.streams.embedded._record import Durability, ServerFolder
from penstock.streams.embedded._using import START_TIMEOUT, use_server
from penstock.streams.embedded._wire import Loading, Ready, Silent, look

__all__ = ["ServerStatus", "server_status", "start_server", "stop_server"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How a data folder's server is. What cannot be known now is ``None``; `version` is that of the last server."""

    state: Literal["running", "stopped"]
    data_folder: Path
    url: str | None = None
    socket: Path | None = None
    pid: int | None = None
    product: str | None = None
    version: str | None = None
    durability: str | None = None
    started_at: datetime | None = None
    stays: bool = False
    """Started by `start_server`: it does not end for want of users."""
    users: int = 0
    """How many hold it with `use_server`; where the system does not say, 1 stands for "at least one"."""
    problem: str | None = None
    """Why a running server cannot be asked, or cannot write, in words."""
    memory_bytes: int | None = None
    keys: int | None = None
    append_only_file_bytes: int | None = None


def server_status(data_folder: Path) -> ServerStatus:
    """How the server of *data_folder* is; nothing is started, created or changed."""
    folder = data_folder_of(data_folder)
    with trouble_with(folder):
        record = folder.read() if folder.path.is_dir() else None
        if not folder.path.is_dir() or not folder.runs():
            known = (record.product, record.version) if record else (None, None)
            return ServerStatus("stopped", folder.path, product=known[0], version=known[1])
        if record is None:
            return ServerStatus(
                "running", folder.path, users=_users(folder), problem="its server.json is missing"
            )
        running = ServerStatus(
            "running",
            folder.path,
            url=f"unix://{quote(record.socket)}",
            socket=record.path,
            pid=record.pid,
            product=record.product,
            version=record.version,
            durability=record.durability,
            started_at=datetime.fromisoformat(record.started_at),
            stays=record.stays,
            users=_users(folder),
        )
        match look(record.path):
            case Ready(info):
                return _measured(running, info)
            case Loading() as loading:
                return replace(running, problem=f"it is loading its data ({loading.percent:.0f} % read)")
            case Silent(reason):
                return replace(running, problem=f"it does not answer: {reason}")


def start_server(
    data_folder: Path, *, start_timeout: timedelta = START_TIMEOUT, durability: Durability = "everysec"
) -> ServerStatus:
    """Have the server of *data_folder* run, without users too, until `stop_server`; one that runs already stays, too.

    Raises as `use_server` does.
    """
    with use_server(data_folder, start_timeout=start_timeout, durability=durability):
        folder = data_folder_of(data_folder)
        with trouble_with(folder):
            record = folder.read()
            if record is not None:
                folder.write(replace(record, stays=True))
    return server_status(data_folder)


def stop_server(data_folder: Path, *, timeout: timedelta = timedelta(seconds=10)) -> bool:
    """End the server of *data_folder*, used or not, with its data complete on disk; whether one was running.

    Its users get connection errors; the next use starts it again. A server that does not end by itself is killed after
    *timeout*. Raises `EmbeddedServerError` when it cannot be reached at all.
    """
    folder = data_folder_of(data_folder)
    with trouble_with(folder):
        if not folder.path.is_dir() or not folder.runs():
            return False
        record = folder.read()
        with FileLock(folder.server_lock) as server:
            if not end_server(folder, record, server, timeout_s=timeout.total_seconds()):
                raise EmbeddedServerError(
                    f"the server of {folder.path} cannot be reached to be stopped, but something holds "
                    f"{folder.server_lock}: look for a valkey-server or redis-server process that names this folder, "
                    "also in the containers that use it"
                )
    return True


def _measured(running: ServerStatus, info: Mapping[str, str]) -> ServerStatus:
    writes = info.get("aof_last_write_status", "ok")
    return replace(
        running,
        pid=int(info["process_id"]),
        memory_bytes=int(info["used_memory"]),
        keys=sum(
            int(count)
            for name in info
            if name.startswith("db")
            for count in re.findall(r"^keys=(\d+)", info[name])
        ),
        append_only_file_bytes=int(info.get("aof_current_size", 0)),
        problem=None
        if writes == "ok"
        else "it cannot write its append-only file and refuses changes; is the disk full?",
    )


def _users(folder: ServerFolder) -> int:
    """Who holds the users' lock, as the kernel lists it: one line a holder, those who wait marked with an arrow."""
    with FileLock(folder.users_lock) as users:
        # Neither way: the watcher has it alone, for a moment or to end the server.
        if users.try_exclusive() or not users.try_shared():
            return 0
        inode = users.identity()[1]
    counted = 0
    with suppress(OSError):
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        counted = sum(f":{inode} " in line and " READ " in line and "->" not in line for line in lines)
    return max(1, counted)
