"""Replays: a read model built anew beside the live one, compared with it, switched with it and back.

What has steps is `ReplayManager`, which is ``app.replays``; everything else here is what it is given and gives back.
"""

from penstock.projections.elsewhere import ElsewhereReadModel
from penstock.replays.abc import (
    Column,
    Comparing,
    CopiedTable,
    Finding,
    Outcome,
    Part,
    Play,
    Replay,
    ReplayProgress,
    ReplayState,
    RowDifference,
    Severity,
    Switched,
    TableDifference,
    Verification,
)
from penstock.replays.at import PastTable, ReadModelAt
from penstock.replays.diffing.values import Difference, Side
from penstock.replays.elsewhere_valkey import HashReadModel
from penstock.replays.manager import ReplayManager
from penstock.replays.values import ReplayDeed, ReplayPlan
from penstock.replays.verifying import Check

__all__ = [
    "Check",
    "Column",
    "Comparing",
    "CopiedTable",
    "Difference",
    "ElsewhereReadModel",
    "Finding",
    "HashReadModel",
    "Outcome",
    "Part",
    "PastTable",
    "Play",
    "ReadModelAt",
    "Replay",
    "ReplayDeed",
    "ReplayManager",
    "ReplayPlan",
    "ReplayProgress",
    "ReplayState",
    "RowDifference",
    "Severity",
    "Side",
    "Switched",
    "TableDifference",
    "Verification",
]
