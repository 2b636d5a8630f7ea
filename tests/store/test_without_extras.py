"""An app on SQLite needs no package for it: neither SQLAlchemy nor any driver is there in these processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.errors import MissingExtraError
from penstock.store import StoreBackend

BLOCKED = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"sqlalchemy", "psycopg", "aiosqlite", "asyncpg", "django"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""

SHOP = """
import contextlib, sqlite3
from penstock import App, Event
from penstock.projections import Rows

class OrderPlaced(Event, name="order.placed", key="order_id"):
    order_id: str
    customer: str

app = App("shop", store="sqlite:///shop.db", streams="memory://")

totals = app.projection("totals", tables=["totals"])

@totals.on(OrderPlaced)
def add(order: OrderPlaced, rows: Rows) -> None:
    rows.increment("totals", {"customer": order.customer}, orders=1)

@totals.on(OrderPlaced)
def note(order: OrderPlaced, connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO notes VALUES (?)", (order.order_id,))

@app.listener(OrderPlaced, store="local")
def handled(order: OrderPlaced, connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO handled VALUES (?)", (order.order_id,))

def rows(table):
    with contextlib.closing(sqlite3.connect("shop.db")) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
"""

USED = """
import asyncio
from shop import *

with contextlib.closing(sqlite3.connect("shop.db")) as connection, connection:
    connection.execute("CREATE TABLE totals (customer TEXT PRIMARY KEY, orders INT)")
    connection.execute("CREATE TABLE notes (order_id TEXT)")
    connection.execute("CREATE TABLE handled (order_id TEXT)")

async def main():
    async with app:
        await app.store().append(OrderPlaced(order_id="1", customer="ann"))
        with contextlib.closing(sqlite3.connect("shop.db")) as connection, connection:
            app.store().append(OrderPlaced(order_id="2", customer="ann"), within=connection)
            assert app.store().load("order-2", within=connection).version == 1
        loaded = await app.store().load("order-1")
        assert loaded.events[0].decode(OrderPlaced).customer == "ann"
        await app.emit(OrderPlaced(order_id="3", customer="bob"))
        await app.run(until_idle=True)
    assert rows("totals") == [("ann", 2)], rows("totals")
    assert rows("notes") == [("1",), ("2",)], rows("notes")
    assert rows("handled") == [("3",)], rows("handled")

asyncio.run(main())
app.sync.store().append(OrderPlaced(order_id="4", customer="ann"))
app.sync.close()
assert not {"sqlalchemy", "psycopg"} & sys.modules.keys()
print("well")
"""

REFUSED = """
from penstock import App
from penstock.errors import MissingExtraError
from penstock.store._sqlite._database import SqliteDatabase
from penstock.store.work import Wanted, Workshop

def session():
    database = SqliteDatabase("local", "shop.db")
    with contextlib.closing(database.connect()) as connection:
        Workshop(database).begin(connection).get(Wanted.SESSION)

def postgres():
    App("shop", store="postgresql://db.example.com/shop").store().database

import contextlib
try:
    globals()[sys.argv[1]]()
except MissingExtraError as failure:
    print(failure)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's project."""
    (tmp_path / "blocked.py").write_text(BLOCKED)
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def run(project: Path, code: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run code in a process where the extras are not installed."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import blocked, sys\n{code}", *arguments],
        cwd=project,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.covers("STORE-5")
def test_the_store_projections_and_inboxes_work_without_extras(project: Path) -> None:
    """Appending, within a connection of one's own too, raw connections, `Rows` by name, inboxes, and `App.sync`."""
    done = run(project, USED)
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr


COMMANDS = """
import shlex
from penstock.cli import main

for command in sys.stdin.read().splitlines():
    print("$", command)
    sys.stdout.flush()
    try:
        code = main([*shlex.split(command), "--app", "shop:app"])
    except SystemExit as end:
        code = end.code
    assert not code, (command, code)
"""


@pytest.mark.covers("STORE-5")
def test_the_commands_work_without_extras(project: Path) -> None:
    """Looking at the database, the store and its projections, appending, and working until idle."""
    commands = {
        "db status": "nothing",
        "store streams": "order-1",
        'store append order.placed \'{"order_id":"5","customer":"bob"}\' --event-stream order-5': "order-5",
        "store events": "order.placed",
        "run --until-idle": "",
        "projections list": "totals",
    }
    assert run(project, USED).returncode == 0
    done = run(project, COMMANDS, given="\n".join(commands))
    assert done.returncode == 0, done.stdout + done.stderr
    shown = dict(zip(commands, done.stdout.split("$ ")[1:], strict=True))
    assert {command: what for command, what in commands.items() if what not in shown[command]} == {}


@pytest.mark.covers("STORE-5")
@pytest.mark.parametrize(
    ("asked", "extra"), [("session", "penstock[sql]"), ("postgres", "penstock[postgres]")]
)
def test_what_needs_an_extra_names_it(project: Path, asked: str, extra: str) -> None:
    """A session needs SQLAlchemy, and a store in PostgreSQL its driver."""
    done = run(project, REFUSED, asked)
    assert extra in done.stdout, done.stderr


async def test_an_engine_is_what_needs_sqlalchemy(
    store_backend: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the extra is named, on both databases; with it the engine is made then."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sqlalchemy", None)
        with pytest.raises(MissingExtraError, match=r"a session of SQLAlchemy.*penstock\[sql\]"):
            store_backend.database.engine()
    assert store_backend.database.engine() is store_backend.database.engine()
