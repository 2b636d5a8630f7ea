"""Using a data folder's server: start it or join it, keep it while it is used, leave it."""

import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Self
from urllib.parse import quote

from penstock.errors import EmbeddedServerError
from penstock.streams.embedded._ending import END_WITHIN_S, end_server
from penstock.streams.embedded._folder import data_folder_of, prepare, trouble_with
from penstock.streams.embedded._locks import FileLock
from penstock.streams.embedded._process import launch
from penstock.streams.embedded._record import Durability, ServerFolder
from penstock.streams.embedded._starting import PAUSE_S, running_server
from penstock.streams.embedded._watcher import command

__all__ = ["LINGER", "START_TIMEOUT", "ServerUse", "use_server"]

START_TIMEOUT = timedelta(seconds=10)
LINGER = timedelta(seconds=30)


class ServerUse:
    """A hold on a data folder's server: while anybody holds it, the server is not stopped for want of users.

    The hold ends with `release`, and with the process however that ends. A forked child holds the server by itself.
    """

    def __init__(self, folder: ServerFolder, socket: Path, users: FileLock, linger: timedelta) -> None:
        self.url = f"unix://{quote(str(socket))}"
        """Where the server is, for a client: ``unix:///run/user/1000/penstock-0f5a.../server.sock``."""
        self._folder, self._linger = folder, linger
        self._users: FileLock | None = users

    def release(self) -> None:
        """Give the server up. The last to do so has it stopped, once nobody came back for the linger time. Idempotent.

        With a linger of zero the server has ended when this returns, and its data is complete on disk.
        """
        users, self._users = self._users, None
        if users is None:
            return
        # What cannot be done here, on a full disk or in a folder that was deleted, is left to the watcher.
        with users, suppress(OSError):
            if not (self._linger and _see_to_a_watcher(self._folder)):
                _leave(self._folder, users)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def use_server(
    data_folder: Path,
    *,
    start_timeout: timedelta = START_TIMEOUT,
    linger: timedelta = LINGER,
    durability: Durability = "everysec",
) -> ServerUse:
    """A hold on the server of *data_folder*, which is started if it does not run; a missing folder is made.

    The server stays for *linger* after its last user left, so that commands in a row find it running; the linger of
    whoever came last counts. *durability* ``"always"`` has every write on disk before it is answered, and is kept while
    the server runs, whatever later users ask for.

    Raises:
        NoServerBinaryError: There is no server to start.
        EmbeddedServerError: It does not start, is not ready within *start_timeout*, or the folder does not allow it.
    """
    folder = data_folder_of(data_folder)
    prepare(folder)
    deadline = time.monotonic() + start_timeout.total_seconds()
    with trouble_with(folder):
        users = FileLock(folder.users_lock)
        try:
            _enter(folder, users, linger, deadline)
            former = folder.read()
            if former is None or not former.stays or not folder.runs():
                # Before the server: from its first moment there is somebody to end it, even if we are killed now.
                _see_to_a_watcher(folder)
            record = running_server(folder, durability, deadline, start_timeout)
        except BaseException:
            users.close()
            raise
    return ServerUse(folder, record.path, users, linger)


def _enter(folder: ServerFolder, users: FileLock, linger: timedelta, deadline: float) -> None:
    """Become a user; whoever is just stopping the server is waited for."""
    while not users.try_shared():
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"the server of {folder.path} is being stopped, and that takes long; try again, or see {folder.log}"
            )
        time.sleep(PAUSE_S)
    os.pwrite(users.fd, f"{linger.total_seconds():012.3f}\n".encode(), 0)


def _see_to_a_watcher(folder: ServerFolder) -> bool:
    """Whether somebody waits for the last user to leave, if need be because we just started it."""
    with FileLock(folder.watcher_lock) as watching:
        if not watching.try_exclusive():
            return True
        # Opened here, where the folder is known to exist: a watcher that is slow to come makes nothing in its place.
        with FileLock(folder.users_lock) as users, FileLock(folder.server_lock) as server:
            locks = (users, server, watching)
            watcher = command(folder, locks)
            if watcher is not None:
                launch(*watcher, output=Path(os.devnull), folder=Path("/"), keep=locks)
            return watcher is not None


def _leave(folder: ServerFolder, users: FileLock) -> None:
    """End the server unless somebody else uses it, or it is to stay, or *users* is of a folder that was deleted."""
    with FileLock(folder.leaving_lock) as leaving, users:
        leaving.wait_exclusive()
        while not users.try_exclusive():
            if users.try_shared():
                return
            # Neither alone nor with others: the watcher has it, for a moment or to end the server.
            time.sleep(PAUSE_S)
        record = folder.read()
        if users.is_at(folder.users_lock) and not (record and record.stays):
            with FileLock(folder.server_lock) as server:
                end_server(folder, record, server, timeout_s=END_WITHIN_S)
