"""Making a backend, which says what is missing or wrong before the driver is imported."""

from datetime import timedelta
from typing import TYPE_CHECKING

from penstock.store._postgres.database import PostgresDatabase

if TYPE_CHECKING:
    from penstock.store._postgres.backend import PostgresBackend

__all__ = ["make_backend"]


def make_backend(
    name: str,
    url: str,
    *,
    application: str = "penstock",
    listen_url: str | None = None,
    poll: timedelta = timedelta(seconds=1),
    schema: str | None = None,
) -> "PostgresBackend":
    """The backend of the store *name* at *url*, not connected yet; see `PostgresBackend`.

    Raises:
        MissingExtraError: psycopg is not installed.
        ConfigurationError: It is no URL of PostgreSQL.
    """
    PostgresDatabase(name, url)
    from penstock.store._postgres.backend import PostgresBackend

    return PostgresBackend(
        name, url, application=application, listen_url=listen_url, poll=poll, schema=schema
    )
