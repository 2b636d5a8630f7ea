"""Revisions of a git repository, written to folders of their own; nothing in the repository changes by it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import ReplayError, UsageError

__all__ = ["Checkout", "check_out", "commit_of", "root_of"]


@dataclass(frozen=True, slots=True)
class Checkout:
    """A revision in a folder."""

    root: Path
    """The folder of the repository."""
    place: Path
    """Where its files of that revision are."""

    def moved(self, path: Path) -> Path:
        """Where *path* is in the checkout, if it is in the repository and the revision has it; else itself."""
        try:
            inside = self.place / path.resolve().relative_to(self.root)
        except ValueError:
            return path
        return inside if inside.exists() else path

    def import_path(self) -> str:
        """A ``PYTHONPATH`` by which everything that is imported from the repository is that of the revision."""
        found = dict[str, None]()
        for entry in sys.path:
            path = Path(entry or ".").resolve()
            if (moved := self.moved(path)) != path:
                found[str(moved)] = None
        for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep):
            if entry:
                found[str(self.moved(Path(entry)))] = None
        return os.pathsep.join(found)


def root_of(folder: Path) -> Path | None:
    """The top of the repository that a folder is in; ``None`` if it is in none, or there is no git.

    Raises `UsageError` if git does not say, as for a repository of another user.
    """
    try:
        found = _git(folder, "rev-parse", "--show-toplevel")
    except FileNotFoundError:
        return None
    if found.returncode and "not a git repository" not in found.stderr:
        raise UsageError(
            f"git does not read the repository that {folder} is in; {' '.join(found.stderr.split())}"
        )
    return Path(found.stdout.strip()).resolve() if found.stdout.strip() else None


def commit_of(root: Path, revision: str) -> str | None:
    """The id of the commit that *revision* names; ``None`` if it names none."""
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return found.stdout.strip() or None if found.returncode == 0 else None


def check_out(root: Path, commit: str, folder: Path) -> Checkout:
    """Write the files of a commit to *folder*, a new one. Raises `ReplayError`.

    An index of its own is used, so neither the working tree nor the index nor the list of work trees is touched, and
    nothing is left over when a process is killed but a temporary folder.
    """
    folder.mkdir(parents=True)
    index = {"GIT_INDEX_FILE": str(folder.with_name(f"{folder.name}.index"))}
    for words in (
        ("read-tree", commit),
        ("checkout-index", "--all", "--quiet", f"--prefix={folder}{os.sep}"),
    ):
        done = _git(root, *words, more=index)
        if done.returncode:
            raise ReplayError(f"commit {commit[:10]} cannot be written out: {done.stderr.strip()}")
    return Checkout(root, folder.resolve())


def _git(
    folder: Path, *words: str, more: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", **(more or {})},
        )
    except PermissionError as failure:
        raise UsageError(f"git cannot be run: {failure}; compare apps by MODULE:NAME") from failure
