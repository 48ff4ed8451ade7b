"""What changed from one configuration to another, and what of it takes a restart: what a reload reports and does."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
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

    Listeners are the same where their addresses and port are, bridges and plugins where their name is.
    """
    return (
        *_listeners(old.listeners, new.listeners),
        *_group(old, new, (), leave_out=("listeners", "bridge")),
        *_named("bridge", {one.name: one for one in old.bridges}, {one.name: one for one in new.bridges}),
        *_plugins(old.plugins, new.plugins),
    )


def in_effect(old: Settings, new: Settings, loaded: Collection[str]) -> Settings:
    """What holds after a reload that wants ``new``: what needs a restart is as it was.

    ``loaded``: names of plugins that are there, whether the old settings name them or not.
    """
    held = {field.name: getattr(old, field.name) for field in fields_of(Settings) if field.option.needs_restart}
    now = replace(new, **held, plugins=_plugins_in_effect(old.plugins, new.plugins, loaded))
    return new if now == new else now


def _plugins_in_effect(
    old: tuple[PluginSettings, ...], new: tuple[PluginSettings, ...], loaded: Collection[str]
) -> tuple[PluginSettings, ...]:
    before = {plugin.name for plugin in old}
    after = {plugin.name: plugin for plugin in new}
    found = []
    for plugin in old:
        wanted = after.get(plugin.name)
        found.append(plugin if wanted is None or wanted.plugin != plugin.plugin else _held(plugin, wanted))
    return (*found, *(plugin for plugin in new if plugin.name not in before and plugin.name in loaded))


def _held(old: PluginSettings, new: PluginSettings) -> PluginSettings:
    """The new options, but for those that need a restart."""
    fixed = _fixed_fields(new.config)
    if not fixed:
        return new
    options = {key: value for key, value in new.options.items() if key not in {field.key for field in fixed}}
    options |= {field.key: old.options[field.key] for field in fixed if field.key in old.options}
    config: Any = new.config
    return replace(
        new, options=options, config=replace(config, **{field.name: getattr(old.config, field.name) for field in fixed})
    )


def _fixed_fields(config: object) -> list[Field]:
    """Those of a plugin's options that need a restart."""
    if not is_dataclass(config) or isinstance(config, type):
        return []
    return [field for field in fields_of(type(config)) if field.option.needs_restart]


def _listeners(old: tuple[ListenerSettings, ...], new: tuple[ListenerSettings, ...]) -> Iterator[Change]:
    yield from _named("listener", {one.name: one for one in old}, {one.name: one for one in new})


def _named(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Tables that are known by their name."""
    for name in before:
        if name not in after:
            yield Change(f"{kind} {name}", "removed", needs_restart=False)
    for name, table in after.items():
        if name not in before:
            yield Change(f"{kind} {name}", "added", needs_restart=False)
        elif table != before[name]:
            for change in _group(before[name], table, ()):
                yield Change(f"{kind} {name}", f"{change.about}: {change.text}", change.needs_restart)


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
            fixed = {field.key for field in _fixed_fields(plugin.config)}
            for needs_restart in (False, True):
                some = [key for key in changed if (key in fixed) is needs_restart]
                if some:
                    yield Change(f"plugin {name}", f"changed: {', '.join(some)}", needs_restart)
    common = [name for name in before if name in after]
    if common != [name for name in after if name in before]:
        yield Change("plugins", "in another order", needs_restart=True)
