"""Writes settings as TOML: the ones in effect with where each was said, and the example with every option."""

import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

from noctule.config import quantities
from noctule.config.documents import Document
from noctule.config.options import Field, Quantity, Secret, alternatives_of, fields_of, is_group, item_of_list
from noctule.config.problems import KeyPath, Positions, key_text
from noctule.config.settings import Settings

_WIDTH: Final = 110

_EXAMPLE_OPENING: Final = """\
# Every option of Noctule with its default. Options that are not set, or that this version does not have yet, begin
# with "#" and no blank: they show how it may look.
# Sizes: "2MB" (2,000,000 bytes), "64KiB" (65,536 bytes). Times: "500ms", "30s", "5m", "1h", "7d".
# Relative paths start from the directory of this file.
# Any option may come from the environment as well: NOCTULE__LIMITS__MAX_PACKET_SIZE="1MB".
"""

_EXAMPLE_INCLUDE: Final = """\
# A directory whose files (*.toml) are read too, sorted by name; of a value said twice the later counts.
#include = "conf.d"
"""

_EXAMPLE_PLUGINS: Final = """\
# Plugins are loaded where they are named: each has a table with its own options. Those without options may be named
# in an array at the top instead: plugins = ["NAME"]
#[plugins.NAME]
"""


def toml_value(value: object) -> str:
    """A value as TOML writes it. TypeError for what TOML cannot say."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _toml_string(str(value))
    if isinstance(value, Path):
        return _toml_string(str(value))
    if isinstance(value, Enum):
        return toml_value(value.value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        return "{ " + ", ".join(f"{key_text((key,))} = {toml_value(item)}" for key, item in value.items()) + " }"
    if is_group(type(value)):
        said = [(field, getattr(value, field.name)) for field in fields_of(type(value))]
        items = [
            f"{key_text((field.key,))} = {field_text(field, item)}" for field, item in said if _is_said(field, item)
        ]
        return "{ " + ", ".join(items) + " }" if items else "{}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def _is_said(field: Field, value: object) -> bool:
    """Whether a field of an inner table has to be written: not where it is as it would be without."""
    return value is not None and value != field.default


def _toml_string(text: str) -> str:
    escaped = []
    for character in text:
        if character in '"\\':
            escaped.append("\\" + character)
        elif character < " " or character == "\x7f":
            escaped.append(f"\\u{ord(character):04X}")
        else:
            escaped.append(character)
    return '"' + "".join(escaped) + '"'


def field_text(field: Field, value: object) -> str:
    """A field's value as TOML, sizes and times with their unit. Secrets are not shown."""
    if isinstance(value, Secret):
        return '"(not shown)"'
    if isinstance(value, int | float) and not isinstance(value, bool):
        if field.quantity is Quantity.SIZE:
            return toml_value(quantities.format_size(int(value)))
        if field.quantity is Quantity.DURATION:
            return toml_value(quantities.format_duration(value))
    return toml_value(value)


def effective_text(settings: Settings, positions: Positions) -> str:
    """The settings as TOML, each with where it was said. Options that are not set are left out."""
    lines = list(_effective(settings, (), positions))
    for plugin in settings.plugins:
        lines += ["", f"[{key_text(('plugins', plugin.name))}]"]
        if plugin.plugin != plugin.name:
            lines.append(f"plugin = {toml_value(plugin.plugin)}")
        if plugin.config is not None:
            lines += _effective(plugin.config, (), plugin.positions)
            continue
        # Without the type of the options nobody here knows which of them are secret.
        lines += [f"{key_text((key,))} = {_masked(plugin.options[key])}" for key in plugin.options]
    return "\n".join(lines).strip() + "\n"


def _masked(value: object) -> str:
    return toml_value(value) if isinstance(value, bool | int | float) else '"(not shown)"'


def _effective(group: Any, path: KeyPath, positions: Positions) -> Iterator[str]:
    tables = []
    for field in fields_of(type(group)):
        value = getattr(group, field.name)
        here = (*path, field.key)
        if value is None:
            continue
        if is_group(type(value)) or _is_tables(field):
            tables.append((field, here, value))
            continue
        place = positions.find(here)
        yield f"{key_text((field.key,))} = {field_text(field, value)}  # {place or 'default'}"
    for field, here, value in tables:
        if _is_tables(field):
            for index, item in enumerate(value):
                yield ""
                yield f"[[{_header((*path, field.key))}]]"
                yield from _effective(item, (*here, index), positions)
            continue
        if value == field.default and field.option.later:
            continue
        yield ""
        yield f"[{_header(here)}]"
        yield from _effective(value, here, positions)


def _is_tables(field: Field) -> bool:
    return is_group(item_of_list(field.type))


def _header(path: KeyPath) -> str:
    """A path in a table's header, where the number of an item is not said."""
    return key_text(tuple(part for part in path if isinstance(part, str)))


def example_text() -> str:
    """A file with every option, its default, and what it is for; it can be used as it is."""
    lines = [_EXAMPLE_OPENING, _EXAMPLE_INCLUDE]
    lines += _example(Settings, (), is_commented=False)
    lines += ["", _EXAMPLE_PLUGINS.rstrip()]
    return "\n".join(lines) + "\n"


def _example(group: type, path: KeyPath, *, is_commented: bool) -> Iterator[str]:
    tables = []
    for field in fields_of(group):
        if _group_of(field) is not None:
            tables.append(field)
            continue
        yield from _comment(_documentation(field))
        shows_nothing = field.is_required or field.default is None
        value = field.option.example if shows_nothing else field_text(field, field.default)
        if field.option.example and field.default in ((), {}):
            value = field.option.example
            shows_nothing = True
        sign = "#" if shows_nothing or is_commented else ""
        yield f"{sign}{key_text((field.key,))} = {value}"
        yield ""
    for field in tables:
        inner = _group_of(field)
        assert inner is not None  # noqa: S101
        is_optional = is_commented or bool(field.option.later) or field.default in (None, ())
        here = (*path, field.key)
        yield from _comment(_documentation(field))
        header = f"[[{_header(here)}]]" if _is_tables(field) else f"[{_header(here)}]"
        yield f"{'#' if is_optional else ''}{header}"
        yield from _example(inner, here, is_commented=is_optional)


def _group_of(field: Field) -> type | None:
    """The group in a field that is a table, or a list of tables."""
    for kind in (*alternatives_of(field.type), item_of_list(field.type)):
        if is_group(kind) and isinstance(kind, type):
            return kind
    return None


def _documentation(field: Field) -> str:
    text = field.option.doc
    kinds = [kind for kind in alternatives_of(field.type) if isinstance(kind, type) and issubclass(kind, Enum)]
    for kind in kinds:
        text += " One of " + ", ".join(f'"{member.value}"' for member in kind) + "."
    if field.option.later:
        values = ", ".join(f'"{value}"' for value in field.option.later_values)
        text += f" Not available in this version yet{': ' + values if values else ''}."
    if field.option.needs_restart:
        text += " A change needs a restart."
    return text


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)]


def document_text(document: Document) -> str:
    """A document as TOML, each value with the place that said it, as a comment."""
    lines = list(_table_lines(document.values, (), document.positions))
    return "\n".join(lines).strip() + "\n"


def _table_lines(table: Mapping[str, Any], path: KeyPath, positions: Positions) -> Iterator[str]:
    inner: list[tuple[KeyPath, str, Mapping[str, Any]]] = []
    for key, value in table.items():
        here = (*path, key)
        if isinstance(value, dict):
            inner.append((here, f"[{_header(here)}]", value))
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            inner += [((*here, index), f"[[{_header(here)}]]", one) for index, one in enumerate(value)]
        else:
            yield f"{key_text((key,))} = {toml_value(value)}  # {positions.place(here)}"
    for here, header, below in inner:
        if not below or not all(isinstance(value, dict) for value in below.values()):
            yield ""
            yield f"{header}  # {positions.place(here)}"
        yield from _table_lines(below, here, positions)
