"""Options that several commands have, said once so that they read the same everywhere."""

from typing import Annotated

import typer

__all__ = ["DryRun", "Pool", "Yes"]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
Pool = Annotated[str | None, typer.Option("--pool", metavar="NAME", help="Only in this pool.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
