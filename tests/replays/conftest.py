"""What the tests of replays share: an open store of each kind."""

from tests.projections.engine.conftest import store

__all__ = ["store"]
