"""Django in one file: a view changes a row and appends an event in one transaction, and a model tells of changes."""

from pathlib import Path

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client
from django.urls import path

from penstock import App, Event

FILE = Path("shop.db").absolute()
shop = App("shop", store=f"sqlite:///{FILE}")
store = shop.store()

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["testserver"],
    SECRET_KEY="not one",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FILE,
            # Take the lock for writing at once: a transaction that reads first may find that it came too late.
            "OPTIONS": {"transaction_mode": "IMMEDIATE"} if django.VERSION >= (5, 1) else {},
            "ATOMIC_REQUESTS": True,
        }
    },
    INSTALLED_APPS=["penstock.models.django"],
    PENSTOCK_APP=f"{__name__}.shop",
)
django.setup()

from django.db import connection, models  # noqa: E402  after the settings

from penstock.models.django import ChangeEvents  # noqa: E402


class Account(ChangeEvents, models.Model):
    name = models.TextField(primary_key=True)
    cents = models.IntegerField(default=0)

    class Meta:
        app_label = "shop"


class Deposited(Event, name="deposit.made", key="account"):
    account: str
    cents: int


def deposit(_: HttpRequest, name: str, cents: int) -> HttpResponse:
    account, _created = Account.objects.get_or_create(name=name)
    account.cents += cents
    account.save()
    placed = store.append(Deposited(account=name, cents=cents), within="default")
    if account.cents > 1_000_000:
        connection.set_rollback(True)
        return JsonResponse({"error": "that is too much for one account"}, status=422)
    return JsonResponse({"version": placed.stream_version})


urlpatterns = [path("accounts/<str:name>/deposits/<int:cents>", deposit)]


with shop.sync as tools:
    tools.store().open()
    with connection.schema_editor() as editor:
        editor.create_model(Account)

    browser = Client()
    for cents in (500, 2_000_000, 300):
        answer = browser.post(f"/accounts/ann/deposits/{cents}")
        print(answer.status_code, answer.json())

    print("row:", Account.objects.get().cents)
    for event in tools.store().read():
        print(event.position, event.stream, event.name, event.payload.get("after") or event.payload)
    connection.close()
