"""How a message is laid out in the fields of a stream entry. `NATIVE` is ours; other systems' layouts sit beside it."""

from penstock.streams.layouts.abc import EntryReader, Layout
from penstock.streams.layouts.beeorm import BEEORM, BeeOrmLayout
from penstock.streams.layouts.choosing import LAYOUTS, Layouts, UnknownLayout, allowed_codec
from penstock.streams.layouts.cloudevents import CLOUDEVENTS, CloudEventsLayout
from penstock.streams.layouts.keyed import KeyedLayout
from penstock.streams.layouts.laravel_streamer import LARAVEL_STREAMER, LaravelStreamerLayout
from penstock.streams.layouts.native import NATIVE, NativeLayout
from penstock.streams.layouts.streamerson import STREAMERSON, StreamersonLayout

__all__ = [
    "BEEORM",
    "CLOUDEVENTS",
    "LARAVEL_STREAMER",
    "LAYOUTS",
    "NATIVE",
    "STREAMERSON",
    "BeeOrmLayout",
    "CloudEventsLayout",
    "EntryReader",
    "KeyedLayout",
    "LaravelStreamerLayout",
    "Layout",
    "Layouts",
    "NativeLayout",
    "StreamersonLayout",
    "UnknownLayout",
    "allowed_codec",
]
