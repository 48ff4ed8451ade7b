"""A configuration before it is checked: what the files and the environment say, merged, and where each said it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tomli
from noctule.config.checking import EnvironmentText
from noctule.config.problems import KeyPath, Place, Positions, Problem
from noctule.config.toml_places import places_of

#: ``NOCTULE__LIMITS__MAX_PACKET_SIZE`` is ``limits.max_packet_size``.
ENVIRONMENT_PREFIX: Final = "NOCTULE__"

#: A configuration is written by people; what is larger is some other file.
FILE_MAX_BYTES: Final = 16_777_216


class Document:
    """What was read so far. Lists of tables follow each other; of a value that was said twice the later counts."""

    __slots__ = ("notes", "places", "problems", "secret_files", "sources", "values", "warnings")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.places: dict[KeyPath, Place] = {}
        self.sources: list[Path] = []
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

        #: What differs from another broker's reading of the same file, for whoever converts it.
        self.notes: list[Problem] = []

        #: Files with secrets whose type says nothing of it: path, where it is named, and as what.
        self.secret_files: list[tuple[Path, Place, str]] = []

    @property
    def positions(self) -> Positions:
        """Where everything was said."""
        return Positions(self.places)

    def problem(self, place: Place, about: str, text: str) -> None:
        """Note what is wrong."""
        self.problems.append(Problem(place, about, text))

    def warn(self, place: Place, about: str, text: str) -> None:
        """Note what its author should know."""
        self.warnings.append(Problem(place, about, text))

    def note(self, place: Place, about: str, text: str) -> None:
        """Note what is different here."""
        self.notes.append(Problem(place, about, text))

    def read_text(self, path: Path, asked_at: Place | None = None, errors: str = "strict") -> str | None:
        """The text of a file; None, and a problem, where it cannot be had.

        ``asked_at`` is who named it, ``errors`` what becomes of bytes that are not UTF-8.
        """
        place = Place(str(path))
        try:
            with path.open("rb") as file:
                content = file.read(FILE_MAX_BYTES + 1)
        except OSError as error:
            self.problem(asked_at or place, str(path) if asked_at else "", f"cannot be read: {error.strerror or error}")
            return None
        self.sources.append(path)
        if len(content) > FILE_MAX_BYTES:
            self.problem(place, "", f"is larger than {FILE_MAX_BYTES} bytes: not a configuration")
            return None
        try:
            return content.decode("utf-8-sig", errors)
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.problem(Place(str(path), line), "", f"byte 0x{content[error.start]:02X} is not UTF-8 text")
            return None

    def files_of(self, directory: Path, suffix: str, asked_at: Place, about: str) -> list[Path]:
        """The files of a directory with that suffix, sorted by the bytes of their names; links are followed.

        Empty, and a problem, where there is no such directory.
        """
        try:
            names = [name for name in os.listdir(directory) if name.endswith(suffix) and not name.startswith(".")]
        except OSError as error:
            self.problem(asked_at, about, f"the directory {directory} cannot be read: {error.strerror or error}")
            return []
        return [directory / name for name in sorted(names, key=os.fsencode) if not (directory / name).is_dir()]

    def set(self, path: KeyPath, value: object, place: Place) -> None:
        """Say one value; tables on the way are made."""
        table: Any = self.values
        for index, part in enumerate(path[:-1]):
            self.places.setdefault(path[: index + 1], place)
            table = table[part] if isinstance(part, int) else table.setdefault(part, {})
        table[path[-1]] = value
        self.forget(path)
        self.places[path] = place

    def append(self, path: KeyPath, value: dict[str, Any], place: Place) -> int:
        """One more table of a list of tables; its index comes back."""
        tables: Any = self.values
        for part in path[:-1]:
            tables = tables[part]
        tables = tables.setdefault(path[-1], [])
        tables.append(value)
        self.places.setdefault(path, place)
        self.places[(*path, len(tables) - 1)] = place
        return len(tables) - 1

    def forget(self, path: KeyPath) -> None:
        """Forget where what is below was said."""
        for old in [old for old in self.places if old[: len(path)] == path]:
            del self.places[old]


def read_toml(path: Path, document: Document) -> None:
    """Read a TOML file and what its ``include`` names into the document."""
    read = _parsed(path, document, None)
    if read is None:
        return
    values, places = read
    include = values.pop("include", None)
    _merge(document, values, places)
    if include is None:
        return
    place = places[("include",)]
    if not isinstance(include, str) or not include:
        document.problem(place, "include", "expected the path of a directory, in quotes")
        return
    directory = path.parent / include
    for file in document.files_of(directory, ".toml", place, "include"):
        included = _parsed(file, document, place)
        if included is None:
            continue
        values, places = included
        if values.pop("include", None) is not None:
            document.problem(places[("include",)], "include", "only the main file may include others")
        _merge(document, values, places)


def _parsed(
    path: Path, document: Document, asked_at: Place | None
) -> tuple[dict[str, Any], dict[KeyPath, Place]] | None:
    """The values of a TOML file and their places, plugins as tables; None, and a problem, where it is not TOML."""
    text = document.read_text(path, asked_at)
    if text is None:
        return None
    try:
        values = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        line, column = getattr(error, "lineno", 0), getattr(error, "colno", 0)
        hint = _syntax_hint(text.split("\n")[line - 1] if 0 < line <= text.count("\n") + 1 else "")
        what = getattr(error, "msg", str(error))
        document.problem(Place(str(path), line), "", f"not TOML: {what} (column {column}){hint}")
        return None
    except RecursionError:
        document.problem(Place(str(path)), "", "not TOML: nested too deeply")
        return None
    places = places_of(text, str(path), path.absolute().parent)
    _plugins_as_tables(document, values, places)
    return values, places


def _syntax_hint(line: str) -> str:
    """What the author of a line that is not TOML may have forgotten."""
    key, equals, value = line.partition("=")
    value = value.strip()
    if equals and value and value[0] not in "\"'[{" and value.split("#")[0].strip() not in ("true", "false"):
        return f'; texts stand in quotes: {key.strip()} = "{value.split("#")[0].strip()}"'
    if not equals and line.strip() and not line.lstrip().startswith(("#", "[")):
        return "; expected KEY = VALUE"
    return ""


def _plugins_as_tables(document: Document, values: dict[str, Any], places: dict[KeyPath, Place]) -> None:
    """``plugins = ["a", "b"]`` says the same as empty tables ``[plugins.a]`` and ``[plugins.b]``."""
    plugins = values.get("plugins")
    if not isinstance(plugins, list):
        return
    tables: dict[str, Any] = {}
    for index, name in enumerate(plugins):
        place = places.pop(("plugins", index))
        if not isinstance(name, str):
            document.problem(place, f"plugins[{index}]", "expected the name of a plugin, in quotes")
            continue
        tables[name] = {}
        places["plugins", name] = place
    values["plugins"] = tables


def _merge(document: Document, values: dict[str, Any], places: dict[KeyPath, Place]) -> None:
    """Add what a file says to what was said before."""
    moved: dict[KeyPath, Place] = {}
    _merge_table(document, document.values, values, (), moved, places)
    for path, place in places.items():
        document.places[_moved(path, moved)] = place


def _merge_table(
    document: Document,
    into: dict[str, Any],
    values: dict[str, Any],
    path: KeyPath,
    moved: dict[KeyPath, Any],
    places: dict[KeyPath, Place],
) -> None:
    for key, value in values.items():
        old = into.get(key)
        here = (*path, key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge_table(document, old, value, here, moved, places)
        elif isinstance(old, list) and _is_list_of_tables(old) and _is_list_of_tables(value):
            moved[here] = len(old)
            old.extend(value)
        else:
            if old is not None:
                document.forget(here)
            into[key] = value


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _moved(path: KeyPath, moved: Mapping[KeyPath, Any]) -> KeyPath:
    """The path with the index that an item has after the lists were joined."""
    for length in range(1, len(path)):
        index = path[length]
        if isinstance(index, int) and path[:length] in moved:
            return (*path[:length], index + moved[path[:length]], *path[length + 1 :])
    return path


def read_environment(environment: Mapping[str, str], document: Document) -> None:
    """Let the variables ``NOCTULE__...`` say more, or something else, than the files."""
    for name in sorted(environment):
        if not name.upper().startswith(ENVIRONMENT_PREFIX):
            continue
        place = Place(name, folder=Path.cwd())
        parts = name[len(ENVIRONMENT_PREFIX) :].lower().split("__")
        if not all(parts):
            document.problem(place, "", "expected NOCTULE__KEY or NOCTULE__TABLE__KEY")
            continue
        if parts == ["include"]:
            document.problem(place, "include", "only a file may include others")
        else:
            _set_from_environment(document, parts, environment[name], place)


def _set_from_environment(document: Document, parts: list[str], text: str, place: Place) -> None:
    path: KeyPath = ()
    table: Any = document.values
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        key: str | int = part
        if isinstance(table, list) or (path == ("listeners",) and part.isdecimal()):
            if not part.isdecimal() or int(part) > len(table):
                allowed = "0" if not table else f"a number from 0 to {len(table)}"
                document.problem(place, "", f'"{part.upper()}" is not the number of one of them: expected {allowed}')
                return
            key = int(part)
        elif not isinstance(table, dict):
            document.problem(place, Positions({}).key((*path, part)), f'"{Positions({}).key(path)}" is no table')
            return
        path = (*path, key)
        if is_last:
            _put(table, key, EnvironmentText(text))
            document.forget(path)
            document.places[path] = place
            return
        below: Any = [] if path == ("listeners",) else {}
        if isinstance(key, int):
            if key == len(table):
                table.append(below)
        else:
            table.setdefault(key, below)
        table = table[key]
        document.places.setdefault(path, place)


def _put(table: Any, key: str | int, value: object) -> None:
    if isinstance(key, int) and key == len(table):
        table.append(value)
    else:
        table[key] = value
