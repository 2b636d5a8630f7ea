"""The command line: one face of `penstock.operations`, on Typer and rich, which are imported nowhere else."""

from penstock.cli._main import main

__all__ = ["main"]
