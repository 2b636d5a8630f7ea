"""Names of tables and columns, written so that both databases take them as they are."""

__all__ = ["quoted", "quoted_path"]


def quoted(name: str) -> str:
    """One name: in quotes, with those in it doubled."""
    return '"' + name.replace('"', '""') + '"'


def quoted_path(name: str) -> str:
    """A name with its schema before a dot, if it has one."""
    return ".".join(map(quoted, name.split(".")))
