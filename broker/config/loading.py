"""Reads a configuration, whichever form it has, and makes it settings: all of it right, or every error at once."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from noctule.config.checking import Checker, EnvironmentText
from noctule.config.documents import Document, read_environment, read_toml
from noctule.config.mosquitto import read_mosquitto
from noctule.config.options import alternatives_of, fields_of, is_group, item_of_list
from noctule.config.problems import ConfigError, KeyPath, Positions, Problem
from noctule.config.safety import (
    clashing_bridges,
    clashing_gateways,
    clashing_listeners,
    closed_gateways,
    closed_listeners,
    exposed_gateways,
    open_bridges,
    open_files,
    open_http,
    open_listeners,
    undurable_listeners,
)
from noctule.config.settings import PluginSettings, Settings

#: The type of a plugin's options; None where it takes none of its own, or any. LookupError, with what there is
#: instead, where no such plugin is installed.
ConfigOfPlugin = Callable[[str], "type[Any] | None"]

#: Whether a plugin may decide on who connects.
Authenticates = Callable[[str], bool]

_TOML_LINE: Final = re.compile(r"\s*(\[|[A-Za-z0-9_.\"'-]+\s*=)")

#: Directives that any mosquitto.conf has one of.
_MOSQUITTO_LINE: Final = re.compile(
    r"\s*(listener|port|allow_anonymous|persistence\w*|password_file|acl_file|include_dir|log_\w+|per_listener_settings"
    r"|pid_file|protocol|connection|user|max_\w+|cafile|certfile|bind_address|plugin\w*|auth_plugin)\s+[^=\s]"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used."""

    settings: Settings

    #: What is not as its author may think, or not safe.
    warnings: tuple[Problem, ...]

    #: The files that were read, in order.
    sources: tuple[Path, ...]

    positions: Positions


@dataclass(frozen=True, slots=True)
class Examined:
    """A document and everything that can be said of it, for who wants to know more than whether it can be used."""

    #: None where there are problems.
    settings: Settings | None

    problems: tuple[Problem, ...]

    #: Right as they are, but this version cannot do it, or this installation lacks the plugin.
    not_yet: tuple[Problem, ...]

    warnings: tuple[Problem, ...]
    document: Document


def no_plugins(name: str) -> type[Any] | None:
    """The ``ConfigOfPlugin`` of an installation without plugins. LookupError for any name."""
    raise LookupError(f"no plugin of the name {name} is installed")


def load(
    path: Path | None,
    *,
    environment: Mapping[str, str] | None = None,
    config_of_plugin: ConfigOfPlugin = no_plugins,
    authenticates: Authenticates = lambda _: True,
) -> Loaded:
    """The configuration of a TOML file or a mosquitto.conf (None: of no file), with the environment on top.

    ConfigError, with every problem there is, where it cannot be used.
    """
    examined = examine(path, environment=environment, config_of_plugin=config_of_plugin, authenticates=authenticates)
    problems = examined.problems + examined.not_yet
    if problems or examined.settings is None:
        raise ConfigError(_in_order(problems, examined.document), examined.warnings)
    document = examined.document
    return Loaded(examined.settings, examined.warnings, tuple(document.sources), document.positions)


def is_mosquitto(path: Path) -> bool:
    """Whether the file is written as a mosquitto.conf, by its name, else by what it says."""
    if path.suffix == ".toml":
        return False
    if path.suffix == ".conf" and path.name.startswith("mosquitto"):
        return True
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return path.suffix == ".conf"
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            if _MOSQUITTO_LINE.match(line):
                return True
            if _TOML_LINE.match(line):
                return False
    return path.suffix == ".conf"


def examine(
    path: Path | None,
    *,
    environment: Mapping[str, str] | None = None,
    config_of_plugin: ConfigOfPlugin = no_plugins,
    authenticates: Authenticates = lambda _: True,
) -> Examined:
    """Read and check; never raises for what the files say."""
    document = Document()
    if path is not None:
        (read_mosquitto if is_mosquitto(path) else read_toml)(path, document)
    unread = bool(document.problems)
    read_environment(os.environ if environment is None else environment, document)
    positions = document.positions
    values = dict(document.values)
    tables = values.pop("plugins", {})
    checker = _SettingsChecker(positions)
    plugins = _plugins(tables, checker, config_of_plugin, authenticates, positions)
    settings = checker.group(values, Settings, ())
    problems = document.problems + checker.problems
    if not checker.problems:
        settings = replace(settings, plugins=plugins)
        if not unread:
            problems += clashing_listeners(settings, positions) + closed_listeners(settings, positions)
            problems += undurable_listeners(settings, positions)
            problems += clashing_gateways(settings, positions) + closed_gateways(settings, positions)
            problems += clashing_bridges(settings, positions)
    secret_files = {path: (path, place, about) for path, place, about in document.secret_files + checker.secret_files}
    warnings = document.warnings + checker.unsafe + open_files(secret_files.values(), checker.secrets)
    if not problems:
        warnings += open_listeners(settings, positions) + exposed_gateways(settings, positions)
        warnings += open_http(settings, positions)
        warnings += open_bridges(settings, positions)
    return Examined(
        None if problems else settings,
        tuple(_in_order(problems, document)),
        tuple(_in_order(checker.not_yet, document)),
        tuple(_in_order(warnings, document)),
        document,
    )


def _in_order(problems: "list[Problem] | tuple[Problem, ...]", document: Document) -> list[Problem]:
    """By file in the order of reading, and by line; the environment last."""
    order = {str(source): index for index, source in enumerate(document.sources)}
    return sorted(problems, key=lambda problem: (order.get(problem.place.source, len(order)), problem.place.line))


class _SettingsChecker(Checker):
    """Knows where else a key could belong."""

    def unknown_key_text(self, key: str, known: set[str], path: KeyPath) -> str:
        where = _tables_with(Settings, key)
        if where and key not in known:
            return f"unknown key; it belongs to {' or '.join(where)}"
        return super().unknown_key_text(key, known, path)


def _tables_with(group: type, key: str, path: str = "") -> list[str]:
    """The tables of the settings that have such a key, for people."""
    fields = fields_of(group)
    found = [path or "the top of the file, before the first [table]" for field in fields if field.key == key]
    for field in fields:
        for kind in (*alternatives_of(field.type), item_of_list(field.type)):
            if kind is not None and is_group(kind):
                inner = f"{path.strip('[]')}.{field.key}".strip(".")
                is_list = kind is item_of_list(field.type)
                found += _tables_with(kind, key, f"[[{inner}]]" if is_list else f"[{inner}]")
    return found


def _with_folder(plugin: str, source: str) -> str:
    """A plugin that is named by the path of its file: the path is meant from where the configuration is."""
    file = plugin.rpartition(":")[0] if ".py:" in plugin else plugin
    if not file.endswith(".py") or Path(file).is_absolute() or not Path(source).is_file():
        return plugin
    return str(Path(source).parent / plugin)


def _plugins(
    tables: object,
    checker: Checker,
    config_of_plugin: ConfigOfPlugin,
    authenticates: Authenticates,
    positions: Positions,
) -> tuple[PluginSettings, ...]:
    if isinstance(tables, EnvironmentText):
        tables = {name.strip(): {} for name in tables.split(",") if name.strip()}
    if not isinstance(tables, dict):
        checker.problem(("plugins",), "expected the names of plugins in an array, or a table [plugins.NAME] for each")
        return ()
    found = []
    for name, table in tables.items():
        path: KeyPath = ("plugins", name)
        if not isinstance(table, dict):
            checker.problem(path, f"expected a table [plugins.{name}]")
            continue
        options = dict(table)
        plugin = options.pop("plugin", name)
        if not isinstance(plugin, str) or not plugin:
            checker.problem((*path, "plugin"), "expected the name of a plugin, in quotes")
            continue
        plugin = _with_folder(plugin, positions.place((*path, "plugin") if "plugin" in table else path).source)
        below = positions.below(*path)
        typed: object = None
        try:
            config = config_of_plugin(plugin)
        except LookupError as error:
            said: KeyPath = (*path, "plugin") if "plugin" in table else path
            checker.not_yet.append(positions.problem(said, str(error.args[0]) if error.args else str(error)))
            config = None
        if config is not None:
            inner = Checker(below)
            try:
                typed = inner.group(options, config, ())
            except TypeError as error:
                checker.problem(
                    path, f"the options of this plugin cannot be read, which is its author's fault: {error}"
                )
            checker.problems += inner.problems
            checker.not_yet += inner.not_yet
            checker.unsafe += inner.unsafe
            checker.secret_files += inner.secret_files
            checker.secrets += inner.secrets
        found.append(PluginSettings(name, str(plugin), options, below, typed, authenticates(plugin)))
    return tuple(found)
