"""A PostgreSQL database and how it is connected to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from penstock.errors import MissingExtraError
from penstock.store._engines import WithEngine
from penstock.store._postgres.errors import explained_connecting, speaking_of
from penstock.store._postgres.placeholders import translated
from penstock.store._postgres.urls import alchemy_url, libpq_url, shown_url
from penstock.store._quoting import quoted
from penstock.store.database import Connection, Cursor, Dialect

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresDatabase"]

_CONNECT_SECONDS: Final = 10


class PostgresDatabase(WithEngine):
    """A database with events and read models in it; a `Database`. Connections are in manual commit mode.

    Args:
        name: The name of its store in settings.
        url: ``postgresql://USER:PASSWORD@HOST:5432/DATABASE``, with libpq's own parameters after a ``?``.
        application: How the server shows our connections.
        schema: Where our tables are, in place of the first schema of the search path.

    Raises:
        MissingExtraError: psycopg is not installed.
        ConfigurationError: It is no URL of PostgreSQL.
    """

    dialect: Dialect = "postgresql"

    def __init__(
        self, name: str, url: str, *, application: str = "penstock", schema: str | None = None
    ) -> None:
        try:
            from psycopg import conninfo
        except ImportError as missing:
            raise MissingExtraError("an event store in PostgreSQL", "postgres") from missing
        super().__init__()
        self.name = name
        self.url = url
        self.shown = shown_url(url)
        self.schema = schema
        self.application = application
        self._parameters: dict[str, Any] = dict(conninfo.conninfo_to_dict(libpq_url(url, store=name)))

    def parameters(self, application: str = "", url: str | None = None) -> dict[str, Any]:
        """What libpq connects with; *url* in place of the database's own, with the same defaults."""
        from psycopg import conninfo

        given = self._parameters
        if url is not None:
            given = dict(conninfo.conninfo_to_dict(libpq_url(url, store=self.name)))
        found: dict[str, Any] = {
            "connect_timeout": _CONNECT_SECONDS,
            "fallback_application_name": self.application,
        }
        found.update({key: value for key, value in given.items() if value not in (None, "")})
        if application:
            found["application_name"] = application
        found["client_encoding"] = "utf8"
        if self.schema is not None:
            quoted = self.schema.replace('"', '""').replace("\\", "\\\\").replace(" ", "\\ ")
            found["options"] = f'{found.get("options", "")} -csearch_path="{quoted}"'.strip()
        return found

    @property
    def prefix(self) -> str:
        """What stands before our names in a statement that runs on somebody else's connection."""
        return "" if self.schema is None else f"{quoted(self.schema)}."

    def connect(self, *, application: str = "") -> "psycopg.Connection[Any]":
        """A new connection. Close it. Raises `StoreUnavailableError`, `StoreRefusedError`."""
        import psycopg

        try:
            return psycopg.connect(autocommit=True, **self.parameters(application))
        except psycopg.OperationalError as failure:
            raise explained_connecting(self.shown, str(failure)) from failure

    def begin(self, connection: Connection, *, write: bool = True) -> None:
        """Begin a transaction in which each statement sees what is committed by then."""
        self.execute(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")

    def execute(self, connection: Connection, sql: str, parameters: Sequence[object] = ()) -> Cursor:
        """Run one statement."""
        ours = cast("psycopg.Connection[Any]", connection)
        with speaking_of(self.shown):
            if not parameters:
                return cast("Cursor", ours.execute(cast("Any", sql)))
            return cast("Cursor", ours.execute(cast("Any", translated(sql, "format")), parameters))

    def _make_engine(self) -> Any:
        import psycopg
        import sqlalchemy as sa

        # The URL only says which dialect; connections are made from what libpq is given everywhere else.
        return sa.create_engine(
            sa.make_url(alchemy_url(self.url)).set(query={}),
            creator=lambda: psycopg.connect(**self.parameters()),
        )
