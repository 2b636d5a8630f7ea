"""The app's data folder: whatever is kept there first makes it, and always alike."""

from pathlib import Path

__all__ = ["make_data_folder"]


def make_data_folder(path: Path) -> None:
    """Make the folder if it is not there: for this user alone, and left out of the project's history.

    A folder that is there already stays as it is. Raises `OSError`.
    """
    if path.is_dir():
        return
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What is in here belongs to this machine; a project's history is not the place for it.
    (path / ".gitignore").write_text("*\n", encoding="utf-8")
