"""Finding the user's app: by option, environment or settings file, else the one module here that holds one."""

import difflib
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final

from penstock.app import App
from penstock.cli._errors import Refusal, WrongUsage

__all__ = ["find_app", "load_app"]

_HERE: Final = ("app", "main")


def find_app(named: str | None, *, folder: Path, settings_folder: Path | None = None) -> App | None:
    """The app *named* ``MODULE[:NAME]``, else the one in ``app.py`` or ``main.py`` of *folder*, else ``None``.

    Raises:
        Refusal: It cannot be loaded, or there are several to choose from.
    """
    for each in (settings_folder, folder):
        if each is not None and str(each) not in sys.path:
            sys.path.insert(0, str(each))
    if named is not None:
        return load_app(named, folder)
    found = {name: apps for name in _HERE if (apps := _apps_here(folder, name))}
    if len(found) > 1:
        choices = [f"{name}:{each}" for name, apps in found.items() for each in apps]
        raise Refusal(
            f"there are apps in {' and '.join(f'{name}.py' for name in found)}",
            remedy=f"say which one: --app {' or --app '.join(choices)}",
        )
    for name, apps in found.items():
        return _only(name, apps)
    return None


def load_app(named: str, folder: Path) -> App:
    """The app at ``MODULE[:NAME]``. Raises `Refusal`, `WrongUsage`."""
    module_name, _, name = named.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        meant = f"{dotted}:{name}" if name else dotted
        raise WrongUsage(f"{named!r} is a file; an app is named by its module", did_you_mean=[meant])
    module = _load(module_name, folder)
    apps = _apps_in(module)
    if not name:
        return _only(module_name, apps)
    if name not in apps:
        close = difflib.get_close_matches(name, apps, n=1)
        raise Refusal(
            f"module {module_name!r} has no app {name!r}",
            remedy=f"it has {', '.join(apps)}" if apps else "it declares no App",
            did_you_mean=[f"{module_name}:{each}" for each in close],
        )
    return apps[name]


def _only(module: str, apps: dict[str, App]) -> App:
    if len({id(each) for each in apps.values()}) == 1:
        return next(iter(apps.values()))
    if not apps:
        raise Refusal(f"module {module!r} declares no App", remedy='write app = App("name") in it')
    choices = " or ".join(f"--app {module}:{name}" for name in apps)
    raise Refusal(f"module {module!r} has several apps", remedy=f"say which one: {choices}")


def _apps_here(folder: Path, name: str) -> dict[str, App]:
    """The apps of a module beside us; it is only run if its text has to do with penstock."""
    file = folder / f"{name}.py"
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return _apps_in(_load(name, folder)) if "penstock" in text else {}


def _apps_in(module: ModuleType) -> dict[str, App]:
    return {name: value for name, value in vars(module).items() if isinstance(value, App)}


def _load(name: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as failure:
        if failure.name is None or not f"{name}.".startswith(f"{failure.name}."):
            raise _broken(name, failure) from failure
        beside = [path.stem for path in folder.glob("*.py")]
        raise Refusal(
            f"there is no module {name!r}",
            remedy=f"modules are looked for in {folder} and where Python finds them",
            did_you_mean=difflib.get_close_matches(name, beside, n=1),
        ) from failure
    except (Exception, SystemExit) as failure:  # a user's module is run here, and anything may go wrong in it
        raise _broken(name, failure) from failure


def _broken(name: str, failure: BaseException) -> Refusal:
    places = [
        f"{Path(frame.filename).name}, line {frame.lineno}"
        for frame in traceback.extract_tb(failure.__traceback__)
        if "importlib" not in frame.filename
    ]
    if isinstance(failure, SyntaxError) and failure.filename:
        places.append(f"{Path(failure.filename).name}, line {failure.lineno}")
    where = f" ({places[-1]})" if places else ""
    return Refusal(
        f"module {name!r} cannot be loaded: {type(failure).__name__}: {failure}{where}",
        remedy="--debug shows the traceback",
        module=name,
    )
