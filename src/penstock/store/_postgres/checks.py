"""What a server, a database and its sequence have to be like for positions to be trusted; looked at on opening."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

__all__ = ["SEQUENCE", "SERVER", "SequenceFacts", "ServerFacts", "problems_of_sequence", "problems_of_server"]

_OLDEST: Final = 150_000

SERVER: Final = """\
SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
       getdatabaseencoding()::text, current_user::text"""

SEQUENCE: Final = """\
SELECT penstock_store_number(),
       seqincrement, seqcache, seqcycle,
       coalesce(has_sequence_privilege(seqrelid, 'SELECT'), false),
       CASE WHEN has_sequence_privilege(seqrelid, 'SELECT') THEN coalesce(pg_sequence_last_value(seqrelid), 0) END,
       coalesce((SELECT max(position) FROM penstock_events), 0),
       (SELECT count(*) FROM pg_catalog.pg_proc
         WHERE proname = 'penstock_store_number'
           AND prosrc = (SELECT prosrc FROM pg_catalog.pg_proc WHERE oid = 'penstock_store_number()'::regprocedure))
  FROM pg_catalog.pg_sequence WHERE seqrelid = 'penstock_positions'::regclass"""


class ServerFacts(NamedTuple):
    """A row of `SERVER`."""

    version_number: int
    version: str
    follows: bool
    encoding: str
    role: str


class SequenceFacts(NamedTuple):
    """A row of `SEQUENCE`."""

    store_number: int
    increment: int
    cache: int
    cycles: bool
    may_select: bool
    last: int | None
    highest: int
    stores_of_this_number: int


def problems_of_server(facts: ServerFacts) -> list[str]:
    """Why a store cannot be on this server, with the remedy; empty if it can."""
    found: list[str] = []
    if facts.version_number < _OLDEST:
        found.append(f"is on PostgreSQL {facts.version}; 15 or newer is needed")
    if facts.follows:
        found.append(
            "is a hot standby: it shows what was committed, and not who still may commit, so that events could be "
            "skipped; name the primary"
        )
    if facts.encoding != "UTF8":
        found.append(
            f"has the encoding {facts.encoding}, which cannot hold every event; "
            "make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    return found


def problems_of_sequence(facts: SequenceFacts, role: str) -> list[str]:
    """Why positions cannot be trusted, with the remedy; empty if they can."""
    found: list[str] = []
    if not facts.may_select:
        found.append(
            f"does not show user {role!r} how far its positions are; "
            f'run: GRANT SELECT, USAGE ON SEQUENCE penstock_positions TO "{role}"'
        )
    if facts.cache != 1 or facts.increment != 1 or facts.cycles:
        found.append(
            "has a sequence of positions by which order is lost "
            f"(CACHE {facts.cache}, INCREMENT {facts.increment}{', CYCLE' if facts.cycles else ''}); "
            "run: ALTER SEQUENCE penstock_positions INCREMENT 1 CACHE 1 NO CYCLE"
        )
    if facts.last is not None and facts.last < facts.highest:
        found.append(
            f"hands out positions from {facts.last + 1}, and has events up to {facts.highest}; stop who writes, "
            "and run: SELECT setval('penstock_positions', (SELECT max(position) FROM penstock_events))"
        )
    if facts.stores_of_this_number > 1:
        found.append(
            f"has two stores with number {facts.store_number}, one a copy of the other, which hold each other up; "
            "give the copy another one in its penstock_store_number() and penstock_append()"
        )
    return found


def said(shown: str, problems: Sequence[Any]) -> str:
    """One message of *problems*."""
    return "; it ".join([f"the database {shown} {problems[0]}", *problems[1:]])
