"""Two versions of a projection over the same events, before either is deployed: `diff`, and what it found."""

from penstock.replays.diffing._diffing import Comparison, diff
from penstock.replays.diffing._events import Chosen
from penstock.replays.diffing._exchange import COMMAND, Answer, Request, build_side
from penstock.replays.diffing.values import Difference, Side

__all__ = [
    "COMMAND",
    "Answer",
    "Chosen",
    "Comparison",
    "Difference",
    "Request",
    "Side",
    "build_side",
    "diff",
]
