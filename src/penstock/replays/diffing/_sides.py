"""What the two sides of a comparison are: revisions of a repository, apps, or projections of the app that asks."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from penstock.errors import UsageError
from penstock.replays.diffing._checkouts import commit_of, root_of

__all__ = ["Asked", "Here", "NamedApp", "Revision", "asked"]

_PROJECTION: Final = "projection:"


@dataclass(frozen=True, slots=True)
class Here:
    """The app that asks, as it is loaded; or another projection of it."""

    label: str = ""
    projection: str = ""
    """In place of the one that is compared."""


@dataclass(frozen=True, slots=True)
class NamedApp:
    """Another app that can be imported: ``module:app``."""

    label: str


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit of the repository that the current folder is in."""

    label: str
    commit: str
    root: Path


Asked: TypeAlias = Here | NamedApp | Revision


def asked(text: str, folder: Path) -> Asked:
    """What *text* means for one who works in *folder*. Raises `UsageError` if it is nothing."""
    if text in ("", "."):
        return Here()
    if text.startswith(_PROJECTION):
        return Here(text, text.removeprefix(_PROJECTION))
    if ":" in text:
        return NamedApp(text)
    root = root_of(folder)
    if root is not None and (commit := commit_of(root, text)) is not None:
        return Revision(text, commit, root)
    if _is_module(text, folder):
        return NamedApp(text)
    if root is None:
        raise UsageError(
            f"{text!r} is no module, and {folder} is in no git repository; name an app by MODULE:NAME, or run this "
            "in a checkout"
        )
    raise UsageError(
        f"{text!r} is neither a revision of the repository in {root} nor a module; in a shallow clone fetch it first "
        "(git fetch --depth=1 origin NAME, or fetch-depth: 0 in the checkout step)"
    )


def _is_module(text: str, folder: Path) -> bool:
    if not all(part.isidentifier() for part in text.split(".")):
        return False
    place = folder.joinpath(*text.split("."))
    if place.with_suffix(".py").exists() or (place.is_dir() and any(place.glob("*.py"))):
        return True
    try:
        return importlib.util.find_spec(text) is not None
    except (ImportError, ValueError):
        return False
