"""The event store in PostgreSQL. To import this needs nothing; the backend needs psycopg 3 (extra ``postgres``)."""

from penstock.store._postgres.database import PostgresDatabase
from penstock.store._postgres.making import make_backend

__all__ = ["PostgresDatabase", "make_backend"]
