"""``penstock.replays`` has what users name: all that a manager is given and gives back."""

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from typing import Any

from penstock import replays
from penstock.projections import ElsewhereReadModel
from penstock.replays import ReplayManager


def test_what_a_manager_takes_and_gives_is_exported() -> None:
    """Every class of the package that a public method names, and what the fields of these are."""
    found: set[str] = set()
    for name, method in inspect.getmembers(ReplayManager, inspect.isfunction):
        if not name.startswith("_"):
            hints = typing.get_type_hints(method)
            found |= {each.__name__ for hint in hints.values() for each in classes_in(hint, set())}
    assert {"Part", "Verification", "RowDifference", "ReplayProgress", "ReadModelAt"} <= found
    assert found - set(replays.__all__) == set()
    assert replays.ElsewhereReadModel is ElsewhereReadModel
    assert issubclass(replays.HashReadModel, ElsewhereReadModel)


def classes_in(hint: Any, seen: set[type]) -> Iterator[type]:
    """The public classes of the package in an annotation, with those in their fields."""
    arguments = typing.get_args(hint)
    for each in arguments:
        yield from classes_in(each, seen)
    if isinstance(hint, list):  # the parameters of a function that is given
        for each in hint:
            yield from classes_in(each, seen)
    if arguments or not isinstance(hint, type) or hint in seen:
        return
    if not hint.__module__.startswith("penstock.replays") or hint.__name__.startswith("_"):
        return
    seen.add(hint)
    yield hint
    if dataclasses.is_dataclass(hint):
        for kind in typing.get_type_hints(hint).values():
            yield from classes_in(kind, seen)
