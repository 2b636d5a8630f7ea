"""One command line of the table that `test_conventions` goes through."""

from dataclasses import dataclass, field

from tests.cli.conftest import order

__all__ = ["ORDERS", "Case"]

ORDERS = f"{order('1')}\n{order('2')}\n"
"""Lines of standard input."""


@dataclass(frozen=True)
class Case:
    """A command line, what was there before it, and how it ends."""

    words: str
    code: int
    given: str = "orders"
    """``orders``: two are in the stream; ``failed``: both failed; ``nothing``; ``no app``; ``archive``: two more are in
    an archive; ``store``: two events are in the event store, and in a file that was exported; ``replay`` and a state: a
    read model is live, and its replay ``k`` is in that state."""
    stdin: str = ""
    keys: tuple[str, ...] = field(default=())
    """What the JSON document has, besides what every document has."""
