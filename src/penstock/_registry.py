"""What an app says in code about its streams: which there are, and layouts of its own to write them in."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.config import Settings
from penstock.errors import ConfigurationError
from penstock.streams.layouts import LAYOUTS, NATIVE, KeyedLayout, Layout, Layouts, UnknownLayout

__all__ = ["DeclaresStreams", "layouts_of"]


class DeclaresStreams(ABC):
    """The part of an app that declares streams."""

    name: str
    _code: dict[str, Any]
    _settings: Settings | None
    _own_layouts: dict[str, Layout]

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings in force."""

    def stream(
        self,
        name: str,
        *,
        pool: str | None = None,
        groups: Sequence[str] | None = None,
        layout: str | Layout | None = None,
        **settings: Any,
    ) -> None:
        """Declare a stream, as ``[stream.NAME]`` in the settings does; what those say goes before.

        *groups* are the only ones that may consume it. *layout* is the name of one, or one of your own. All else that
        can be set for a stream is a keyword of the same name. What is wrong is told, all at once, when the settings are
        read.

        Raises:
            ConfigurationError: It was declared before, or *layout* cannot be called what it is called.
        """
        declared: dict[str, Any] = self._code.setdefault("stream", {})
        if name in declared:
            raise ConfigurationError(
                f"stream {name!r} is declared twice in code; say everything about it in one place"
            )
        if layout is not None and not isinstance(layout, str):
            if self._own_layouts.get(layout.name) is not layout:
                self.layout(layout.name, layout)
            layout = layout.name
        said = {"pool": pool, "groups": groups, "layout": layout, **settings}
        self._code["stream"] = {
            **declared,
            name: {key: each for key, each in said.items() if each is not None},
        }
        self._settings = None

    def layout(self, name: str, layout: Layout) -> None:
        """Let settings call a layout of your own *name*: ``[stream.NAME] layout = "name"``.

        Raises:
            ConfigurationError: Another layout has the name.
        """
        if name in LAYOUTS or name in self._own_layouts:
            raise ConfigurationError(f"there is a layout {name!r} already; call yours something else")
        if not name.strip():
            raise ConfigurationError("a layout needs a name; this one is empty")
        self._own_layouts[name] = layout
        self._settings = None

    @property
    def layouts(self) -> Layouts:
        """The layout of every stream."""
        return layouts_of(self.settings, self._own_layouts)


def layouts_of(settings: Settings, own: Mapping[str, Layout]) -> Layouts:
    """The layouts that settings name, found among ours and an app's own.

    What a router moves here from a stream of others lies as it lay there, and has its key from where it had it there.
    """
    known = {**LAYOUTS, **own}
    by_stream: dict[str, Layout] = {}
    for stream in settings.stream_settings.values():
        source = settings.stream_settings.get(stream.routed_from or "", stream)
        name = source.layout if stream.layout == NATIVE.name else stream.layout
        layout, key_from = known.get(name) or UnknownLayout(name), stream.key_from or source.key_from
        if key_from is not None and not isinstance(layout, UnknownLayout):
            layout = KeyedLayout(layout, key_from)
        if layout is not NATIVE:
            by_stream[stream.name] = layout
    return Layouts(by_stream, partitioned=settings.partitions)
