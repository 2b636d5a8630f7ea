"""A project folder with an app, a namespace of its own on a real server, and the command line to be used there."""

import io
import json
import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import main
from tests.cli import projecting

ROOT = Path(__file__).parent.parent.parent

SHOP = '''
"""The shop of the command line's tests. Files beside it say what shall go wrong."""

import asyncio
import os
from pathlib import Path

from penstock import App, Event, Retry

app = App("shop")
billing = app.group("billing", retry=Retry(attempts=1))


class OrderPlaced(Event, name="order.placed", key="order_id"):
    order_id: str
    total_cents: int = 100


def note(text: str) -> None:
    with Path("notes.txt").open("a") as notes:
        notes.write(f"{os.getpid()} {text}\\n")


@app.listener(OrderPlaced, group=billing)
async def charge(order: OrderPlaced) -> None:
    note(f"begin {order.order_id}")
    if order.order_id == "slow":
        while not Path("finish").exists():
            await asyncio.sleep(0.01)
    if order.order_id == "killer" and not Path("harmless").exists():
        os._exit(9)
    if Path("broken").exists():
        raise ValueError(f"card declined for {order.order_id}")
    note(f"end {order.order_id}")


@app.listener(OrderPlaced, group="mail")
async def thank(order: OrderPlaced) -> None:
    pass
'''


@dataclass
class Ending:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; anything else there fails."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON objects on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        """What the JSON document says is wrong."""
        return self.document["error"]


@dataclass
class Running:
    """A command in a process of its own."""

    process: "subprocess.Popen[str]"
    out: Path
    err: Path

    def wait_until(self, what: str, is_so: Callable[[], bool], seconds: float = 30) -> None:
        """Wait for something to become true."""
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                pytest.fail(f"{what} has not come true\n{self.out.read_text()}\n{self.err.read_text()}")
            time.sleep(0.02)

    def wait_for(self, text: str) -> None:
        """Wait for a text on stdout or stderr."""
        self.wait_until(
            f"{text!r} is printed",
            lambda: text in self.out.read_text() or text in self.err.read_text(),
        )

    def end(self, seconds: float = 30) -> Ending:
        """Wait for the end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not end\n{self.out.read_text()}\n{self.err.read_text()}")
        return Ending(code, self.out.read_text(), self.err.read_text())


@dataclass
class Project:
    """A folder, where commands are typed."""

    folder: Path
    environ: dict[str, str]
    capture: "pytest.CaptureFixture[str]"
    patch: pytest.MonkeyPatch
    started: list[Running] = field(default_factory=list[Running])

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def notes(self) -> list[str]:
        """What the listeners noted, without the process."""
        path = self.folder / "notes.txt"
        return [line.partition(" ")[2] for line in path.read_text().splitlines()] if path.exists() else []

    def workers(self) -> set[int]:
        """The processes that noted something."""
        path = self.folder / "notes.txt"
        return {int(line.split()[0]) for line in path.read_text().splitlines()} if path.exists() else set()

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> Ending:
        """Type a command, in this process."""
        text = stdin.encode() if isinstance(stdin, str) else stdin or b""
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        before = set(sys.modules)
        self.capture.readouterr()
        try:
            code = main(list(words))
        finally:
            # The project's modules are loaded anew by each command, as they are in a process of its own.
            for name in set(sys.modules) - before:
                file = getattr(sys.modules[name], "__file__", None) or ""
                if file.startswith(str(self.folder)):
                    del sys.modules[name]
        said = self.capture.readouterr()
        return Ending(code, said.out, said.err)

    def start(
        self, *words: str, stdin: int = subprocess.DEVNULL, stdout: int | None = None, **environ: str
    ) -> Running:
        """Type a command, in a process of its own."""
        number = len(self.started)
        out, err = self.folder / f"out-{number}.txt", self.folder / f"err-{number}.txt"
        with out.open("w") as to_file, err.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "penstock", *words],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **self.environ, **environ},
                stdin=stdin,
                stdout=to_file if stdout is None else stdout,
                stderr=stderr,
                text=True,
            )
        running = Running(process, out, err)
        self.started.append(running)
        return running

    def close(self) -> None:
        """End what still runs. Workers of a supervisor notice that it is gone, and end by themselves."""
        for running in self.started:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()


@pytest.fixture
def bare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Project]:
    """An empty project, which would have an embedded server of its own."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    level = logging.getLogger("penstock").level
    project = Project(folder, {}, capsys, monkeypatch)
    yield project
    project.close()
    logging.getLogger("penstock").setLevel(level)


@pytest.fixture
def service(bare: Project) -> Project:
    """A service without a server of streams: projections and a relay between two files."""
    bare.write("app.py", projecting.APP)
    bare.write("penstock.toml", projecting.SETTINGS)
    return bare


@pytest.fixture
def empty(bare: Project, server_url: str) -> Project:
    """A project without an app, on a real server, in a namespace of its own."""
    bare.environ = {"PENSTOCK_STREAMS": server_url, "PENSTOCK_NAMESPACE": f"cli-{uuid.uuid4().hex[:12]}"}
    for name, value in bare.environ.items():
        bare.patch.setenv(name, value)
    return bare


@pytest.fixture
def shop(empty: Project) -> Project:
    """The same with the shop's app."""
    empty.write("app.py", SHOP)
    return empty


def order(order_id: str) -> str:
    """The body of an order."""
    return json.dumps({"order_id": order_id})


def place(project: Project, *order_ids: str) -> None:
    """Emit orders."""
    ending = project("emit", "order.placed", "-", stdin="".join(f"{order(each)}\n" for each in order_ids))
    assert ending.code == 0, ending


def fail(project: Project, *order_ids: str) -> None:
    """Emit orders, and have the listener `charge` fail on them."""
    place(project, *order_ids)
    broken = project.write("broken", "")
    assert project("run", "--until-idle").code == 0
    broken.unlink()
