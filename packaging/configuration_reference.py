"""Writes docs/configuration.md: every option, from the types that the configuration is read with.

    python packaging/configuration_reference.py            # writes the page
    python packaging/configuration_reference.py --check    # exit code 1 where the page in the tree is another one

What an option means, its bounds, its default and whether a reload puts it into effect stand at the option itself
(``broker/config/options.py``). What it is called in a mosquitto.conf is found by reading one with the reader.
"""

import argparse
import importlib
import pkgutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

import noctule.plugins
from noctule.config import quantities
from noctule.config.documents import Document
from noctule.config.mosquitto import read_mosquitto
from noctule.config.mosquitto_directives import (
    DIRECTIVES,
    Ignored,
    Mapped,
    Needless,
    OfBridge,
    OfListener,
    Reading,
    Refused,
    Special,
)
from noctule.config.options import (
    Field,
    Quantity,
    Secret,
    alternatives_of,
    base_of,
    fields_of,
    is_group,
    item_of_list,
    item_of_mapping,
)
from noctule.config.settings import Settings
from noctule.config.toml_text import field_text
from noctule.hooks.loading import config_of_plugin

PAGE: Final = Path(__file__).parents[1] / "docs" / "configuration.md"

#: A key in a file, without numbers of list items: ``("listeners", "tls", "key_file")``.
KeyNames = tuple[str, ...]

#: What a mosquitto.conf with a directive looks like where its line alone would not be read, or a value would not do.
#: The names are Mosquitto's; what each becomes is found by reading it.
SAMPLES: Final[Mapping[str, str]] = {
    "accept_protocol_versions": "listener 1883\naccept_protocol_versions 4, 5",
    "acl_file": "acl_file /acl",
    "allow_anonymous": "allow_anonymous true",
    "allow_zero_length_clientid": "allow_zero_length_clientid false",
    "bind_address": "allow_anonymous true\nbind_address 127.0.0.1",
    "clientid_prefixes": "clientid_prefixes sensor-",
    "connection": "connection other\naddress broker.example:1883\ntopic # out",
    "connection_messages": "connection_messages true",
    "enable_proxy_protocol": "listener 1883\nenable_proxy_protocol 2",
    "listener": "allow_anonymous true\nlistener 1883 127.0.0.1",
    "log_dest": "log_dest stderr",
    "log_facility": "log_facility 5",
    "log_type": "log_type error",
    "max_connections": "listener 1883\nmax_connections 10",
    "max_qos": "listener 1883\nmax_qos 1",
    "maximum_qos": "listener 1883\nmaximum_qos 1",
    "max_queued_bytes": "max_queued_bytes 100000",
    "max_queued_messages": "max_queued_messages 100",
    "password_file": "password_file /passwd",
    "persistence": "persistence true",
    "persistent_client_expiration": "persistent_client_expiration 2m",
    "port": "allow_anonymous true\nport 1883",
    "protocol": "listener 1883\nprotocol websockets",
    "proxy_protocol_v2_require_tls": "listener 1883\nproxy_protocol_v2_require_tls true",
    "psk_file": "psk_file /psk\nlistener 1883\npsk_hint x",
    "tls_version": "listener 1883\ntls_version tlsv1.3",
    "user": "user mosquitto",
    "use_identity_as_username": "listener 1883\nuse_identity_as_username true",
    "use_subject_as_username": "listener 1883\nuse_subject_as_username true",
    "websockets_origin": "listener 1883\nwebsockets_origin https://panel.example",
}

#: Directives that say how the rest is meant, or where more of it is.
STRUCTURE: Final[Mapping[str, str]] = {
    "include_dir": "read; each of its files begins before any listener, and only the main file may have it",
    "per_listener_settings": "read: who may connect is then said for each listener",
    "plugin": "`mosquitto_password_file` and `mosquitto_acl_file` become `plugins.password_file` and "
    "`plugins.access_file`; `mosquitto_persist_sqlite` is a warning, since the broker has a store of its own; any "
    "other is an *error*: a shared object for Mosquitto cannot be loaded here",
    "auth_plugin": "as `plugin`",
    "global_plugin": "as `plugin`, for all listeners",
    "plugin_load": "as `plugin`",
    "plugin_use": "*no effect*: a plugin counts for all listeners",
    "socket_domain": "read: which addresses `listener` means",
}

_OPENING: Final = """\
# Configuration

Every option. This page is made from the types that the configuration is read with, by
`python packaging/configuration_reference.py`; a test compares it.

`noctule run -c FILE` reads TOML, or a mosquitto.conf as it is ([Coming from Mosquitto](coming-from-mosquitto.md)).
Without `-c` the defaults count, and the environment.

```sh
noctule config example > noctule.toml           # every option with its default, to begin with
noctule config schema > noctule.schema.json     # for editors: completion, and errors while you type
noctule check -c noctule.toml                   # what is wrong, what is not safe, what is in effect and who said it
```

| kind | how it is written |
|---|---|
| size | `"2MB"` (2,000,000 bytes), `"64KiB"` (65,536), or a whole number of bytes; `"2M"` is an error |
| time | `"500ms"`, `"30s"`, `"1h30m"`, `"7d"`, `"2w"`, or a number of seconds |
| path | relative paths start from the directory of the file that names them |
| secret | `password = "..."`, or `password_file = "PATH"` to read it from there; it is shown nowhere |

**More files.** `include = "conf.d"` reads the files `*.toml` of that directory too, sorted by name. Of a value said
twice the later counts; `[[listeners]]` and other lists of tables follow each other.

**Environment.** Any option may come from it: `NOCTULE__LIMITS__MAX_PACKET_SIZE=1MB`,
`NOCTULE__LISTENERS__0__PORT=1884`. It counts before the file.

**Errors** are told all at once, each with file, line, what was expected and what was meant; exit code 3. An unknown key
is an error.

**Reload.** SIGHUP (`systemctl reload noctule`) reads everything again, and puts it into effect as a whole or not at
all; the log says what has changed. In the tables *reload: yes* means that it takes effect then; *restart*, that the log
says so and the old value stays until the broker is started again. Who is connected stays connected, unless
listeners or users that let them in are gone.
"""

_PLUGINS: Final = """\
## Plugins

A plugin is loaded where it is named: by a table with its options, or in `plugins = ["NAME"]` if it needs none. They are
asked in the order in which they stand in the file. `plugin = "NAME"` in the table loads that one under another name,
so that one can be there twice. To add or remove one, or change their order, takes a restart; their options take effect
on a reload unless the table says otherwise. Others than these: [Plugins](plugins.md).
"""

_PLUGIN_PAGES: Final = {
    "access_file": "[Access rules](access.md)",
    "anonymous": "[Tokens and HTTP](authentication-web.md)",
    "http": "[Tokens and HTTP](authentication-web.md)",
    "jwt": "[Tokens and HTTP](authentication-web.md)",
    "memory_store": "[What is kept, and when](durability.md)",
    "password_file": "[Authentication](authentication.md)",
    "sqlite_store": "[What is kept, and when](durability.md)",
}

_DIRECTIVES: Final = """\
## mosquitto.conf, directive by directive

What becomes of each directive of Mosquitto 2.1 when `noctule run -c mosquitto.conf` reads it. An *error* refuses the
start, with file and line, because going on without it would let in or lose what it is about; a value that asks for
nothing special is accepted. A *warning* is logged, and the directive ignored. What has *no effect* is missed by nobody.
"""


def page() -> str:
    """The whole page."""
    names = directives_by_key()
    lines = [_OPENING]
    lines += _group(Settings, (), "The top of the file", names)
    lines.append(_PLUGINS)
    for name in built_in_plugins():
        lines += _plugin(name, names)
    lines.append(_DIRECTIVES)
    lines += _directives(names)
    return "\n".join(lines).rstrip() + "\n"


def built_in_plugins() -> list[str]:
    """The names of the plugins that come with the broker."""
    found = []
    for module in pkgutil.iter_modules(noctule.plugins.__path__):
        try:
            config_of_plugin(module.name)
        except LookupError:
            continue
        if _is_plugin(module.name):
            found.append(module.name)
    return found


def _is_plugin(name: str) -> bool:
    """Whether the module is a plugin by itself, not something that plugins share."""
    return name in _PLUGIN_PAGES or hasattr(importlib.import_module(f"noctule.plugins.{name}"), "PLUGIN")


# Tables


def _group(group: type, path: KeyNames, title: str, names: "Names", *, restart: bool = False) -> Iterator[str]:
    """A section for one table of the file, then one for each table in it."""
    fields = fields_of(group)
    inner = [field for field in fields if _table_in(field) is not None]
    yield f"## {title}\n"
    if len(inner) < len(fields):
        yield "| option | kind | default | what it is | reload | mosquitto.conf |"
        yield "|---|---|---|---|---|---|"
        if not path:
            yield (
                "| `include` | path | none | A directory whose files (`*.toml`) are read too, sorted by name. | yes | "
                "`include_dir` |"
            )
        for field in fields:
            if field not in inner:
                yield _row(field, (*path, field.key), names, restart=restart)
        yield ""
    for field in inner:
        table = _table_in(field)
        if table is None:
            continue
        here = (*path, field.key)
        is_list = is_group(item_of_list(_alternative(field)))
        header = ".".join(here)
        title = f"`[[{header}]]`" if is_list else f"`[{header}]`"
        yield from _group(table, here, title, names, restart=restart or field.option.needs_restart)


def _alternative(field: Field) -> Any:
    return next(iter(alternatives_of(field.type)))


def _table_in(field: Field) -> type | None:
    for kind in (*alternatives_of(field.type), item_of_list(field.type)):
        if isinstance(kind, type) and is_group(kind):
            return kind
    return None


def _row(field: Field, path: KeyNames, names: "Names", *, restart: bool = False) -> str:
    doc = field.option.doc
    if field.option.later:
        only = ", ".join(f'`"{value}"`' for value in field.option.later_values)
        doc += f" **Not available in this version yet{': ' + only if only else ''}.**"
    cells = (
        f"`{field.key}`",
        _kind(field),
        _default(field),
        doc,
        "restart" if restart or field.option.needs_restart else "yes",
        ", ".join(f"`{name}`" for name in names.get(path, ())),
    )
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _kind(field: Field) -> str:
    kinds = [_one_kind(base_of(kind), field) for kind in alternatives_of(field.type)]
    text = " or ".join(dict.fromkeys(kinds))
    bounds = _bounds(field)
    return f"{text}, {bounds}" if bounds else text


def _one_kind(kind: Any, field: Field) -> str:
    if (item := item_of_list(kind)) is not None:
        inner = " or ".join(_one_kind(base_of(one), field) for one in alternatives_of(item))
        return f"list of {inner}"
    if (item := item_of_mapping(kind)) is not None:
        return f"table of {_one_kind(base_of(item), field)}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f'`"{member.value}"`' for member in kind)
    if kind in (int, float) and field.quantity is not None:
        return "size" if field.quantity is Quantity.SIZE else "time"
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path", Secret: "secret"}
    name = names.get(kind)
    if name is None:
        return "table" if is_group(kind) else "any value"
    return name


def _bounds(field: Field) -> str:
    low, high = (_bound(field, bound) for bound in (field.option.minimum, field.option.maximum))
    if low and high:
        return f"{low} to {high}"
    return f"from {low} on" if low else f"up to {high}" if high else ""


def _bound(field: Field, bound: float | None) -> str:
    if bound is None:
        return ""
    if field.quantity is Quantity.SIZE:
        return quantities.format_size(int(bound))
    if field.quantity is Quantity.DURATION:
        return quantities.format_duration(float(bound))
    return f"{bound:,}"


def _default(field: Field) -> str:
    if field.is_required:
        return "must be given"
    if field.default is None:
        return "not set"
    if field.default in ((), {}, "") or is_group(type(field.default)):
        return "none"
    if isinstance(field.default, Path):
        return "as `data_directory`"  # it depends on who asks
    return f"`{field_text(field, field.default)}`"


def _plugin(name: str, names: "Names") -> Iterator[str]:
    config = config_of_plugin(name)
    yield f"### `[plugins.{name}]`\n"
    module = importlib.import_module(f"noctule.plugins.{name}")
    about = " ".join((module.__doc__ or "").split()).partition(". ")[0].replace("``", "`").rstrip(".")
    yield f"{about}. More: {_PLUGIN_PAGES.get(name, '[Plugins](plugins.md)')}.\n"
    fields = fields_of(config)
    if not fields:
        yield "No options.\n"
        return
    yield "| option | kind | default | what it is | reload | mosquitto.conf |"
    yield "|---|---|---|---|---|---|"
    for field in fields:
        yield _row(field, ("plugins", name, field.key), names)
    yield ""


# Mosquitto's names

Names = Mapping[KeyNames, list[str]]


def directives_by_key() -> Names:
    """The names of directives by the key that they become."""
    found: dict[KeyNames, list[str]] = {}
    for name, directive in DIRECTIVES.items():
        for key in keys_of(name, directive):
            found.setdefault(key, []).append(name)
    return found


def keys_of(name: str, directive: object) -> tuple[KeyNames, ...]:
    """The keys that a directive sets; none for one that sets nothing by itself."""
    if isinstance(directive, OfListener):
        return (("listeners", *_names(directive.path)),)
    if isinstance(directive, Mapped):
        return (_names(directive.path),)
    if isinstance(directive, Special) and name in SAMPLES:
        return tuple(dict.fromkeys(_said_by(_sample(name), _line_of(name))))
    return ()


def _line_of(name: str) -> int:
    return [line.split()[0] for line in SAMPLES[name].splitlines()].index(name) + 1


def _sample(name: str) -> Document:
    """What comes of the sample of a directive."""
    document = Document()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mosquitto.conf"
        path.write_text(SAMPLES[name] + "\n", encoding="utf-8")
        read_mosquitto(path, document)
    return document


def _names(path: tuple[str | int, ...]) -> KeyNames:
    return tuple(part for part in path if isinstance(part, str))


def _said_by(document: Document, line: int) -> Iterator[KeyNames]:
    """The keys that one line of a mosquitto.conf has set."""
    for key, place in document.places.items():
        value: Any = document.values
        for part in key:
            value = value[part]
        is_table = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))
        if place.line == line and not is_table:
            yield _names(key)


def _directives(names: Names) -> Iterator[str]:
    by_directive: dict[str, list[str]] = {}
    for key, said in names.items():
        for name in said:
            by_directive.setdefault(name, []).append(".".join(key))
    yield "| directive | what becomes of it |"
    yield "|---|---|"
    bridge = sorted(name for name, directive in DIRECTIVES.items() if isinstance(directive, OfBridge))
    for name, directive in sorted(DIRECTIVES.items()):
        if isinstance(directive, OfBridge):
            continue
        yield f"| `{name}` | {_cell(_fate(name, directive, by_directive.get(name, [])))} |"
    if bridge:
        yield f"| of bridges: {', '.join(f'`{name}`' for name in bridge)} | see [Bridges](bridges.md) |"
    yield ""


def _fate(name: str, directive: object, keys: list[str]) -> str:
    if isinstance(directive, Refused):
        but = f" Accepted: {_words(directive.harmless, directive.reading)}." if directive.harmless else ""
        return f"*error*: {directive.why}.{but}"
    if isinstance(directive, Ignored):
        but = f" None with {_words(directive.harmless, directive.reading)}." if directive.harmless else ""
        return f"*warning*: {directive.why}.{but}"
    if isinstance(directive, Needless):
        return f"*no effect*: {directive.why}"
    if name in STRUCTURE:
        return STRUCTURE[name]
    found = [", ".join(f"`{key}`" for key in keys)] if keys else []
    if any(_is_missing(key) for key in keys):
        found.append("*error* where it is set: not available in this version yet")
    if isinstance(directive, Special) and name in SAMPLES:
        document, line = _sample(name), _line_of(name)
        for word, problems in (("error", document.problems), ("warning", document.warnings), ("note", document.notes)):
            found += [f"*{word}*: {problem.text}" for problem in problems if problem.place.line == line]
    return "; ".join(found) or "read"


def _is_missing(key: str) -> bool:
    """Whether a key of the settings, with dots, is one whose feature is still to come."""
    group: type = Settings
    option = None
    for name in key.split("."):
        option = next((field for field in fields_of(group) if field.key == name), None)
        if option is None:
            return False  # an option of a plugin
        if option.option.later and not option.option.later_values:
            return True
        group = _table_in(option) or group
    return False


def _words(harmless: tuple[str, ...], reading: Reading) -> str:
    shown = [one for one in harmless if not (reading is Reading.FLAG and one in ("0", "1"))]
    return ", ".join(f"`{one}`" for one in shown)


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description="Write docs/configuration.md from the types of the configuration.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; 1 where the page in the tree is another one"
    )
    arguments = parser.parse_args()
    text = page()
    if not arguments.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE} is not what the types say: python {sys.argv[0]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
