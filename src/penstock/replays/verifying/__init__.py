"""Comparing a copy with the live read model: differences by key and column, checks, sampled queries, the report."""

from penstock.replays.verifying._checks import Check
from penstock.replays.verifying._verifying import rows_of, verify
from penstock.replays.verifying.differences import Only, difference, differences
from penstock.replays.verifying.reports import keep, latest

__all__ = ["Check", "Only", "difference", "differences", "keep", "latest", "rows_of", "verify"]
