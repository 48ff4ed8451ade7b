"""The settings of a broker that a test asks for, and the plugins that it hands over."""

import inspect
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from noctule.config.loading import load
from noctule.config.settings import ListenerSettings, Settings
from noctule.hooks.loading import config_of_plugin
from noctule.hooks.table import Plugin, make_table


def plugins_of(plugins: Iterable[object]) -> list[Plugin]:
    """Each under the name of its class, where it is no ``Plugin`` with a name already; a class is made first."""
    found: list[Plugin] = []
    for one in plugins:
        if isinstance(one, Plugin):
            found.append(one)
            continue
        made = one() if inspect.isclass(one) else one
        kind = made.__name__ if inspect.ismodule(made) else type(made).__name__
        name = kind.lower()
        count = sum(other.name.rstrip("0123456789") == name for other in found)
        found.append(Plugin(f"{name}{count + 1}" if count else name, made, "a test"))
    return found


def settings_for(
    plugins: Iterable[Plugin],
    config: Path | None,
    settings: Settings | None,
    allow_anonymous: bool | None,
    limits: dict[str, Any],
) -> Settings:
    """What a test has asked for, on one port of 127.0.0.1 that the system chooses.

    ``config``, a file, and ``settings`` exclude each other. Where nothing says who is let in, everybody is, unless a
    plugin authenticates. There is nothing below $SYS unless ``settings`` or the file is given. ValueError, the test's
    fault, for what excludes each other and for a limit that is none; ConfigError where the file cannot be used.
    """
    if config is not None and settings is not None:
        raise ValueError("config and settings say the same thing: only one of them can")
    found = settings if settings is not None else Settings(sys_interval_s=0)
    if config is not None:
        found = load(config, environment={}, config_of_plugin=config_of_plugin).settings
    unknown = limits.keys() - {field.name for field in fields(found.limits)}
    if unknown:
        raise ValueError(f"there is no limit {', '.join(sorted(unknown))}")
    if allow_anonymous is None and settings is None and config is None:
        allow_anonymous = not make_table(plugins).authenticate
    return replace(
        found,
        listeners=tuple(_anywhere(listener) for listener in found.listeners[:1]) or (ListenerSettings(port=0),),
        allow_anonymous=found.allow_anonymous if allow_anonymous is None else allow_anonymous,
        limits=replace(found.limits, **limits),
    )


def _anywhere(listener: ListenerSettings) -> ListenerSettings:
    return replace(listener, host="127.0.0.1", port=0)
