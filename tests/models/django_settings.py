"""Django for tests: one configuration a process, databases as they come."""

from typing import Any

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

__all__ = ["configure", "database"]


def configure() -> None:
    """Set Django up, once."""
    if not settings.configured:
        settings.configure(USE_TZ=True, INSTALLED_APPS=["tests.models.djangoshop"])
        django.setup()


def database(url: str) -> dict[str, Any]:
    """A database in Django's words."""
    if url.startswith("sqlite"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url.removeprefix("sqlite:///")}
    where: dict[str, Any] = dict(conninfo_to_dict(url))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": where["dbname"],
        "USER": where.get("user", ""),
        "HOST": where.get("host", ""),
        "PORT": where.get("port", ""),
    }
