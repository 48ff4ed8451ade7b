"""A table as it was read, made into a group of settings: everything that is wrong with it at once."""

import math
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

import tomli
from noctule.config import quantities
from noctule.config.options import (
    Field,
    Option,
    Quantity,
    Secret,
    allows_none,
    alternatives_of,
    base_of,
    fields_of,
    is_group,
    item_of_list,
    item_of_mapping,
)
from noctule.config.problems import KeyPath, Place, Positions, Problem, did_you_mean

_Group = TypeVar("_Group")

#: What is added to the key of a ``Secret`` to name the file that has it.
SECRET_FILE_SUFFIX: Final = "_file"  # noqa: S105

#: A secret in a file is a key or a password, not a disk.
_SECRET_MAX_BYTES: Final = 65_536

_LONGEST_SHOWN: Final = 60


class EnvironmentText(str):
    """A value from the environment: its type is that of the option it is for, which the reader did not know."""

    __slots__ = ()


def check_table(table: Mapping[str, object], group: type[_Group], positions: Positions) -> "_Group | list[Problem]":
    """The table as an instance of a dataclass, or everything that is wrong with it.

    ``positions`` is the table's own (``Positions.below``). ValueError from the dataclass's ``__post_init__`` becomes
    a problem of the table's; no other exception is expected of it.
    """
    checker = Checker(positions)
    value = checker.group(table, group, ())
    return checker.problems if checker.problems else value


class _WrongError(Exception):
    """A value that does not fit; the text says what would."""


class Checker:
    """Collects the problems of a document, and on the side what its author should know."""

    def __init__(self, positions: Positions) -> None:
        self.positions = positions
        self.problems: list[Problem] = []

        #: Options given whose feature is missing still: problems for who wants to run, not for who converts.
        self.not_yet: list[Problem] = []

        #: Given values that are beyond what is reasonable.
        self.unsafe: list[Problem] = []

        #: Files that hold secrets, and where they are named.
        self.secret_files: list[tuple[Path, Place, str]] = []

        #: Secrets written out in a file, which is then to be kept from others as well.
        self.secrets: list[Place] = []

    def problem(self, path: KeyPath, text: str) -> None:
        """Note that the value of this key is wrong."""
        self.problems.append(self.positions.problem(path, text))

    def group(self, table: Mapping[str, object], group: type[_Group], path: KeyPath) -> _Group:
        """The table as the group; defaults stand in for what is wrong, so that the rest is checked too."""
        before = len(self.problems)
        given: dict[str, object] = {}
        known: set[str] = set()
        for field in fields_of(group):
            known.add(field.key)
            key = field.key
            if Secret in alternatives_of(field.type):
                known.add(key + SECRET_FILE_SUFFIX)
                if key + SECRET_FILE_SUFFIX in table:
                    self._secret_from_file(table, field, given, path)
                    continue
            if key in table:
                self._field(table[key], field, given, (*path, key))
            elif field.is_required:
                self.problem(path, f'"{key}" is missing: expected {_expected(field)}')
        for key in table:
            if key not in known:
                self.problem((*path, key), self.unknown_key_text(key, known, path))
        if len(self.problems) > before:
            for field in fields_of(group):
                if field.is_required:
                    given.setdefault(field.name, None)
        try:
            return group(**given)
        except ValueError as error:
            if len(self.problems) == before:
                self.problem(path, str(error))
        except TypeError:
            # Stand-ins of a group that has failed already.
            if len(self.problems) == before:
                raise
        return group.__new__(group)

    def unknown_key_text(self, key: str, known: set[str], path: KeyPath) -> str:
        """What to say of a key that the table does not have."""
        del path
        hint = did_you_mean(key, known)
        if not hint and len(known) <= 8:
            hint = "; expected one of " + ", ".join(sorted(known))
        return f"unknown key{hint}"

    def _secret_from_file(
        self, table: Mapping[str, object], field: Field, given: dict[str, object], path: KeyPath
    ) -> None:
        file_key = field.key + SECRET_FILE_SUFFIX
        if field.key in table:
            self.problem((*path, file_key), f'"{field.key}" is given as well: one of the two')
            return
        try:
            file = self._path(table[file_key], (*path, file_key))
        except _WrongError as error:
            self.problem((*path, file_key), str(error))
            return
        self.secret_files.append((file, self.positions.place((*path, file_key)), self.positions.key((*path, file_key))))
        try:
            with file.open("rb") as opened:
                content = opened.read(_SECRET_MAX_BYTES + 1)
            text = content.decode().removesuffix("\n").removesuffix("\r")
        except OSError as error:
            self.problem((*path, file_key), f"cannot read {file}: {error.strerror or error}")
        except UnicodeDecodeError:
            self.problem((*path, file_key), f"{file} is not UTF-8 text")
        else:
            if len(content) > _SECRET_MAX_BYTES:
                self.problem((*path, file_key), f"{file} is larger than {_SECRET_MAX_BYTES} bytes: not a secret")
                return
            if not text:
                self.problem((*path, file_key), f"{file} is empty")
            given[field.name] = Secret(text)

    def _field(self, raw: object, field: Field, given: dict[str, object], path: KeyPath) -> None:
        before = len(self.problems)
        if field.quantity is not None and self.positions.place(path).name is not None:
            field = replace(field, quantity=None)  # a directive of Mosquitto's: a plain number
        try:
            value = self._value(raw, field.type, field, path)
        except _WrongError as error:
            shown = "" if Secret in alternatives_of(field.type) else f"; got {_shown(raw)}"
            self.problem(path, f"{error}{shown}")
            return
        if len(self.problems) == before:
            given[field.name] = value
        self._consider(value, raw, field, path)

    def _consider(self, value: object, raw: object, field: Field, path: KeyPath) -> None:
        """Bounds of prudence, and features to come."""
        option = field.option
        if option.later:
            waits = value != field.default
            if option.later_values:
                waits = _plain(value) in option.later_values
            if waits:
                what = option.later + (f" ({_shown(raw)})" if option.later_values else "")
                self.not_yet.append(self.positions.problem(path, f"{what}: not available in this version yet"))
        if option.unsafe_above is not None and isinstance(value, int | float) and value > option.unsafe_above:
            much, usual = _quantity_text(value, field), _quantity_text(option.unsafe_above, field)
            self.unsafe.append(self.positions.problem(path, f"{much} is a lot: up to {usual} is reasonable"))
        if option.is_secret_file and isinstance(value, Path):
            self.secret_files.append((value, self.positions.place(path), self.positions.key(path)))

    def _value(self, raw: object, annotation: Any, field: Field, path: KeyPath) -> object:
        """The value that the annotation asks for. _WrongError where it is not that."""
        if isinstance(raw, EnvironmentText):
            if not raw and allows_none(annotation):
                return None
            raw = _from_environment(raw, annotation)
        choices = alternatives_of(annotation)
        if len(choices) == 1:
            return self._one(raw, base_of(choices[0]), field, path)
        for choice in choices:
            kept = len(self.problems)
            try:
                value = self._one(raw, base_of(choice), field, path)
            except _WrongError:
                continue
            if len(self.problems) == kept:
                return value
            if isinstance(raw, list | dict):
                return value  # the right kind, wrong inside: its own problems say more
            del self.problems[kept:]
        raise _WrongError(f"expected {_expected(field)}")

    def _one(self, raw: object, kind: Any, field: Field, path: KeyPath) -> object:
        if is_group(kind):
            if not isinstance(raw, dict):
                raise _WrongError("expected a table")
            return self.group(raw, kind, path)
        if (item := item_of_list(kind)) is not None:
            return self._items(raw, item, field, path)
        if (item := item_of_mapping(kind)) is not None:
            return self._mapping(raw, item, field, path)
        if kind is Path:
            return self._path(raw, path)
        if kind is Secret:
            if not isinstance(raw, str):
                raise _WrongError("expected a text in quotes")
            self.secrets.append(self.positions.place(path))
            return Secret(str(raw))
        return _scalar(raw, kind, field)

    def _items(self, raw: object, item: Any, field: Field, path: KeyPath) -> tuple[object, ...]:
        if not isinstance(raw, list):
            raise _WrongError(f"expected {_expected(field)}")
        values = []
        for index, one in enumerate(raw):
            try:
                values.append(self._value(one, item, field, (*path, index)))
            except _WrongError as error:
                self.problem((*path, index), f"{error}; got {_shown(one)}")
        return tuple(values)

    def _mapping(self, raw: object, item: Any, field: Field, path: KeyPath) -> dict[str, object]:
        if not isinstance(raw, dict):
            raise _WrongError(f"expected {_expected(field)}")
        values = {}
        for key, one in raw.items():
            try:
                values[key] = self._value(one, item, field, (*path, key))
            except _WrongError as error:
                self.problem((*path, key), f"{error}; got {_shown(one)}")
        return values

    def _path(self, raw: object, path: KeyPath) -> Path:
        """A path; a relative one starts from the folder of the file that says it."""
        if not isinstance(raw, str) or not raw or "\0" in raw:
            raise _WrongError("expected a path in quotes")
        return self.positions.place(path).folder / Path(raw).expanduser()


def _scalar(raw: object, kind: Any, field: Field) -> object:
    if kind is Any or kind is object:
        return raw
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member(raw, kind)
    if kind is bool:
        if not isinstance(raw, bool):
            raise _WrongError("expected true or false")
        return raw
    if kind is str:
        if not isinstance(raw, str):
            raise _WrongError("expected a text in quotes")
        return str(raw)
    if kind is int or kind is float:
        return _number(raw, kind, field)
    raise TypeError(f"no option may have the type {kind!r}")


def _member(raw: object, kind: type[Enum]) -> Enum:
    for member in kind:
        if raw == member.value and not isinstance(raw, bool):
            return member
    names = [str(member.value) for member in kind]
    listed = ", ".join(f'"{name}"' for name in names)
    hint = did_you_mean(raw, names) if isinstance(raw, str) else ""
    raise _WrongError(f"expected one of {listed}{hint.removesuffix('?')}")


def _number(raw: object, kind: type, field: Field) -> int | float:
    value = raw
    if isinstance(raw, str) and field.quantity is not None:
        read = quantities.parse_size if field.quantity is Quantity.SIZE else quantities.parse_duration
        try:
            value = read(raw)
        except ValueError as error:
            raise _WrongError(str(error)) from None
    if kind is int and field.quantity is Quantity.DURATION and isinstance(value, float) and value.is_integer():
        value = int(value)  # whole seconds
    fits = isinstance(value, int) or (kind is float and isinstance(value, float) and math.isfinite(value))
    if not fits or isinstance(value, bool) or not isinstance(value, int | float):
        raise _WrongError(f"expected {_expected(field)}")
    minimum, maximum = field.option.minimum, field.option.maximum
    if minimum is None and field.quantity is not None:
        minimum = 0
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        raise _WrongError(f"expected {_expected(field)}")
    return float(value) if kind is float else value


def _plain(value: object) -> str:
    return str(value.value) if isinstance(value, Enum) else str(value)


def _from_environment(text: EnvironmentText, annotation: Any) -> object:
    """What the variable says: a text where one is wanted, else a value as TOML has it, else the text."""
    kinds = [base_of(one) for one in alternatives_of(annotation)]
    wants_list = any(item_of_list(kind) is not None for kind in kinds)
    if not wants_list and any(
        kind in (str, Path, Secret) or (isinstance(kind, type) and issubclass(kind, Enum)) for kind in kinds
    ):
        return str(text)
    if wants_list and not text.lstrip().startswith("["):
        items = [EnvironmentText(one.strip()) for one in text.split(",")]
        return items if len(items) > 1 or str not in kinds else str(text)
    if bool in kinds and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    try:
        return tomli.loads(f"value = {text}")["value"]
    except tomli.TOMLDecodeError:
        return str(text)


def _expected(field: Field) -> str:
    """What may be given for this field, for people."""
    texts = [_expected_of(base_of(kind), field.option, field.quantity) for kind in alternatives_of(field.type)]
    return " or ".join(dict.fromkeys(texts))


def _expected_of(kind: Any, option: Option, quantity: Quantity | None) -> str:
    if is_group(kind):
        return "a table"
    if (item := item_of_list(kind)) is not None:
        return "an array of tables ([[...]])" if is_group(item) else "an array"
    if item_of_mapping(kind) is not None:
        return "a table"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(f'"{member.value}"' for member in kind)
    if kind is bool:
        return "true or false"
    if kind is Path:
        return "a path in quotes"
    if kind is int or kind is float:
        return _expected_number(kind, option, quantity)
    return "a text in quotes"


def _expected_number(kind: type, option: Option, quantity: Quantity | None) -> str:
    if quantity is Quantity.SIZE:
        text = 'a size such as "2MB" or "64KiB"'
    elif quantity is Quantity.DURATION:
        text = 'a time such as "500ms", "30s" or "7d"' if kind is float else 'a time in whole seconds such as "30s"'
    else:
        text = "a whole number" if kind is int else "a number"

    def write(bound: float) -> str:
        if quantity is Quantity.SIZE:
            return quantities.format_size(int(bound))
        if quantity is Quantity.DURATION:
            return quantities.format_duration(bound)
        return f"{bound:.0f}" if kind is int else f"{bound:g}"

    minimum, maximum = option.minimum, option.maximum
    if minimum is not None and maximum is not None:
        return f"{text} from {write(minimum)} to {write(maximum)}"
    if minimum is not None:
        return f"{text}, at least {write(minimum)}"
    if maximum is not None:
        return f"{text}, at most {write(maximum)}"
    return text


def _quantity_text(value: float, field: Field) -> str:
    if field.quantity is Quantity.SIZE:
        return quantities.format_size(int(value))
    if field.quantity is Quantity.DURATION:
        return quantities.format_duration(value)
    return f"{value:,}"


def _shown(raw: object) -> str:
    """A value as it was written, near enough, and never long."""
    if isinstance(raw, bool):
        text = "true" if raw else "false"
    elif isinstance(raw, str):
        text = '"' + str(raw).encode("unicode_escape").decode().replace('"', '\\"') + '"'
    elif isinstance(raw, dict):
        text = "a table"
    elif isinstance(raw, list):
        text = "an array"
    else:
        text = str(raw)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
