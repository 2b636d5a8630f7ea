"""Every layout that comes along keeps what a layout promises."""

import pytest

from penstock.streams.layouts import LAYOUTS, KeyedLayout, LaravelStreamerLayout, Layout
from penstock.testing.contracts import LayoutContract

EVERY = [*LAYOUTS.values(), LaravelStreamerLayout(envelope=True), KeyedLayout(LAYOUTS["beeorm"], "order_id")]


@pytest.mark.covers("MSG-10", "MSG-11")
class TestEveryLayout(LayoutContract):
    """One after the other."""

    @pytest.fixture(params=EVERY, ids=lambda layout: f"{type(layout).__name__}")
    def layout(self, request: pytest.FixtureRequest) -> Layout:
        """The layout under test."""
        found: Layout = request.param
        return found
