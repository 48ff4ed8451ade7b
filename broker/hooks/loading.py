"""Finds the plugins that a configuration names, and makes them.

A name is that of a built-in plugin, that of an entry point of the group ``noctule.plugins``, or the path of a Python
file. Nothing is loaded because it happens to be installed.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from noctule.config.problems import Positions
from noctule.config.settings import Durability, PluginSettings, Settings
from noctule.hooks.answers import PluginError
from noctule.hooks.table import Plugin

#: The group of entry points by which a distribution offers plugins.
ENTRY_POINT_GROUP: Final = "noctule.plugins"

#: Built-in plugins, as ``module:class`` below ``noctule.plugins``.
BUILT_IN: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "access_file": "access_file:AccessFile",
        "anonymous": "anonymous:Anonymous",
        "http": "http:Http",
        "jwt": "jwt:Jwt",
        "password_file": "password_file:PasswordFile",
        "memory_store": "memory_store:Plugin",
        "sqlite_store": "sqlite_store:Plugin",
    }
)


#: Those that need a distribution which is not installed with the broker, by an extra of their name.
_EXTRAS: Final = frozenset({"http", "jwt"})


class _Found:
    """What a name stands for: a class or a module, and where it comes from."""

    __slots__ = ("factory", "origin")

    def __init__(self, factory: Any, origin: str) -> None:
        self.factory = factory
        self.origin = origin


def config_of_plugin(name: str) -> type[Any]:
    """The type of a plugin's options: its ``Config``; one without options where it has none.

    LookupError where no such plugin is installed, it cannot be imported, or its ``Config`` cannot be one, with what
    to do.
    """
    return _config_of(_find(name))


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a plugin that has none."""


def _config_of(found: "_Found") -> type[Any]:
    config: object = getattr(found.factory, "Config", None)
    if config is None:
        return NoOptions
    if isinstance(found.factory, types.ModuleType):
        raise LookupError(  # noqa: TRY004 it is the configuration that names it
            f"{found.origin} has a Config, and nowhere to get it: a plugin with options is a class"
        )
    if not isinstance(config, type) or not is_dataclass(config):
        raise LookupError(f"{found.origin}: its Config is no dataclass")
    return config


def authenticates(name: str) -> bool:
    """Whether a plugin may decide on who connects; True also where nobody knows, since then nobody is let in."""
    try:
        factory = _find(name).factory
    except LookupError:
        return True
    return any(hasattr(factory, hook) for hook in ("authenticate", "add_authentication_methods"))


def with_store(settings: Settings) -> Settings:
    """The settings with a store in SQLite, where state is to be kept and none of the plugins has a store.

    PluginError where a plugin cannot be had.
    """
    if settings.durability is Durability.MEMORY:
        return settings
    for index, plugin in enumerate(settings.plugins):
        try:
            if hasattr(_find(plugin.plugin).factory, "open_store"):
                plugins = list(settings.plugins)
                plugins[index] = _in_directory(plugin, settings)
                return replace(settings, plugins=tuple(plugins))
        except LookupError as error:
            raise PluginError(f"plugin {plugin.name}: {error.args[0]}") from None
    config = _find("sqlite_store").factory.Config(path=data_directory(settings))
    store = PluginSettings("sqlite_store", "sqlite_store", {}, Positions({}), config, authenticates=False)
    return replace(settings, plugins=(*settings.plugins, store))


def _in_directory(plugin: PluginSettings, settings: Settings) -> PluginSettings:
    """The store in SQLite in the directory of ``data_directory``, unless its own options name one.

    PluginError where both are said and differ.
    """
    if plugin.plugin != "sqlite_store" or not is_dataclass(plugin.config) or isinstance(plugin.config, type):
        return plugin
    if "path" not in plugin.options:
        return replace(plugin, config=replace(plugin.config, path=data_directory(settings)))
    own: Path = getattr(plugin.config, "path", data_directory(settings))
    if settings.data_directory is not None and settings.data_directory != own:
        raise PluginError(
            f"plugin {plugin.name}: its path is {own}, and data_directory (or --data) is {settings.data_directory}: "
            "say one of the two"
        )
    return plugin


def store_directory(settings: Settings) -> Path | None:
    """Where the store in SQLite keeps state, by settings that ``with_store`` has made; None where it is another's."""
    for plugin in settings.plugins:
        if plugin.plugin == "sqlite_store":
            path: Path | None = getattr(plugin.config, "path", None)
            return path
    return None


def data_directory(settings: Settings) -> Path:
    """Where state is kept, where a store plugin does not say otherwise."""
    if settings.data_directory is not None:
        return settings.data_directory
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/noctule")
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state else Path.home() / ".local" / "state") / "noctule"


def load_plugins(wanted: Iterable[PluginSettings]) -> tuple[Plugin, ...]:
    """Make the plugins that a configuration names, in its order. PluginError where one cannot be had, or refuses."""
    plugins = []
    for settings in wanted:
        try:
            found = _find(settings.plugin)
            config_type = _config_of(found)
        except LookupError as error:
            raise PluginError(f"plugin {settings.name}: {error.args[0]}") from None
        config = None if config_type is NoOptions else settings.config
        plugins.append(Plugin(settings.name, _make(found, settings.name, config), found.origin, config))
    return tuple(plugins)


def _make(found: _Found, name: str, config: object) -> object:
    named = f"plugin {name} ({found.origin})"
    factory = found.factory
    if isinstance(factory, types.ModuleType):
        return factory
    try:
        made: object = factory() if config is None else factory(config)
    except PluginError as error:
        raise PluginError(f"{named}: {error}") from None
    except Exception as error:
        raise PluginError(f"{named}: cannot be made: {error!r}") from error
    return made


def _find(name: str) -> _Found:
    if name.endswith(".py") or ".py:" in name:
        return _from_file(name)
    if name in BUILT_IN:
        return _built_in(name)
    entries = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    offered = [entry for entry in entries if entry.name == name]
    if len({entry.value for entry in offered}) > 1:
        raise LookupError(f"several distributions offer a plugin {name}: {', '.join(map(_origin_of, offered))}")
    if offered:
        origin = _origin_of(offered[0])
        try:
            return _Found(offered[0].load(), origin)
        except Exception as error:
            raise LookupError(f"{origin} cannot be imported: {error!r}") from error
    known = sorted({*BUILT_IN, *(entry.name for entry in entries)})
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}, and files that end in .py"
    raise LookupError(f"no plugin of the name {name} is installed; {hint}")


def _built_in(name: str) -> _Found:
    module, _, attribute = BUILT_IN[name].partition(":")
    try:
        return _Found(getattr(importlib.import_module(f"noctule.plugins.{module}"), attribute), "built in")
    except ImportError as error:
        hint = f"; install it with: pip install 'noctule[{name}]'" if name in _EXTRAS else ""
        raise LookupError(f"the plugin {name} cannot be imported: {error}{hint}") from error


def _origin_of(entry: importlib.metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value


def _from_file(name: str) -> _Found:
    """``path.py``, or ``path.py:Class``: its class ``Plugin`` if it has one, else the module itself."""
    text, colon, attribute = name.rpartition(":")
    if not colon or not text.endswith(".py"):
        text, attribute = name, ""
    path = Path(text)
    if not path.is_file():
        raise LookupError(f"there is no file {path}")
    module = _module_of(path)
    if attribute:
        if not hasattr(module, attribute):
            raise LookupError(f"{path} has no {attribute}")
        return _Found(getattr(module, attribute), str(path))
    return _Found(getattr(module, "Plugin", module), str(path))


def _module_of(path: Path) -> types.ModuleType:
    """The module of a file, which is run once: its classes are the same whenever a configuration is read again."""
    place = str(path.resolve())
    module_name = f"noctule_plugin_{path.stem}_{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    known = sys.modules.get(module_name)
    if known is not None:
        return known
    specification = importlib.util.spec_from_file_location(module_name, place)
    if specification is None or specification.loader is None:
        raise LookupError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(specification)
    # Dataclasses look their module up there.
    sys.modules[module_name] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise LookupError(f"{path} cannot be imported: {error!r}") from error
    return module
