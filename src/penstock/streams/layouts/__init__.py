"""How a message is laid out in the fields of a stream entry. `NATIVE` is ours; other systems' layouts sit beside it."""

from penstock.streams.layouts.abc import Layout
from penstock.streams.layouts.native import NATIVE

__all__ = ["NATIVE", "Layout"]
