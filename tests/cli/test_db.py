"""``penstock db``: which schema changes a database has had, and applying those it lacks."""

import psycopg
import pytest

from penstock.store import migrating
from tests.cli.conftest import Project


@pytest.fixture
def served(shop: Project, postgres_database: str) -> Project:
    """A project whose shared store is an empty PostgreSQL database."""
    shop.write("penstock.toml", f'[stores.shared]\nurl = "{postgres_database}"\n')
    return shop


NAMES = [each.name for each in migrating.migrations("postgresql")]


def test_a_database_without_tables_is_told_and_mended(served: Project) -> None:
    """Until it is migrated nothing works there, and every message names the command; after it everything does."""
    [local, shared] = served("db", "status", "--json").document["items"]
    assert (local["store"], local["is_good"]) == ("local", True)
    assert (shared["pending"], shared["applied"], shared["is_good"]) == (NAMES, [], False)
    assert shared["server"].startswith("PostgreSQL 18")
    people = served("db", "status")
    assert (people.code, "penstock db migrate --store shared" in people.err) == (1, True)
    refused = served("store", "show", "--store", "shared")
    assert (refused.code, "penstock db migrate --store shared" in refused.err) == (1, True)

    planned = served("db", "migrate", "--dry-run", "--json").document
    assert [item["migrations"] for item in planned["items"] if item["store"] == "shared"] == [NAMES]
    assert served("db", "migrate", "--store", "shared").out == f"shared: applied {', '.join(NAMES)}\n"
    assert served("db", "migrate", "--store", "shared").out == "shared: has everything\n"
    assert served("db", "status", "--store", "shared").code == 0
    assert served("store", "show", "--store", "shared").code == 0


def test_the_statements_can_be_applied_by_hand(served: Project, postgres_database: str) -> None:
    """What `sql` prints is a script that does what `migrate` would, and is known to have been done."""
    script = served("db", "sql", "--store", "shared").out
    assert script.startswith(f"-- store shared, postgresql: {NAMES[0]}")
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(script.encode())
    assert served("db", "status", "--store", "shared").code == 0
    assert served("db", "sql", "--store", "shared").out == "-- store shared, postgresql: nothing is lacking\n"


def test_a_database_of_a_newer_version_is_told(served: Project, postgres_database: str) -> None:
    """Its migrations are unknown here: nothing is worked with, and the message says what to install."""
    assert served("db", "migrate", "--store", "shared").code == 0
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO penstock_migrations (number, name, checksum) VALUES (9000, '9000_later', 'x')"
        )
    ending = served("db", "status", "--store", "shared")
    assert (ending.code, "9000_later is unknown to this version" in ending.err) == (1, True)
    assert served("db", "migrate", "--store", "shared").code == 1


def test_an_embedded_store_migrates_by_itself(shop: Project) -> None:
    """Nobody has to know of migrations who begins with a file; who asks is told."""
    [before] = shop("db", "status", "--json").document["items"]
    assert (before["exists"], before["is_good"]) == (False, True)
    assert "not there yet: the first use makes it" in shop("db", "status").out
    assert shop("store", "append", "order.placed", '{"order_id":"1"}').code == 0
    [after] = shop("db", "status", "--json").document["items"]
    assert (after["exists"], after["pending"], after["is_good"]) == (True, [], True)
    assert [each["name"] for each in after["applied"]] == [
        each.name for each in migrating.migrations("sqlite")
    ]


def test_a_database_that_is_away_is_told_beside_the_others(shop: Project) -> None:
    """One store that cannot be reached does not hide the rest."""
    shop.write("penstock.toml", '[stores.away]\nurl = "postgresql://127.0.0.1:1/x"\n')
    ending = shop("db", "status", "--json")
    assert ending.code == 1
    [local, away] = ending.document["items"]
    assert (local["is_good"], away["is_good"], len(away["problems"])) == (True, False, 1)
