"""What is compared is what was held: the look at both generations is one at the positions that were agreed on."""

import pytest

from penstock.errors import ReplayBusyError
from penstock.replays._meeting import Meeting
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import projected

_LIVE = (
    "INSERT INTO penstock_checkpoints (projection, generation, kind, source, version, position, sources) "
    "SELECT projection, '', kind, source, version, {}, sources FROM penstock_checkpoints"
)


@pytest.mark.covers("ZDT-9")
@pytest.mark.parametrize(
    ("live", "copied", "moved"), [(None, 1, "its copy"), (8, 7, "the live"), (7, 8, "its copy")]
)
def test_a_look_at_another_position_than_the_held_one_is_none(
    bench: Bench, live: int | None, copied: int, moved: str
) -> None:
    """Whoever moved a checkpoint all the same: there is no report then that says of two places what is of one."""
    bench.sql("CREATE TABLE totals (customer text PRIMARY KEY, mark text)")
    copy = bench.made(projected("totals", marks="new"))
    at = 0 if live is None else 7
    if live is not None:
        bench.sql(_LIVE.format(live))
    bench.sql(f"UPDATE penstock_checkpoints SET position = {copied} WHERE generation <> ''")
    with bench.transaction() as connection:
        held = Meeting({"totals": at}, connection, connection)
        with pytest.raises(ReplayBusyError, match=f"{moved}.* of projection 'totals'"), copy.comparing(held):
            raise AssertionError(held)
        bench.sql(f"UPDATE penstock_checkpoints SET position = {at}")
        with copy.comparing(held) as comparing:
            assert comparing.live(copy.tables[0]) == '"public"."totals"'
