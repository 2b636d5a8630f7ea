"""URLs of PostgreSQL: as a user writes them, as libpq and SQLAlchemy read them, and as they may be shown."""

import re
from typing import Final

from penstock.errors import ConfigurationError

__all__ = ["alchemy_url", "libpq_url", "shown_url"]

_SCHEME: Final = re.compile(r"(?:postgresql|postgres)(?:\+psycopg)?://")
_PASSWORD: Final = re.compile(r"(?<=://)([^/?#@:]*):([^/?#]*)@")
_QUERY_PASSWORD: Final = re.compile(r"([?&](?:ssl)?password=)[^&]*")


def libpq_url(url: str, *, store: str) -> str:
    """*url* as libpq reads it. Raises `ConfigurationError` for what is none of PostgreSQL."""
    if _SCHEME.match(url) is None:
        raise ConfigurationError(
            f"store {store!r}: {shown_url(url)!r} is no URL of PostgreSQL; "
            "write postgresql://USER:PASSWORD@HOST:5432/DATABASE"
        )
    return _SCHEME.sub("postgresql://", url, count=1)


def alchemy_url(url: str) -> str:
    """*url* as SQLAlchemy reads it, with psycopg 3 for a driver."""
    return _SCHEME.sub("postgresql+psycopg://", url, count=1)


def shown_url(url: str) -> str:
    """*url* without its password."""
    return _QUERY_PASSWORD.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))
