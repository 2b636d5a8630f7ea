"""Seeing the changes of Django's models: what ``save`` writes, and what any way of deleting objects removes.

What goes past the objects is not seen: ``QuerySet.update``, ``bulk_create``, ``bulk_update``, raw SQL, rows that join
many to many, fixtures. `change` makes events of those.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from penstock.errors import ConfigurationError
from penstock.models._changes import Tracked, change, check_excluded, is_switched_off
from penstock.models._through import Through, check_through, emit_committed
from penstock.models.django._library import connections, router, signals, transaction
from penstock.store import EventStore

__all__ = ["ChangeEvents", "emit_changes"]

_routes: Final[dict[str, Through]] = {}

if TYPE_CHECKING:

    class _Model(Tracked):
        """The part of ``django.db.models.Model`` that is built upon."""

        _meta: Any

        def save_base(
            self,
            raw: bool = False,
            force_insert: bool = False,
            force_update: bool = False,
            using: str | None = None,
            update_fields: Iterable[str] | None = None,
        ) -> Any: ...

else:
    _Model = Tracked


class ChangeEvents(_Model):
    """A mixin for models, before ``models.Model``: each object that is created, updated or deleted becomes an event.

    Their names begin with ``__event_base__``, or the name of the model: ``customer.updated``. Fields in
    ``__event_exclude__`` stay out of them. `emits_changes` and `event_additional` may be overridden. A save asks for
    the row before and after, which are two small queries, and is one transaction with its event.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        signals.pre_delete.connect(_before_delete, sender=cls)
        signals.post_delete.connect(_after_delete, sender=cls)

    @classmethod
    def default_event_base(cls) -> str:
        """The name of the model, in lower case."""
        return str(cls._meta.model_name)

    def save_base(
        self,
        raw: bool = False,
        force_insert: bool = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Django's, with what becomes of the row told in the same transaction; fixtures are loaded silently."""
        if raw or is_switched_off(self):
            super().save_base(raw, force_insert, force_update, using, update_fields)
            return
        using = str(using or router.db_for_write(type(self), instance=self))
        _route(self, using)
        with transaction.atomic(using=using, savepoint=False):
            before = _row(self, using)
            super().save_base(raw, force_insert, force_update, using, update_fields)
            after = _row(self, using)
            assert after is not None
            if before is None:
                _tell(self, using, "created", None, after)
            elif changed := [name for name, value in before.items() if after[name] != value]:
                _tell(
                    self,
                    using,
                    "updated",
                    {name: before[name] for name in changed},
                    {name: after[name] for name in changed},
                )

    save_base.alters_data = True  # type: ignore[attr-defined]  # templates must not call it


def emit_changes(using: str, through: Through) -> None:
    """Have the changes of all `ChangeEvents` models in Django's database *using* go through a store, or an app.

    Through a store, ``app.store()``, they are part of the transaction that makes the change; the store is in that
    database. Through an app they are emitted to their streams after the commit.

    Raises:
        ConfigurationError: *through* is neither, or Django has no such database.
    """
    check_through(through)
    if using not in list(connections):
        raise ConfigurationError(f"Django has no database {using!r}; it has {', '.join(connections)}")
    _routes[using] = through


def _before_delete(instance: Any, using: str, **_: object) -> None:
    instance._state.penstock_before = None
    if not is_switched_off(instance):
        _route(instance, using)
        instance._state.penstock_before = _row(instance, using)


def _after_delete(instance: Any, using: str, **_: object) -> None:
    before, instance._state.penstock_before = instance._state.penstock_before, None
    if before is not None:
        _tell(instance, using, "deleted", before, None)


def _row(thing: Any, using: str) -> dict[str, Any] | None:
    """The row as it is in the database, by field; ``None`` if there is none."""
    model: Any = thing.__class__
    names = [field.attname for field in thing._meta.concrete_fields]
    check_excluded(model, names)
    if thing.pk is None:
        return None
    rows = model._base_manager.using(using).filter(pk=thing.pk).order_by("pk")
    found: dict[str, Any] | None = rows.values(*names).first()
    return found


def _route(thing: Any, using: str) -> Through:
    through = _routes.get(using)
    if through is None:
        raise ConfigurationError(
            f"changes of {thing.__class__.__qualname__} in Django's database {using!r} become events, and nobody said "
            "where those go: put it into PENSTOCK_CHANGES, or call emit_changes, "
            "or write them within without_change_events()"
        )
    return through


def _tell(
    thing: Any,
    using: str,
    what: Literal["created", "updated", "deleted"],
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    model: Any = thing.__class__
    key = {thing._meta.pk.attname: thing.pk}
    shown = [name for name in before or after or {} if name not in model.__event_exclude__]
    if not shown:
        return
    made = change(model, what, key=key, before=before, after=after, additional=thing.event_additional())
    through = _route(thing, using)
    if isinstance(through, EventStore):
        through.append([made], within=connections[using])
    else:
        transaction.on_commit(partial(emit_committed, through, [made]), using=using, robust=True)
