"""The oldest PostgreSQL that is promised: what the engine's statements rest on holds there as well."""

import pytest

from penstock.store.abc import StoreBackend
from tests.projections.engine.test_faults import test_a_connection_lost_at_any_statement_counts_exactly
from tests.projections.engine.test_kill import (
    forked,
    processes,
    test_a_killed_runner_is_replaced,
    test_a_process_killed_around_a_commit_counts_exactly,
    test_a_stopped_process_that_wakes_up_changes_nothing,
)
from tests.projections.engine.test_leases import (
    test_a_clock_that_jumps_neither_stops_a_projection_nor_lets_two_commit,
    test_a_process_killed_in_a_page_is_replaced_long_before_its_lease_ends,
    test_a_process_that_stands_still_is_not_taken_for_dead,
    test_on_postgresql_a_session_that_is_gone_is_proof_enough,
)
from tests.projections.engine.test_policies import test_park_holds_the_key_and_lets_others_go_on
from tests.projections.engine.test_run import (
    runs,
    test_a_runner_whose_lease_ran_out_changes_nothing,
    test_everything_is_handled_once_and_in_order,
)
from tests.projections.engine.test_supervisor import test_delete_removes_the_row_and_the_read_model

__all__ = [
    "forked",
    "processes",
    "runs",
    "test_a_clock_that_jumps_neither_stops_a_projection_nor_lets_two_commit",
    "test_a_connection_lost_at_any_statement_counts_exactly",
    "test_a_killed_runner_is_replaced",
    "test_a_process_killed_around_a_commit_counts_exactly",
    "test_a_process_killed_in_a_page_is_replaced_long_before_its_lease_ends",
    "test_a_process_that_stands_still_is_not_taken_for_dead",
    "test_a_runner_whose_lease_ran_out_changes_nothing",
    "test_a_stopped_process_that_wakes_up_changes_nothing",
    "test_delete_removes_the_row_and_the_read_model",
    "test_everything_is_handled_once_and_in_order",
    "test_on_postgresql_a_session_that_is_gone_is_proof_enough",
    "test_park_holds_the_key_and_lets_others_go_on",
]


@pytest.fixture
def store(oldest_store: StoreBackend) -> StoreBackend:
    """An open store of its own there."""
    return oldest_store
