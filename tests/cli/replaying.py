"""A shop with a read model that is replayed. Files beside it say which version its code is, and what shall go wrong."""

import json
import sqlite3
from contextlib import closing
from typing import Any

from tests.cli.conftest import Project

__all__ = ["APP", "bring_to", "live", "pay", "show", "verbs_to"]

APP = '''
"""Totals of customers."""

import time
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from penstock import App, Event
from penstock.projections import Rows

app = App("shop")
version = int(Path("version").read_text()) if Path("version").exists() else 1


class Paid(Event, name="paid", key="customer"):
    customer: str
    cents: int


class Base(DeclarativeBase):
    pass


class Total(Base):
    __tablename__ = "totals"
    customer: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(default=0)
    if version > 1:
        payments: Mapped[int] = mapped_column(default=0)


class Seen(Base):
    __tablename__ = "seen"
    customer: Mapped[str] = mapped_column(primary_key=True)


totals = app.projection("totals", tables=[Total], version=version, page=10)
seen = app.projection("seen", tables=[Seen])


@totals.on(Paid)
def add(paid: Paid, rows: Rows) -> None:
    if Path("slowly").exists():
        Path("begun").touch()
        time.sleep(0.01)
    if paid.customer == "bad" and Path("broken").exists():
        raise ValueError("what is bad?")
    cents = paid.cents * 2 if paid.customer == "bob" and Path("doubles").exists() else paid.cents
    more = {"payments": 1} if version > 1 else {}
    rows.increment(Total, {"customer": paid.customer}, cents=cents, **more)


@seen.on(Paid)
def note(paid: Paid, rows: Rows) -> None:
    rows.upsert(Seen, {"customer": paid.customer})
'''

_STEPS = ("created", "built", "following", "verified", "promoted")


def verbs_to(state: str) -> list[str]:
    """What is typed to bring a new replay of ``totals`` to a state, as one goes through them."""
    verbs = ["create k totals", "start k", "follow k", "verify k", "promote k --yes"]
    return verbs[: _STEPS.index(state) + 1]


def pay(project: Project, *customers: str, cents: int = 100) -> None:
    """Append a payment of each."""
    lines = "".join(f"{json.dumps({'customer': each, 'cents': cents})}\n" for each in customers)
    assert project("store", "append", "paid", "-", stdin=lines).code == 0


def bring_to(project: Project, state: str) -> None:
    """A live read model of three payments, and a replay ``k`` of it in a state; ``""``: none yet."""
    project.write("app.py", APP)
    pay(project, "ann", "bob", "ann")
    assert project("projections", "catch-up", "totals").code == 0
    for verb in verbs_to(state) if state else ():
        ending = project("replays", *verb.split())
        assert ending.code == 0, ending


def live(project: Project) -> dict[str, tuple[Any, ...]]:
    """The rows of the live read model, by customer."""
    with closing(sqlite3.connect(project.folder / ".penstock/events.db")) as database:
        found = database.execute("SELECT * FROM totals").fetchall()
    return {row[0]: row[1:] for row in found}


def show(project: Project, key: str = "k") -> Any:
    """What `show` says, as a document."""
    ending = project("replays", "show", key, "--json")
    assert ending.code == 0, ending
    return ending.document
