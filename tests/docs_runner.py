"""Runs the code blocks of a documentation page as a reader would, from top to bottom, in a folder of the page's own.

What stands after the language in a fence:

- ``python`` alone runs in one Python process a page, where names live on from block to block and ``await`` works at
  the top level; ``python file=shop.py`` (any language can) is written to that file instead;
- ``text output`` is what the Python block before it must have printed;
- ``console`` has commands on lines that begin with ``$ `` and what they print below; ``bash`` is one script;
  ``exit=1`` is the code that the block's last command must end with;
- ``notest reason=why`` is read, and checked for syntax where we can, but not run.

In expected output ``...`` stands for anything: on a line of its own for any lines, within a line for any text.
"""

import ast
import difflib
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import yaml

__all__ = ["Block", "PageError", "PageRun", "blocks", "compare", "environment"]

SHOWN: Final = frozenset({"diff", "html", "ini", "javascript", "lua", "mermaid", "php", "sql", "text"})
"""Languages that are shown and not run."""

_FENCE: Final = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<info>[^`\n]*)\n(?P<text>.*?)^\1(?P=ticks) *$", re.M | re.S
)

_WORKER: Final = """
import ast, asyncio, json, os, sys, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
names = {"__name__": "__main__"}
with asyncio.Runner() as runner:
    for request in sys.stdin:
        page, line, text = json.loads(request)
        problem = ""
        try:
            code = compile("\\n" * line + text, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            waiting = eval(code, names)
            if waiting is not None:
                runner.run(waiting)
        except BaseException:
            problem = traceback.format_exc()
        sys.stdout.flush()
        print(json.dumps(problem), file=answers, flush=True)
"""


class PageError(AssertionError):
    """A page does not do what it says; the message begins with page and line."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it stands, its language, what its fence asks for, and its text without indentation."""

    page: str
    line: int
    language: str
    flags: frozenset[str]
    options: dict[str, str]
    text: str

    def error(self, what: str) -> PageError:
        """This block is at fault."""
        return PageError(f"{self.page}:{self.line}: {what}")


def blocks(page: str, text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order. Raises `PageError` for a fence that asks for what does not exist."""
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        info, _, reason = match["info"].strip().partition(" reason=")
        language, *words = info.split() or [""]
        options = dict(word.split("=", 1) for word in words if "=" in word)
        flags = frozenset(word for word in words if "=" not in word)
        body = re.sub(f"^{match['indent']}", "", match["text"], flags=re.M)
        block = Block(page, line, language, flags, options, body)
        if "notest" in flags and not reason.strip():
            raise block.error("a block that is not run says why: notest reason=...")
        if unknown := sorted((flags - {"notest", "output"}) | (options.keys() - {"file", "exit"})):
            raise block.error(f"unknown in a fence: {', '.join(unknown)}")
        yield block


def compare(expected: str, actual: str) -> str:
    """A readable difference, or an empty text where *actual* is what *expected* says, ``...`` standing for anything."""
    wanted, got = _lines(expected), _lines(actual)
    pattern = "".join(
        "(?:.*\n)*?" if line.strip() == "..." else ".*?".join(map(re.escape, line.split("..."))) + "\n"
        for line in wanted
    )
    if re.fullmatch(pattern, "".join(f"{line}\n" for line in got)):
        return ""
    return "\n".join(difflib.unified_diff(wanted, got, "expected", "actual", lineterm=""))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def environment(home: Path) -> dict[str, str]:
    """What a page's or an example's programs see: our commands on the path, no settings of the caller, no colours."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "PYTEST_"))
    }
    return kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]),
        "HOME": str(home),
        "COLUMNS": "100",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


@dataclass
class PageRun:
    """One page being run in *folder*. Leaving the context ends everything that the page has started."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the page's programs find in their environment beside the usual."""
    _sessions: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])
    _python: subprocess.Popen[str] | None = None
    _printed: str = ""
    _cwd: Path = field(init=False)
    _visited: set[Path] = field(default_factory=set[Path])

    def __post_init__(self) -> None:
        self._cwd = self.folder
        self._log = self.folder.parent / f"{self.folder.name}.log"
        self._log.touch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._python:
            self._python.kill()
            self._python.communicate()
        for session in self._sessions:
            with suppress(ProcessLookupError):
                os.killpg(session.pid, signal.SIGKILL)
        for folder in sorted(self._visited):
            # A page may have brought up the embedded server of its folder; where not, this finds nothing to stop.
            command = ["penstock", "server", "stop"]
            subprocess.run(
                command,
                cwd=folder,
                env={**environment(self.folder), **self.variables},
                capture_output=True,
                timeout=30,
                check=False,
            )

    def run(self, block: Block) -> None:
        """Do what the block says. Raises `PageError` where it fails, or prints something else than it shows."""
        _check_syntax(block)
        if "notest" in block.flags:
            return
        if name := block.options.get("file"):
            path = self._cwd / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            return
        self._visited.add(self._cwd)
        match block.language:
            case "python":
                self._run_python(block)
            case "console":
                self._run_console(block)
            case "bash" | "sh":
                self._run_command(
                    block, f"set -euo pipefail\n{block.text}", int(block.options.get("exit", 0))
                )
            case "text" if "output" in block.flags:
                if difference := compare(block.text, self._printed):
                    raise block.error(f"the block above prints something else\n{difference}")
            case _:
                pass

    def _run_python(self, block: Block) -> None:
        if self._python is None:
            with self._log.open("ab") as log:
                self._python = subprocess.Popen(
                    [sys.executable, "-c", _WORKER],
                    cwd=self.folder,
                    env={**environment(self.folder), **self.variables},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                )
        assert self._python.stdin
        assert self._python.stdout
        start = self._log.stat().st_size
        self._python.stdin.write(json.dumps([block.page, block.line, block.text]) + "\n")
        self._python.stdin.flush()
        answer = self._python.stdout.readline()
        self._printed = self._log.read_bytes()[start:].decode()
        problem = json.loads(answer) if answer else "the process ended"
        if problem:
            raise block.error(f"{problem}{self._printed}")

    def _run_console(self, block: Block) -> None:
        pairs = _commands(block)
        for number, (command, expected) in enumerate(pairs, start=1):
            last = number == len(pairs)
            printed = self._run_command(block, command, int(block.options.get("exit", 0)) if last else 0)
            if expected and (difference := compare(expected, printed)):
                raise block.error(f"$ {command}\n{difference}")

    def _run_command(self, block: Block, command: str, code: int) -> str:
        start = self._log.stat().st_size
        where = self.folder.parent / f"{self.folder.name}.cwd"
        with self._log.open("ab") as log:
            # A session of its own, so that what a command leaves running in the background can be ended with the page.
            session = subprocess.Popen(
                ["bash", "-c", f"trap 'pwd > \"{where}\"' EXIT\n{command}"],
                cwd=self._cwd,
                env={**environment(self.folder), **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._sessions.append(session)
        ended = session.wait()
        printed = self._log.read_bytes()[start:].decode()
        if ended != code:
            raise block.error(f"{command}\nended with code {ended}, not {code}:\n{printed}")
        self._cwd = Path(where.read_text(encoding="utf-8").strip())
        self._visited.add(self._cwd)
        return printed


def _commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with what is shown below it."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif not found:
            raise block.error("a console block begins with a command: $ ...")
        elif found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line.removeprefix('> ')}", "")
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def _check_syntax(block: Block) -> None:
    try:
        match block.language:
            case "python":
                compile(block.text, block.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
            case "toml":
                tomllib.loads(block.text)
            case "json":
                json.loads(block.text)
            case "yaml":
                yaml.safe_load(block.text)
            case "console" | "bash" | "sh":
                pass
            case language if language not in SHOWN:
                raise block.error(
                    f"language {language!r} is unknown; shown and not run are {', '.join(sorted(SHOWN))}"
                )
            case _:
                pass
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        raise block.error(f"is not {block.language}: {error}") from error
