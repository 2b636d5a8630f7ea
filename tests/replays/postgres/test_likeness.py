"""Tables known by name are copied as production has them; read models that make their own, make them in the copy."""

from contextlib import closing
from typing import Any

import pytest

from penstock.errors import IsolationError, ReplayError
from penstock.projections import Projection, ReadModel
from penstock.replays.abc import Candidate
from tests.projections.shop import OrderPlaced
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.shapes import placed, quietly, running, shape


@pytest.mark.covers("ZDT-2")
def test_a_table_that_is_known_by_name_is_like_production(bench: Bench) -> None:
    """Columns, defaults, generated ones, keys and indexes with their names; only sequences and rows are its own."""
    bench.sql(
        'CREATE SCHEMA "Sales.1"',
        "CREATE SEQUENCE shared START 50 INCREMENT 5",
        "CREATE TYPE mood AS ENUM ('good')",
        "CREATE TABLE regions (id integer PRIMARY KEY)",
        """CREATE TABLE customers (
            id serial CONSTRAINT the_key PRIMARY KEY,
            big bigserial,
            number integer GENERATED ALWAYS AS IDENTITY (START WITH 30),
            code text NOT NULL DEFAULT 'C-' || nextval('shared'),
            other integer DEFAULT nextval('shared'),
            mood mood DEFAULT 'good',
            twice integer GENERATED ALWAYS AS (1 + 1) STORED,
            region integer CONSTRAINT of_region REFERENCES regions DEFAULT NULL,
            boss integer CONSTRAINT of_boss REFERENCES customers ON DELETE SET NULL,
            during int4range,
            CONSTRAINT odd CHECK (big <> 13), CONSTRAINT one_code UNIQUE (code),
            CONSTRAINT apart EXCLUDE USING gist (during WITH &&)
        ) WITH (fillfactor = 70)""",
        'CREATE UNIQUE INDEX "By Code" ON customers (lower(code)) INCLUDE (id) WHERE id > 0',
        "CREATE INDEX ON customers (region DESC NULLS LAST)",
        "CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers ON DELETE CASCADE)",
        "INSERT INTO customers (code) VALUES ('x')",
    )
    projection = running("INSERT INTO customers (boss) VALUES (NULL)", "orders", "customers")
    copy = bench.made(projection)
    bench.play(copy, projection, placed(), placed())
    copy.finish()
    for name in ("customers", "orders"):
        assert shape(bench, f"{copy.where}.{name}") == shape(bench, f"public.{name}")
    found = bench.in_copy(
        copy, "SELECT id, big, number, code, other, mood::text, twice FROM customers ORDER BY id"
    )
    assert found == [(1, 1, 30, "C-50", 55, "good", 2), (2, 2, 31, "C-60", 65, "good", 2)]
    assert bench.rows("SELECT last_value FROM shared") == [(50,)]
    keys = bench.rows(
        "SELECT conname::text, confrelid::regclass::text FROM pg_constraint "
        f"WHERE contype = 'f' AND connamespace = '{copy.where}'::regnamespace ORDER BY 1"
    )
    assert keys == [
        ("of_boss", f"{copy.where}.customers"),
        ("of_region", "regions"),
        ("orders_customer_fkey", f"{copy.where}.customers"),
    ]
    assert bench.rows(f"SELECT reloptions FROM pg_class WHERE oid = '{copy.where}.customers'::regclass") == [
        (["fillfactor=70"],)
    ]
    copy.drop()
    assert bench.schemas() == []
    assert bench.rows("SELECT code FROM customers") == [("x",)]
    bench.sql("INSERT INTO customers DEFAULT VALUES")


@pytest.mark.covers("ZDT-2", "ZDT-3")
def test_triggers_that_shape_a_row_are_copied_and_others_are_not(bench: Bench) -> None:
    """What is done before a row is written makes it what it is; what is done afterwards is done elsewhere."""
    bench.sql(
        "CREATE TABLE audit (what text)",
        "CREATE TABLE totals (customer text PRIMARY KEY, shout text)",
        "CREATE FUNCTION shouting() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.shout := upper(NEW.customer); RETURN NEW; END $$",
        "CREATE FUNCTION noting() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO audit VALUES (NEW.customer); RETURN NULL; END $$",
        'CREATE TRIGGER "Shape ON public.totals" BEFORE INSERT OR UPDATE OF customer ON totals '
        "FOR EACH ROW EXECUTE FUNCTION shouting()",
        "CREATE TRIGGER afterwards AFTER INSERT ON totals FOR EACH ROW EXECUTE FUNCTION noting()",
        "CREATE TRIGGER once BEFORE INSERT ON totals FOR EACH STATEMENT EXECUTE FUNCTION noting()",
    )
    projection = running("INSERT INTO totals VALUES (%(customer)s)", "totals")
    copy = bench.made(projection)
    bench.play(copy, projection, placed())
    assert bench.in_copy(copy, "SELECT * FROM totals") == [("ann", "ANN")]
    assert bench.rows("SELECT * FROM audit") == []


@pytest.mark.covers("ZDT-2")
@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT 1", "there is none"),
        ("CREATE VIEW totals AS SELECT 1 AS n", "a view"),
        ("CREATE MATERIALIZED VIEW totals AS SELECT 1 AS n", "a materialized view"),
        ("CREATE TABLE totals (n integer) PARTITION BY RANGE (n)", "partitioned"),
        ("CREATE TABLE totals (n integer); CREATE TABLE more () INHERITS (totals)", "inheritance"),
    ],
)
def test_what_is_no_plain_table_is_refused_by_name(bench: Bench, sql: str, why: str) -> None:
    """With the reason; nothing is made."""
    bench.sql(*sql.split("; "))
    projection = quietly("totals")
    copy = bench.copy(projection)
    with pytest.raises(ReplayError, match=f"public.totals cannot be copied: .*{why}"):
        copy.create(bench.candidates(copy, projection))
    assert bench.schemas() == []


class OwnTables(ReadModel):
    """Makes two tables, one with a key to a table of others."""

    def is_initialised(self) -> bool:
        """As most would write it."""
        found = self.connection.execute("SELECT to_regclass('tally')").fetchone()
        return found[0] is not None

    def init(self) -> None:
        """Tables, a sequence and a function."""
        self.connection.execute("CREATE SEQUENCE turns")
        self.connection.execute(
            "CREATE TABLE tally (customer text PRIMARY KEY, n integer, turn integer DEFAULT nextval('turns'))"
        )
        self.connection.execute("CREATE TABLE notes (what text)")
        self.connection.execute("CREATE VIEW best AS SELECT * FROM tally")
        self.connection.execute(
            "CREATE FUNCTION twice(integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * $1'"
        )


@pytest.mark.covers("ZDT-2", "ZDT-13")
@pytest.mark.parametrize("is_live_first", [False, True])
def test_tables_that_a_read_model_makes_itself_are_made_in_the_copy(
    bench: Bench, is_live_first: bool
) -> None:
    """They are found there, and go with it."""
    projection = Projection("tally", read_model=OwnTables)

    @projection.on(OrderPlaced)
    def count(order: OrderPlaced, model: OwnTables) -> None:
        model.connection.execute(
            "INSERT INTO tally VALUES (%s, twice(1)) ON CONFLICT (customer) DO UPDATE SET n = tally.n + 1",
            (order.customer,),
        )

    if is_live_first:
        bench.live(projection, placed())
    copy = bench.made(projection)
    assert [(each.name, each.schema) for each in copy.tables] == [("tally", "public"), ("notes", "public")]
    bench.play(copy, projection, placed(), placed())
    assert bench.in_copy(copy, "SELECT * FROM best") == [("ann", 3, 1)]
    again = bench.copy(projection)
    assert again.exists()
    assert [each.name for each in again.tables] == ["tally", "notes"]
    if not is_live_first:
        bench.live(projection, placed())
    assert bench.rows("SELECT * FROM best") == [("ann", 2, 1)]
    copy.drop()
    assert bench.schemas() == []
    assert bench.rows("SELECT * FROM best") == [("ann", 2, 1)]


@pytest.mark.covers("ZDT-3")
def test_a_read_model_that_makes_tables_of_production_is_refused(bench: Bench) -> None:
    """Its `init` names a schema."""

    class Stray(ReadModel):
        def is_initialised(self) -> bool:
            return False

        def init(self) -> None:
            self.connection.execute("CREATE TABLE public.stray (n integer)")

    projection = quietly(read_model=Stray)
    copy = bench.copy(projection)
    with pytest.raises(ReplayError, match=r"public\.stray"):
        copy.create(bench.candidates(copy, projection))
    assert bench.schemas() == []
    assert bench.rows("SELECT to_regclass('public.stray')") == [(None,)]


@pytest.mark.covers("ZDT-2", "ZDT-3")
def test_a_database_with_another_search_path_has_copies_as_well(bench: Bench) -> None:
    """Our tables in a schema of their own, live tables wherever the path finds them."""
    bench.sql("CREATE SCHEMA ours", "CREATE SCHEMA shop", "CREATE TABLE shop.prices (cents integer)")
    bench.sql("INSERT INTO shop.prices VALUES (7)", "CREATE TABLE public.totals (no integer)")
    url = f"{bench.url}&options=-csearch_path%3Dshop,ours"
    with closing(Bench(url)) as other:
        other.sql("CREATE TABLE totals (customer text PRIMARY KEY, cents integer)")
        for table in ("checkpoints", "projections", "projection_failures"):
            other.sql(f"CREATE TABLE ours.penstock_{table} (LIKE public.penstock_{table} INCLUDING ALL)")
        projection = running("INSERT INTO totals SELECT %(customer)s, cents FROM prices", "totals")
        copy = other.made(projection)
        assert [each.shown for each in copy.tables] == ["shop.totals"]
        other.play(copy, projection, placed())
        assert other.in_copy(copy, "SELECT * FROM totals") == [("ann", 7)]
        assert other.rows("SELECT * FROM totals") == []
        stray = running("INSERT INTO shop.totals VALUES ('x', 1)", "totals")
        with pytest.raises(IsolationError, match=r"shop\.totals, the live one"):
            other.play(copy, stray, placed())
        copy.drop()


def test_isolation_of_what_was_never_made(bench: Bench) -> None:
    """Pages of a copy that is gone are refused: there is nothing else than production to write to."""
    bench.sql("CREATE TABLE totals (n integer)")
    projection = running("INSERT INTO totals VALUES (1)", "totals")
    copy = bench.copy(projection)
    with pytest.raises(IsolationError):
        bench.play(copy, projection, placed())
    assert bench.rows("SELECT * FROM totals") == []


@pytest.mark.covers("ZDT-2")
def test_a_table_that_has_no_children_any_more_is_copied(bench: Bench) -> None:
    """The server goes on to say for a while that it may have some."""
    bench.sql("CREATE TABLE totals (n integer)", "CREATE TABLE more () INHERITS (totals)", "DROP TABLE more")
    assert bench.rows("SELECT relhassubclass FROM pg_class WHERE relname = 'totals'") == [(True,)]
    copy = bench.made(quietly("totals"))
    assert bench.in_copy(copy, "SELECT * FROM totals") == []


class Plain:
    """Handlers of nobody's making, which see to their tables themselves; *also* is run with that."""

    projection, names = "totals", None

    def __init__(self, also: str = "SELECT 1") -> None:
        self.also = also

    def prepare(self, connection: Any) -> None:
        """What is missing is made."""
        connection.execute("CREATE TABLE IF NOT EXISTS tally (n integer)")
        connection.execute(self.also.encode())

    def begin(self, connection: Any, *, state: bytes | None, generation: str = "") -> Any:
        """No page is ever handled."""
        raise AssertionError(generation)

    def reset(self, connection: Any, *, delete: bool = False, emitted: bool = False) -> None:
        """Nor is anything taken out."""
        raise AssertionError(emitted)


@pytest.mark.covers("ZDT-2", "ZDT-3")
def test_handlers_of_another_kind_make_their_tables_in_the_copy(bench: Bench) -> None:
    """Also beside tables that are copied from production, which reads those; and what they write outside is named."""
    bench.sql("CREATE TABLE totals (n integer)")
    copy = bench.copy(quietly("totals"))
    with pytest.raises(ReplayError, match=r"wrote table public\.totals"):
        copy.create([Candidate(quietly().plan, copy.guard(Plain("INSERT INTO public.totals VALUES (1)")))])
    assert bench.schemas() == []
    copy.create([Candidate(quietly().plan, copy.guard(Plain()))])
    copy.create([Candidate(quietly().plan, copy.guard(Plain()))])
    assert [each.shown for each in copy.tables] == ["public.totals", "public.tally"]
    assert bench.in_copy(copy, "SELECT * FROM tally") == []
    assert bench.rows("SELECT to_regclass('public.tally')") == [(None,)]
    with (
        pytest.raises(IsolationError, match=r"public\.tally, the live one"),
        bench.transaction() as connection,
    ):
        copy.guard(Plain()).prepare(connection)
