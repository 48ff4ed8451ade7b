"""What a setting is: its name in files, its type, bounds, default and documentation.

A group of settings is a frozen dataclass. A field's annotation says how it is written; ``Option`` beside it, in
``Annotated``, says the rest. From this alone come the checking of files, the example, the schema, and what a reload
may change: nothing about an option is said twice. A plugin's ``Config`` is such a dataclass too, and needs no
``Option`` for a field that explains itself.

msgspec would be the other way. It stops at the first error and knows neither sizes nor times nor places, so all that
is in ``checking`` would still be here, walking the fields itself; what is left for msgspec is ``isinstance``.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final, Union


class Quantity(Enum):
    """A number that is written with its unit."""

    SIZE = "size"
    DURATION = "duration"


#: Bytes; in files "2MB", "64KiB", or a whole number.
Size = Annotated[int, Quantity.SIZE]

#: Seconds; in files "500ms", "30s", "7d", or a number.
Duration = Annotated[float, Quantity.DURATION]


class Secret:
    """A text that is never shown. In files ``KEY = "..."``, or ``KEY_file = "path"`` to read it from there."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(...)"


@dataclass(frozen=True, slots=True)
class Option:
    """What a field's type does not say."""

    #: For people, in whole sentences.
    doc: str = ""

    #: The name in files; empty: the field's own.
    key: str = ""

    minimum: float | None = None
    maximum: float | None = None

    #: Beyond this, ``noctule check`` warns.
    unsafe_above: float | None = None

    #: The feature that is still missing: whoever sets the option is told so.
    later: str = ""

    #: Where not empty, only these values (as written in files) wait for ``later``.
    later_values: tuple[str, ...] = ()

    #: A change needs a restart; the others take effect on a reload.
    needs_restart: bool = False

    #: A file whose content is secret.
    is_secret_file: bool = False

    #: How it might look in a file, as TOML, where the default is nothing to show.
    example: str = ""

    #: Set by our own code alone: no file has it.
    is_internal: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a group of settings, with what its annotation says taken apart."""

    #: The name in files, and the one in the code.
    key: str
    name: str

    type: Any
    option: Option
    quantity: Quantity | None
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.default is dataclasses.MISSING


_NO_OPTION: Final = Option()


def fields_of(group: type) -> tuple[Field, ...]:
    """The fields of a dataclass, in their order, without those that no file has."""
    hints = typing.get_type_hints(group, include_extras=True)
    found = []
    for field in dataclasses.fields(group):
        annotation = hints[field.name]
        quantity, option = None, _NO_OPTION
        if typing.get_origin(annotation) is Annotated:
            for extra in annotation.__metadata__:
                if isinstance(extra, Option):
                    option = extra
                elif isinstance(extra, Quantity):
                    quantity = extra
            annotation = annotation.__origin__
        if option.is_internal or not field.init:
            continue
        if quantity is None:
            quantity = _quantity_of_alternatives(annotation)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found.append(Field(option.key or field.name, field.name, annotation, option, quantity, default))
    return tuple(found)


def _quantity_of_alternatives(annotation: Any) -> Quantity | None:
    """The quantity in ``Size | None``."""
    for alternative in alternatives_of(annotation):
        for extra in getattr(alternative, "__metadata__", ()):
            if isinstance(extra, Quantity):
                return extra
    return None


def alternatives_of(annotation: Any) -> tuple[Any, ...]:
    """The types of a union but None, else the one type."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return tuple(one for one in typing.get_args(annotation) if one is not types.NoneType)
    return (annotation,)


def base_of(annotation: Any) -> Any:
    """The type without ``Annotated`` around it."""
    return annotation.__origin__ if typing.get_origin(annotation) is Annotated else annotation


def allows_none(annotation: Any) -> bool:
    """Whether the type is a union with None: what TOML cannot write, and leaving the key out means."""
    return types.NoneType in typing.get_args(annotation) and len(alternatives_of(annotation)) < len(
        typing.get_args(annotation)
    )


def item_of_list(annotation: Any) -> Any | None:
    """What a ``tuple[X, ...]`` holds; None for other types."""
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0]
    return None


def item_of_mapping(annotation: Any) -> Any | None:
    """What a ``Mapping[str, X]`` holds; None for other types."""
    origin = typing.get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return typing.get_args(annotation)[1]
    return None


def is_group(annotation: Any) -> bool:
    """Whether the type is a dataclass: a table in files."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
