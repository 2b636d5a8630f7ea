"""Names in PostgreSQL: of a copy's schema, and how any name is written in a statement."""

import hashlib
import re
from typing import Final

from penstock.store._quoting import quoted

__all__ = ["LONGEST", "default_name", "literal", "quoted", "schema_name", "written"]

LONGEST: Final = 63
"""Bytes of a name; the server cuts longer ones (``NAMEDATALEN`` in its ``pg_config_manual.h``)."""

_PREFIX: Final = "penstock_replay_"


def schema_name(key: str) -> str:
    """The schema of a replay's copy: readable, within 63 bytes, and not the same for any two keys."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    slug = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
    room = LONGEST - len(_PREFIX) - len(digest) - 1
    slug = slug[:room].rstrip("_")
    return f"{_PREFIX}{slug}_{digest}" if slug else f"{_PREFIX}{digest}"


def written(schema: str, name: str) -> str:
    """What is in a schema, as it is written in SQL."""
    return f"{quoted(schema)}.{quoted(name)}"


def literal(text: str) -> str:
    """A text as a constant, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def default_name(table: str, columns: list[str], ending: str) -> str:
    """A name like the server's own for a constraint without one, cut to what it keeps."""
    body = f"{table}_{'_'.join(columns)}".encode()[: LONGEST - len(ending) - 1]
    return f"{body.decode('utf-8', 'ignore')}_{ending}"
