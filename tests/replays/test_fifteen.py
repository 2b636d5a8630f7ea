"""The oldest PostgreSQL that is promised: meeting and comparing rest on what holds there as well."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from penstock.store.abc import StoreBackend
from tests.fixtures_postgres import PostgresServer, databases_in
from tests.replays.test_meeting import (
    test_both_are_held_at_one_position,
    test_several_projections_are_held_each_at_its_own_position,
)
from tests.replays.test_meeting_ahead import test_a_copy_that_is_ahead_stands_until_the_live_one_comes
from tests.replays.test_meeting_load import test_they_meet_under_full_load
from tests.replays.verifying.sides import SchemaSides
from tests.replays.verifying.test_differences import (
    test_any_key_that_both_have_will_do,
    test_exactly_what_was_changed_is_found,
    test_values_are_compared_and_not_how_they_are_written,
)
from tests.replays.verifying.test_verify import (
    test_a_fault_in_a_handler_is_named_by_key_and_column,
    test_checks_that_cannot_be_run_are_not_green,
    test_what_is_committed_later_is_not_seen,
)

__all__ = [
    "test_a_copy_that_is_ahead_stands_until_the_live_one_comes",
    "test_a_fault_in_a_handler_is_named_by_key_and_column",
    "test_any_key_that_both_have_will_do",
    "test_both_are_held_at_one_position",
    "test_checks_that_cannot_be_run_are_not_green",
    "test_exactly_what_was_changed_is_found",
    "test_several_projections_are_held_each_at_its_own_position",
    "test_they_meet_under_full_load",
    "test_values_are_compared_and_not_how_they_are_written",
    "test_what_is_committed_later_is_not_seen",
]


@pytest.fixture
def store(oldest_store: StoreBackend) -> StoreBackend:
    """An open store of its own there."""
    return oldest_store


@pytest.fixture
def sides(oldest_postgres: PostgresServer) -> Iterator[SchemaSides]:
    """Two empty schemas there."""
    with databases_in(oldest_postgres) as make, closing(SchemaSides(make())) as found:
        found.clear()
        yield found
