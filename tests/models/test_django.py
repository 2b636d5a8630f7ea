"""Changes of Django's models become events, in the transaction that makes them or after its commit."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.db import IntegrityError, connections, models, transaction

from penstock.errors import ConfigurationError, EncodeError
from penstock.models.django import change, emit_changes, events_of, without_change_events
from penstock.store import EventStore
from tests.models.django_settings import configure, database

configure()

from tests.models.djangoshop.models import Customer, Odd, Order  # noqa: E402  after the settings

T = TypeVar("T")

ROOT = Path(__file__).parent.parent.parent


class Shop:
    """Django on one database, in a thread of its own: it refuses to wait where an event loop runs."""

    def __init__(self, store: EventStore | None, url: str) -> None:
        self.store = store
        self._thread = ThreadPoolExecutor(1)
        self._url = url

    async def run(self, work: Callable[[], T]) -> T:
        """Work in the thread that the connection belongs to."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def open(self) -> None:
        """Make tables; have changes go through the store."""
        self._former = connections.settings["default"]
        asked = connections.configure_settings({"default": database(self._url)})
        connections.settings["default"] = asked["default"]
        with connections["default"].schema_editor() as editor:
            for model in (Customer, Order, Odd):
                editor.create_model(model)
        if self.store is not None:
            emit_changes("default", self.store)

    def close(self) -> None:
        """Disconnect."""
        connections["default"].close()
        del connections["default"]
        connections.settings["default"] = self._former

    def end(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def told(self) -> list[tuple[str, dict[str, Any]]]:
        """The names and bodies of everything in the store."""
        assert self.store is not None
        return [(each.name, each.payload) async for each in self.store.read()]


@pytest.fixture
async def shop(store: EventStore) -> Any:
    """A shop in each database."""
    made = Shop(store, store.database.url)
    await made.run(made.open)
    yield made
    await made.run(made.close)
    made.end()


@pytest.mark.covers("EMIT-6")
async def test_a_new_object_is_told_with_every_field(shop: Shop) -> None:
    """Before, each field was null; what is excluded stays out."""
    await shop.run(lambda: Customer.objects.create(name="Ann", password="secret"))
    fields = ["id", "name", "city", "balance", "visits"]
    assert await shop.told() == [
        (
            "customer.created",
            {
                "key": {"id": 1},
                "fields": fields,
                "before": dict.fromkeys(fields),
                "after": {
                    "id": 1,
                    "name": "Ann",
                    "city": None,
                    "balance": "0.00",
                    "visits": 0,
                },
                "additional": {"by": "tests"},
            },
        )
    ]
    assert shop.store is not None
    [event] = [each async for each in shop.store.read("customer-1")]
    assert event.decode(events_of(Customer).created).after["name"] == "Ann"


@pytest.mark.covers("EMIT-6")
async def test_an_update_is_told_with_the_fields_that_changed(shop: Shop) -> None:
    """As the rows were and are: what a query computes, what was not loaded, what was named to be written."""

    def work() -> None:
        Customer.objects.create(name="Ann")
        ann = Customer.objects.only("id").get()
        ann.name = "Anna"
        ann.visits = models.F("visits") + 2
        ann.save()
        other = Customer(pk=ann.pk, name="Anna", city="Łódź", visits=99)
        other.save(update_fields=["city"])

    await shop.run(work)
    [_, first, second] = await shop.told()
    assert (first[0], first[1]["before"], first[1]["after"]) == (
        "customer.updated",
        {"name": "Ann", "visits": 0},
        {"name": "Anna", "visits": 2},
    )
    assert (second[1]["fields"], second[1]["before"], second[1]["after"]) == (
        ["city"],
        {"city": None},
        {"city": "Łódź"},
    )


@pytest.mark.covers("EMIT-6")
async def test_a_deletion_is_told_however_it_happens(shop: Shop) -> None:
    """By the object, by a query over many, and by a cascade of Django's."""

    def work() -> None:
        ann = Customer.objects.create(name="Ann")
        Order.objects.create(customer=ann)
        ann.delete()
        for name in ("Bob", "Cid"):
            Customer.objects.create(name=name)
        Customer.objects.all().delete()

    await shop.run(work)
    gone = [(name, body) for name, body in await shop.told() if name.endswith("deleted")]
    assert sorted(name for name, _ in gone) == ["customer.deleted"] * 3 + ["order.deleted"]
    assert {body["before"]["name"] for name, body in gone if name == "customer.deleted"} == {
        "Ann",
        "Bob",
        "Cid",
    }
    assert all(set(body["after"].values()) == {None} for _, body in gone)
    assert all(body["key"]["id"] is not None for _, body in gone)


@pytest.mark.covers("EMIT-6")
async def test_no_event_without_a_change(shop: Shop) -> None:
    """A save of what is there, of the same number with other digits, of what is excluded."""

    def work() -> None:
        ann = Customer.objects.create(name="Ann", balance=Decimal("1.50"))
        ann.save()
        ann.balance = Decimal("1.5")
        ann.save()
        ann.password = "2"
        ann.save()

    await shop.run(work)
    assert [name for name, _ in await shop.told()] == ["customer.created"]


@pytest.mark.covers("EMIT-6")
async def test_a_rollback_leaves_no_event(shop: Shop) -> None:
    """Nor does a savepoint that is rolled back, nor a save that failed."""

    def work() -> None:
        with pytest.raises(KeyError), transaction.atomic():  # noqa: PT012
            Customer.objects.create(name="Lost")
            raise KeyError
        with transaction.atomic():
            Customer.objects.create(name="Ann")
            with pytest.raises(KeyError), transaction.atomic():  # noqa: PT012
                Customer.objects.create(name="Lost too")
                raise KeyError
        with pytest.raises(IntegrityError):
            Customer.objects.create(name="Ann")

    await shop.run(work)
    assert [body["after"]["name"] for _, body in await shop.told()] == ["Ann"]


@pytest.mark.covers("EMIT-6")
async def test_events_can_be_switched_off(shop: Shop) -> None:
    """By what a model says of itself, for a block, for one model in a block; fixtures are silent."""

    def work() -> None:
        ghost = Customer.objects.create(name="ghost")
        ghost.delete()
        with without_change_events():
            Customer.objects.create(name="Ann")
        with without_change_events(Order):
            bob = Customer.objects.create(name="Bob")
            Order.objects.create(customer=bob).delete()
        Customer(name="fixture").save_base(raw=True)

    await shop.run(work)
    assert [(name, body["after"]["name"]) for name, body in await shop.told()] == [
        ("customer.created", "Bob")
    ]


async def test_an_event_that_cannot_be_written_undoes_the_save(shop: Shop) -> None:
    """The field is named; neither the row nor an event is there."""

    def work() -> None:
        with pytest.raises(EncodeError, match="field 'odd' of Odd is a complex"):
            Odd.objects.create(number=1)
        assert not Odd.objects.exists()

    await shop.run(work)
    assert await shop.told() == []


async def test_what_goes_past_objects_is_told_by_hand(shop: Shop) -> None:
    """A statement over many rows is not seen; its events are appended in the same transaction."""

    def work() -> None:
        Customer.objects.create(name="Ann")
        assert shop.store is not None
        with transaction.atomic():
            Customer.objects.update(city="Łódź")
            shop.store.append(
                [change(Customer, "updated", key={"id": 1}, after={"city": "Łódź"})], within="default"
            )

    await shop.run(work)
    assert [name for name, _ in await shop.told()] == ["customer.created", "customer.updated"]


async def test_changes_with_nowhere_to_go_are_refused(shop: Shop) -> None:
    """A database that nobody said anything of; a store that is none; a database that Django does not have."""
    from penstock.models.django import _tracking

    def work() -> None:
        _tracking._routes.pop("default")
        with pytest.raises(ConfigurationError, match="PENSTOCK_CHANGES"):
            Customer.objects.create(name="Ann")
        assert not Customer.objects.exists()

    await shop.run(work)
    with pytest.raises(ConfigurationError, match="cannot go through"):
        emit_changes("default", "local")  # type: ignore[arg-type]
    assert shop.store is not None
    with pytest.raises(ConfigurationError, match="Django has no database 'other'"):
        emit_changes("other", shop.store)


class Streams:
    """Stands for an app: keeps what it is given to emit."""

    def __init__(self) -> None:
        self.emitted: list[Any] = []
        self.threads: set[int] = set()

    @property
    def sync(self) -> "Streams":
        """Without asyncio."""
        return self

    def emit_many(self, events: Iterable[object]) -> Any:
        """Keep them."""
        self.emitted += events
        self.threads.add(threading.get_ident())


@pytest.mark.covers("EMIT-6")
async def test_changes_can_go_to_streams_after_the_commit(shop: Shop) -> None:
    """Not before it, not after a rollback, and without what a savepoint took with it."""
    streams = Streams()

    def work() -> None:
        emit_changes("default", streams)
        with transaction.atomic():
            Customer.objects.create(name="Ann")
            with pytest.raises(KeyError), transaction.atomic():  # noqa: PT012
                Customer.objects.create(name="Lost")
                raise KeyError
            assert streams.emitted == []
        Customer.objects.create(name="Bob")

    await shop.run(work)
    assert [each.after["name"] for each in streams.emitted] == ["Ann", "Bob"]
    assert await shop.told() == []


PROJECT = """
import django
from django.conf import settings
from penstock import App
from penstock.errors import ConfigurationError

app = App("shop", store="sqlite:///shop.db")

def project(**more):
    settings.configure(
        INSTALLED_APPS=["penstock.models.django", "tests.models.djangoshop"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}},
        **more,
    )
    try:
        django.setup()
    except ConfigurationError as failure:
        raise SystemExit(str(failure))
"""


def run_project(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run a Django project of its own."""
    (folder / "project.py").write_text(PROJECT, encoding="utf-8")
    (folder / "run.py").write_text(f"import project\n{code}", encoding="utf-8")
    paths = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "src")])
    return subprocess.run(
        [sys.executable, "run.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_djangos_settings_say_where_changes_go(tmp_path: Path) -> None:
    """The app of ours in INSTALLED_APPS takes PENSTOCK_APP and PENSTOCK_CHANGES; the default is the local store."""
    code = """
import asyncio
project.project(PENSTOCK_APP="project.app")
from django.core.management import call_command
from django.db import connection
from tests.models.djangoshop.models import Customer
store = project.app.store()
with connection.schema_editor() as editor:
    editor.create_model(Customer)
async def main(work):
    async with project.app:
        await store.open()
        return [each.name async for each in store.read()]
asyncio.run(main(None))
Customer.objects.create(name="Ann")
print(asyncio.run(main(None)))
connection.close()
"""
    done = run_project(tmp_path, code)
    assert (done.returncode, done.stdout) == (0, "['customer.created']\n"), done.stderr


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "add PENSTOCK_APP"),
        ('PENSTOCK_APP="project.nothing"', "PENSTOCK_APP is 'project.nothing', which cannot be imported"),
        (
            'PENSTOCK_APP="project.app", PENSTOCK_CHANGES={"default": "shred"}',
            "there is no event store 'shred'",
        ),
        ('PENSTOCK_APP="project.app", PENSTOCK_CHANGES={"other": "local"}', "Django has no database 'other'"),
        ('PENSTOCK_APP="project.project"', "PENSTOCK_APP is 'project.project', which is no penstock.App"),
    ],
)
def test_djangos_settings_are_checked_at_start(tmp_path: Path, said: str, reason: str) -> None:
    """Each slip stops the start, and is named."""
    done = run_project(tmp_path, f"project.project({said})")
    assert done.returncode != 0
    assert reason in done.stderr
