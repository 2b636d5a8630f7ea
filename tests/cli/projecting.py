"""A service with projections and a relay between two files, and looks at what became of them."""

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Project, Running

__all__ = [
    "APP",
    "POLL_SECONDS",
    "SETTINGS",
    "log",
    "place",
    "rows",
    "run_all",
    "run_parked",
    "status",
    "wait_for_state",
]


APP = '''
"""Projections and a relay. Files beside it say what shall go wrong."""

import os
import sqlite3
import time
from pathlib import Path

from penstock import App, Event, Retry

app = App("shop")


class OrderPlaced(Event, name="order.placed", key="order_id"):
    order_id: str


def fails(order: OrderPlaced) -> bool:
    return Path("broken").exists() and order.order_id in Path("broken").read_text().split()


totals = app.projection("totals", categories=["order"], tables=["totals"])
parked = app.projection("parked", categories=["order"], on_failure="park", retry=Retry(attempts=1))
app.relay("shared", source="local", target="shared")


@totals.on(OrderPlaced)
def add(order: OrderPlaced, database: sqlite3.Connection) -> None:
    if fails(order):
        raise ValueError(f"cannot add {order.order_id}")
    database.execute("CREATE TABLE IF NOT EXISTS totals (order_id TEXT, pid INTEGER)")
    database.execute("INSERT INTO totals VALUES (?, ?)", (order.order_id, os.getpid()))


@parked.on(OrderPlaced)
def note(order: OrderPlaced) -> None:
    if fails(order):
        raise ValueError(f"cannot note {order.order_id}")
'''
SETTINGS = """
[stores.shared]
url = "sqlite:///shared.db"
"""
POLL_SECONDS = 1.0


def place(project: "Project", *order_ids: str) -> None:
    """Append orders, each to its own event stream."""
    text = "".join(f'{{"order_id":"{each}"}}\n' for each in order_ids)
    assert project("store", "append", "order.placed", "-", stdin=text).code == 0


def rows(project: "Project") -> list[str]:
    """The orders that the read model has."""
    with sqlite3.connect(project.folder / ".penstock/events.db") as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'totals'").fetchone():
            return []
        found = database.execute("SELECT order_id FROM totals ORDER BY rowid").fetchall()
    database.close()
    return [order_id for [order_id] in found]


def status(project: "Project", name: str, noun: str = "projections") -> dict[str, object]:
    """How one stands."""
    document = project(noun, "show", name, "--json").document
    found: dict[str, object] = document["status"]
    return found


def wait_for_state(project: "Project", running: "Running", name: str, state: str) -> dict[str, object]:
    """Wait until a projection is in a state."""
    running.wait_until(f"{name} is {state}", lambda: state_of(project, name) == state)
    return status(project, name)


def state_of(project: "Project", name: str) -> object:
    """Its state; ``None`` before it has run for the first time."""
    items = project("projections", "list", "--json").document["items"]
    return next((each["state"] for each in items if each["name"] == name), None)


def run_all(project: "Project") -> None:
    """Handle everything there is."""
    ending = project("run", "--until-idle", "--log-level", "critical")
    assert ending.code == 0, ending


def log(project: "Project", *words: str) -> list[dict[str, object]]:
    """Who did what, latest first."""
    named = ("--projection", *words) if words else ()
    items: list[dict[str, object]] = project("failed", "log", *named, "--json").document["items"]
    return items


def run_parked(project: "Project") -> None:
    """Have the projection `parked` handle everything there is."""
    ending = project("run", "--until-idle", "--only", "projection:parked", "--log-level", "critical")
    assert ending.code == 0, ending
