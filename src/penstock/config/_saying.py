"""How messages about settings show values and point to the right name."""

import re
import reprlib
from collections.abc import Iterable

__all__ = ["mask", "nearest", "shown"]


class _Short(reprlib.Repr):
    """Cuts what is long and masks passwords, also deep inside."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(mask(x), level)


_SHORT = _Short()


def shown(value: object) -> str:
    """A value for a message: short, with its password masked, whatever it is."""
    try:
        return _SHORT.repr(value)
    except Exception:  # noqa: BLE001  a repr of the user's own, or a number too long to be written out
        return f"a {type(value).__name__}"


def mask(url: str) -> str:
    """*url* with its password, wherever a URL may carry one, replaced by ``***``."""
    head, at, tail = url.rpartition("@")
    if at and ":" in (user := head.split("://", 1)[-1]):
        url = f"{head.removesuffix(user)}{user.partition(':')[0]}:***@{tail}"
    return re.sub(r"([?&][^=&]*password=)[^&#]*", r"\1***", url, flags=re.IGNORECASE)


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or what there is to choose from."""
    names = sorted(known)
    import difflib  # only when something is wrong

    close = difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names) or 'none'}"
