"""Two releases of an app and a reader over one database, and a replay that leads from the first to the second."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from penstock import App, Event
from penstock.projections import Rows

RELEASE = int(os.environ.get("RELEASE", "2"))  # which release this process has
app = App("shop", streams="memory://", store="sqlite:///shop.db")


class OrderPlaced(Event, name="order.placed", key="customer"):
    customer: str
    cents: int


class Base(DeclarativeBase):
    pass


class Total(Base):
    __tablename__ = "totals"

    customer: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(default=0)
    if RELEASE > 1:
        orders: Mapped[int] = mapped_column(default=0)


totals = app.projection("totals", tables=[Total], version=RELEASE)


@totals.on(OrderPlaced)
def add(order: OrderPlaced, rows: Rows) -> None:
    more = {"orders": 1} if RELEASE > 1 else {}
    rows.increment(Total, {"customer": order.customer}, cents=order.cents, **more)


CUSTOMERS = ("ann", "bob", "cid")
CENTS = 100


class Reader(threading.Thread):
    """Reads the totals all the time, as a web page would: by naming its columns, on one connection."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.reads = 0
        self.wrong: list[object] = []

    def run(self) -> None:
        """Read until it is over."""
        last: dict[str, int] = {}
        with closing(sqlite3.connect("shop.db")) as database:
            while not self.over.is_set():
                try:
                    found = database.execute("SELECT customer, cents FROM totals").fetchall()
                except sqlite3.Error as failure:
                    self.wrong.append(str(failure))
                    continue
                self.reads += 1
                # Totals only grow: a switch never leads to an earlier moment.
                self.wrong += [row for row in found if row[1] < last.get(row[0], 0)]
                last.update(found)
                self.over.wait(0.005)


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until, "it does not come true"
        time.sleep(0.05)


def is_there(table: str) -> bool:
    with closing(sqlite3.connect("shop.db")) as database:
        return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchall())


def live(columns: str = "customer, cents") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect("shop.db")) as database:
        return database.execute(f"SELECT {columns} FROM totals ORDER BY customer").fetchall()


def place(count: int) -> None:
    app.sync.store().append([OrderPlaced(customer=CUSTOMERS[n % 3], cents=CENTS) for n in range(count)])


@contextmanager
def release(number: int) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with the code of a release, until the block ends."""
    command = [sys.executable, "-m", "penstock", "--app", "run", "run", "--log-level", "warning"]
    with subprocess.Popen(command, env={**os.environ, "RELEASE": str(number)}) as worker:
        try:
            yield worker
        finally:
            worker.terminate()


def main() -> None:
    with app.sync as shop, ExitStack() as stack:
        place(300)
        first = stack.enter_context(release(1))
        wait_until(lambda: is_there("totals") and live() == [(name, 10_000) for name in CUSTOMERS])
        print("release 1:", live())

        reader = Reader()
        reader.start()

        replays = shop.replays
        replays.create("count-orders", ["totals"])
        replays.follow("count-orders")  # builds it first
        stack.enter_context(release(2))
        place(300)
        wait_until(lambda: replays.lag("count-orders") == 0)
        report = replays.verify("count-orders")
        print("equal:", report.is_green, "only in the copy:", *report.tables[0].only_copy)

        replays.promote("count-orders")
        place(300)
        wait_until(lambda: live("orders") == [(300,), (300,), (300,)])
        print("release 2:", live("customer, cents, orders"))

        replays.rollback("count-orders")
        wait_until(lambda: live() == [(name, 30_000) for name in CUSTOMERS])
        print("and back:", live())

        replays.promote("count-orders")
        print("again:", live("customer, cents, orders"))

        first.terminate()  # this release is not needed any more
        first.wait()
        replays.remove("count-orders")

        reader.over.set()
        reader.join()
        print("the reader saw nothing wrong:", reader.reads > 0 and not reader.wrong)


if __name__ == "__main__":
    main()
