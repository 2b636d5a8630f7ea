"""The page on servers has a result for each backend that is tested, and all of them are good."""

import re

import pytest

from tests.streams.valkey.test_contract import BACKENDS
from tools.servers import COLUMNS, PAGE, Counts, counted, page

REPORT = """<testsuites><testsuite>
<testcase classname="tests.x.TestBroker" name="test_a[valkey-adopted]"/>
<testcase classname="tests.x.TestBroker" name="test_b[a:b-valkey-adopted]"><failure>no</failure></testcase>
<testcase classname="tests.x.TestBroker" name="test_a[cluster-adopted-orders{eu}]"/>
<testcase classname="tests.test_memory_contract.TestMemoryFailures" name="test_c"/>
<testcase classname="tests.x.TestFailures" name="test_of_no_backend"/>
</testsuite></testsuites>"""


@pytest.mark.covers("LEAD-10")
def test_the_page_names_every_backend_and_no_failure() -> None:
    """Redis 7 is there where the machine that made the page has it."""
    text = PAGE.read_text(encoding="utf-8")
    wanted = {"-".join(backend) for backend in BACKENDS} - {"redis7-adopted"} | {"memory"}
    assert [backend for backend in sorted(wanted) if f"(`{backend}`)" not in text] == []
    table = text.partition("## Tests passed")[2]
    assert "**" not in table
    rows = re.findall(r"^\| \w+ \|(.+)\|$", table, flags=re.M)
    assert len(rows) > 2
    assert all(cell.strip().isdecimal() for row in rows[1:] for cell in row.split("|"))


def test_every_backend_that_is_tested_has_a_column() -> None:
    """One that is added to the tests is not left out of the page without a word."""
    assert {"-".join(backend) for backend in BACKENDS} <= {column.backend for column in COLUMNS}


def test_a_report_is_counted_by_suite_and_backend() -> None:
    """A failure is shown, with what it fell short of."""
    results = counted(REPORT)
    assert results == {
        "Broker": {"valkey-adopted": Counts(1, 2), "cluster-adopted": Counts(1, 1)},
        "Failures": {"memory": Counts(1, 1)},
    }
    text = page(results, {"valkey-adopted": "Valkey 9.1.2"})
    assert "| Broker | **1 of 2** | 1 |  |" in text
    assert "| Failures |  |  | 1 |" in text
    assert "Valkey 9.1.2" in text
