"""A project under git whose read model changes from commit to commit, and the command line used in it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cli.conftest import Ending

__all__ = ["SHOP", "Project"]

SHOP = '''
"""A shop that sums up what customers pay."""

from sqlalchemy import BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from penstock import App, Event
from penstock.projections import Rows

app = App("shop", streams="memory://", store="sqlite:///shop.db")


class Paid(Event, name="paid", key="customer"):
    customer: str
    cents: int


class Base(DeclarativeBase):
    pass


class Total(Base):
    __tablename__ = "totals"
    customer: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(BigInteger, default=0)


totals = app.projection("totals", tables=[Total])


@totals.on(Paid)
def add(paid: Paid, rows: Rows) -> None:
    rows.increment(Total, {"customer": paid.customer}, cents=paid.cents)
'''


@dataclass
class Project:
    """A folder with a repository in it."""

    folder: Path

    def write(self, name: str, text: str) -> None:
        """A file in it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def git(self, *words: str) -> str:
        """Run git there."""
        done = subprocess.run(
            ["git", "-C", str(self.folder), *words], check=True, capture_output=True, text=True
        )
        return done.stdout

    def commit(self, tag: str) -> None:
        """Commit everything, under a name by which it is found again."""
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", tag)
        self.git("tag", tag)

    def run(self, *words: str, folder: str = ".", **environ: str) -> Ending:
        """Run a command line in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *words],
            cwd=self.folder / folder,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
                **environ,
            },
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Ending(done.returncode, done.stdout, done.stderr)

    def pay(self, *payments: tuple[str, int]) -> None:
        """Append payments, one after the other."""
        lines = "".join(
            json.dumps(
                {
                    "stream": f"customer-{customer}",
                    "id": f"{customer}-{cents}-{number}",
                    "name": "paid",
                    "key": customer,
                    "time": "2026-01-31T12:00:00Z",
                    "data": {"customer": customer, "cents": cents},
                }
            )
            + "\n"
            for number, (customer, cents) in enumerate(payments)
        )
        self.write("payments.jsonl", lines)
        done = self.run("--app", "app", "store", "import", "payments.jsonl")
        assert done.code == 0, done.err
