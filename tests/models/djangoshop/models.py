"""Models whose changes become events."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import models

from penstock.models.django import ChangeEvents


class Customer(ChangeEvents, models.Model):
    """A model with a bit of everything."""

    __event_base__ = "customer"
    __event_exclude__ = ("password",)

    name = models.TextField(unique=True)
    city = models.TextField(null=True)
    password = models.TextField(null=True)
    balance = models.DecimalField(max_digits=10, decimal_places=2, default=Decimal(0))
    visits = models.IntegerField(default=0)

    def emits_changes(self) -> bool:
        """Ghosts have none."""
        return bool(self.name != "ghost")

    def event_additional(self) -> Mapping[str, object]:
        """Who it was."""
        return {"by": "tests"}


class Order(ChangeEvents, models.Model):
    """A model that says nothing about its events."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)


class Odd(ChangeEvents, models.Model):
    """A value that JSON does not have."""

    number: "models.JSONField[Any]" = models.JSONField()

    def event_additional(self) -> Mapping[str, object]:
        """Something that cannot be written."""
        return {"odd": complex(1, 2)}
