"""How a page of a copy that tried to get out is recognised on SQLite, which has refused it by then."""

import os
import re
import sqlite3
from pathlib import Path
from typing import Final

from penstock.errors import IsolationError
from penstock.replays._guarding import causes
from penstock.store.database import Connection

__all__ = ["SqliteFence"]

_OF_PRODUCTION: Final = re.compile(r"cannot modify penstock_\w+ because it is a view")
_ATTACHED: Final = "too many attached databases"
_INSIDE: Final = "have it write the tables that its projection declares (tables=, read_model=), and no others"


class SqliteFence:
    """Keeps the pages of a copy in its file; a `Fence`."""

    def __init__(self, live: Path) -> None:
        self.files = frozenset({os.path.realpath(live)})

    def meant(self, projection: str, failure: BaseException) -> IsolationError | None:
        """What SQLite refused, in our words."""
        for each in causes(failure):
            if not isinstance(each, sqlite3.Error):
                continue
            # The transaction of the page has its lock, so what may only be read is the live file.
            if getattr(each, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
                return IsolationError(
                    projection, what="wrote a table that is not in the copy", remedy=_INSIDE
                )
            if _OF_PRODUCTION.search(str(each)):
                what = "wrote to the store (events, inbox) on its page's connection"
                remedy = "a copy emits nothing: ask for Generation, and leave it out unless that is_live"
                return IsolationError(projection, what=what, remedy=remedy)
            if _ATTACHED in str(each):
                return IsolationError(projection, what="attached another database", remedy=_INSIDE)
        return None

    def check(self, projection: str, connection: Connection) -> None:
        """Nothing: SQLite has refused by then what there was to refuse."""
