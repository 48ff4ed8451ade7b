"""What changed from one configuration to another, and what of it takes a restart: what a reload reports."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from noctule.config.options import Field, fields_of, is_group, item_of_list
from noctule.config.problems import KeyPath, key_text
from noctule.config.settings import ListenerSettings, PluginSettings, Settings
from noctule.config.toml_text import field_text


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different."""

    #: The key, or the listener or plugin as people know it.
    about: str

    text: str
    needs_restart: bool

    def __str__(self) -> str:
        return f"{self.about}: {self.text}{' (needs a restart)' if self.needs_restart else ''}"


def differences(old: Settings, new: Settings) -> tuple[Change, ...]:
    """Everything that is different, in the order of the options; empty where nothing is.

    Listeners are the same where their addresses and port are, plugins where their name is.
    """
    return (
        *_listeners(old.listeners, new.listeners),
        *_group(old, new, (), leave_out=("listeners",)),
        *_plugins(old.plugins, new.plugins),
    )


def _listeners(old: tuple[ListenerSettings, ...], new: tuple[ListenerSettings, ...]) -> Iterator[Change]:
    before = {listener.name: listener for listener in old}
    after = {listener.name: listener for listener in new}
    for name in before:
        if name not in after:
            yield Change(f"listener {name}", "removed", needs_restart=False)
    for name, listener in after.items():
        if name not in before:
            yield Change(f"listener {name}", "added", needs_restart=False)
        elif listener != before[name]:
            for change in _group(before[name], listener, ()):
                yield Change(f"listener {name}", f"{change.about}: {change.text}", change.needs_restart)


def _group(old: Any, new: Any, path: KeyPath, leave_out: tuple[str, ...] = ()) -> Iterator[Change]:
    for field in fields_of(type(new)):
        before, after = getattr(old, field.name), getattr(new, field.name)
        here = (*path, field.key)
        if before == after or field.key in leave_out:
            continue
        if is_group(type(before)) and type(before) is type(after):
            yield from _group(before, after, here)
        else:
            yield Change(key_text(here), f"{_text(field, before)} → {_text(field, after)}", field.option.needs_restart)


def _text(field: Field, value: object) -> str:
    if value is None:
        return "not set"
    if is_group(item_of_list(field.type)):
        return f"{len(value)} table{'' if len(value) == 1 else 's'}" if isinstance(value, tuple) else "not set"
    return "set" if is_group(type(value)) else field_text(field, value)


def _plugins(old: tuple[PluginSettings, ...], new: tuple[PluginSettings, ...]) -> Iterator[Change]:
    before = {plugin.name: plugin for plugin in old}
    after = {plugin.name: plugin for plugin in new}
    for name in before:
        if name not in after:
            yield Change(f"plugin {name}", "removed", needs_restart=True)
    for name, plugin in after.items():
        if name not in before:
            yield Change(f"plugin {name}", "added", needs_restart=True)
        elif plugin.plugin != before[name].plugin:
            yield Change(f"plugin {name}", f"now {plugin.plugin}", needs_restart=True)
        elif plugin.options != before[name].options:
            keys = {**before[name].options, **plugin.options}
            changed = [key for key in keys if before[name].options.get(key) != plugin.options.get(key)]
            yield Change(f"plugin {name}", f"changed: {', '.join(changed)}", needs_restart=False)
    common = [name for name in before if name in after]
    if common != [name for name in after if name in before]:
        yield Change("plugins", "in another order", needs_restart=True)
