"""Everything penstock raises: one tree, drawn in the docstring; facts are kept, remedies named, and errors travel."""

import copy
import inspect
import pickle
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from penstock import errors
from penstock.errors import PenstockError

ERRORS: list[type[PenstockError]] = [getattr(errors, name) for name in errors.__all__]
SAMPLES: dict[str, Any] = {
    "str": "sample",
    "str | None": "sample",
    "int": 7,
    "datetime.timedelta": timedelta(seconds=7),
    "Sequence[str]": ("first", "second"),
    "Sequence[str | None]": ("first", None),
    "Sequence[BaseException | None]": (None, OSError("gone")),
}


def drawn() -> Iterator[tuple[str, str]]:
    """Each class in the docstring's tree with the one it hangs from."""
    above: list[str] = []
    tree = re.search(r"```text\n(.*?)```", errors.__doc__ or "", re.S)
    assert tree, "the docstring draws the tree"
    for line in tree[1].splitlines():
        branch, name = re.findall(r"^([│├└─ ]*)(\w+)", line)[0]
        depth = len(branch) // 4
        del above[depth:]
        yield name, above[-1] if above else "Exception"
        above.append(name)


def annotation(parameter: inspect.Parameter) -> str:
    """How the parameter's type is written in errors.py."""
    return inspect.formatannotation(parameter.annotation).replace("collections.abc.", "")


def made(cls: type[PenstockError]) -> tuple[PenstockError, dict[str, Any]]:
    """An error of this class, and the facts it was made from."""
    if "__init__" not in vars(cls):
        return cls("what happened; what to do"), {}
    parameters = inspect.signature(cls).parameters.values()
    facts = {parameter.name: SAMPLES[annotation(parameter)] for parameter in parameters}
    return remade(cls, facts), facts


def remade(cls: type[PenstockError], facts: dict[str, Any]) -> PenstockError:
    """An error of this class with these facts."""
    parameters = inspect.signature(cls).parameters.values()
    plain = [
        facts[parameter.name] for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY
    ]
    named = {
        parameter.name: facts[parameter.name]
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return cls(*plain, **named)


@pytest.fixture(params=ERRORS, ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> type[PenstockError]:
    """Each error class in turn."""
    kind: type[PenstockError] = request.param
    return kind


def test_the_drawn_tree_is_the_tree() -> None:
    """The docstring shows each class once, below the one it inherits from, and says which are also transient."""
    shown = dict(drawn())
    transient = {"TransientError"}
    assert shown.keys() == {cls.__name__ for cls in ERRORS} - transient
    assert {cls.__name__: cls.__bases__[0].__name__ for cls in ERRORS if cls.__name__ in shown} == shown
    both = {cls.__name__ for cls in ERRORS if errors.TransientError in cls.__bases__}
    said = set(re.findall(r"(\w+) +also a TransientError", errors.__doc__ or ""))
    assert said == both


def test_every_error_of_the_module_is_exported() -> None:
    """Whatever may be raised can be caught by a name that users may import."""
    classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    assert classes == set(errors.__all__)


def test_an_error_is_a_penstock_error_with_a_docstring(cls: type[PenstockError]) -> None:
    """One `except PenstockError` catches all of them, and each says what it means."""
    assert issubclass(cls, PenstockError)
    assert cls.__doc__
    assert "__doc__" in vars(cls)


def test_an_error_keeps_the_facts_it_was_raised_with(cls: type[PenstockError]) -> None:
    """What a caller may want to act on is an attribute, by the name it was given under; it is also in the message."""
    error, facts = made(cls)
    for name, fact in facts.items():
        kept = getattr(error, name)
        assert kept == fact, f"{cls.__name__}.{name}"
    assert str(error)


def test_a_message_names_the_thing(cls: type[PenstockError]) -> None:
    """Each fact of a single value can be read in the message: nobody has to guess which stream was meant."""
    error, facts = made(cls)
    for name, fact in facts.items():
        if isinstance(fact, (str, int)):
            told = facts | {name: "another" if isinstance(fact, str) else 1234}
            assert str(remade(cls, told)) != str(error), f"{cls.__name__} does not tell {name}"


def test_an_error_survives_a_copy_and_another_process(cls: type[PenstockError]) -> None:
    """Raised in a process pool, an error arrives in the parent as itself, with message and facts."""
    error, facts = made(cls)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is cls
        assert str(twin) == str(error)
        for name in facts:
            assert repr(getattr(twin, name)) == repr(getattr(error, name))
