"""The configuration in effect, without secrets."""

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

from noctule.config.options import Field, Quantity, Secret, fields_of, is_group
from noctule.config.quantities import format_duration, format_size
from noctule.config.settings import PluginSettings, Settings

#: In place of a secret.
HIDDEN: Final = "(not shown)"

#: User and password in a URL.
_IN_URL: Final = re.compile(r"(?<=://)[^/@\s]*@")


def shown_settings(settings: Settings) -> dict[str, Any]:
    """The settings by the names of files, as JSON takes them."""
    values = _group(settings)
    values["plugins"] = {plugin.name: _plugin(plugin) for plugin in settings.plugins}
    return values


def _group(group: Any) -> dict[str, Any]:
    return {field.key: _value(getattr(group, field.name), field) for field in fields_of(type(group))}


def _plugin(plugin: PluginSettings) -> dict[str, Any]:
    """A plugin's options. Of one that does not say which of them are secret none is shown."""
    shown: dict[str, Any] = {"plugin": plugin.plugin}
    if plugin.config is not None and is_group(type(plugin.config)):
        return shown | _group(plugin.config)
    return shown | dict.fromkeys(map(str, plugin.options), HIDDEN)


def _value(value: object, field: Field) -> Any:
    if isinstance(value, Secret):
        return HIDDEN
    if is_group(type(value)):
        return _group(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str):
        return _IN_URL.sub(f"{HIDDEN}@", value)
    if isinstance(value, tuple | list | frozenset | set):
        return [_value(one, field) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _value(one, field) for key, one in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        if field.quantity is Quantity.SIZE:
            return format_size(int(value))
        if field.quantity is Quantity.DURATION:
            return format_duration(value)
        return value
    return value if value is None or isinstance(value, bool) else HIDDEN
