"""What is used of Django, which has no types, without any."""

from importlib import import_module
from typing import Any, Final

__all__ = ["AppConfig", "connections", "import_string", "router", "settings", "signals", "transaction"]

AppConfig: Final[Any] = import_module("django.apps").AppConfig
"""The base of what configures an app of Django's."""
connections: Final[Any] = import_module("django.db").connections
"""The databases, by alias."""
import_string: Final[Any] = import_module("django.utils.module_loading").import_string
"""What a dotted path names."""
router: Final[Any] = import_module("django.db").router
"""Which database a model is written to."""
settings: Final[Any] = import_module("django.conf").settings
"""The settings of the project."""
signals: Final[Any] = import_module("django.db.models").signals
"""What Django tells of models."""
transaction: Final[Any] = import_module("django.db").transaction
"""Django's transactions."""
