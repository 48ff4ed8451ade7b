"""The parameters of a request, checked: what is not known or does not fit is told, not guessed."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from noctule.services.http import RequestError


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query."""

    name: str

    #: ``str``, ``int``, ``float`` or ``bool``.
    type: type

    text: str
    minimum: float | None = None
    maximum: float | None = None

    #: What holds where it is not given.
    default: str | float | bool | None = None


Values = Mapping[str, str | int | float | bool | None]


def split_target(target: str) -> tuple[str, str]:
    """The path and the query of a request. RequestError 400 where it is no path."""
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        raise RequestError(400, "expected a path")
    return path, query


def segments_of(path: str) -> tuple[str, ...]:
    """The parts of a path between its slashes, decoded one by one: a slash in a name is no separator.

    RequestError 400 where one is not UTF-8.
    """
    try:
        return tuple(unquote(part, errors="strict") for part in path.split("/")[1:])
    except UnicodeDecodeError:
        raise RequestError(400, "the path is not UTF-8") from None


def parameters_of(query: str, known: tuple[Parameter, ...]) -> Values:
    """The parameters by name, with defaults. RequestError 400 for what is unknown or does not fit."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=32)
    except ValueError:
        raise RequestError(400, "the query cannot be read") from None
    by_name = {one.name: one for one in known}
    values: dict[str, str | int | float | bool | None] = {one.name: one.default for one in known}
    for name, text in pairs:
        parameter = by_name.get(name)
        if parameter is None:
            names = ", ".join(by_name) or "none"
            raise RequestError(400, f"unknown parameter {name!a}; there are: {names}")
        values[name] = _value(parameter, text)
    return values


def _value(parameter: Parameter, text: str) -> str | int | float | bool:
    if parameter.type is str:
        return text
    if parameter.type is bool:
        if text not in ("true", "false"):
            raise RequestError(400, f"{parameter.name}: expected true or false")
        return text == "true"
    least = parameter.minimum or 0
    most = float("inf") if parameter.maximum is None else parameter.maximum
    number = _number(parameter.type, text)
    if number is None or not least <= number <= most:
        kind = "a whole number" if parameter.type is int else "a number"
        bounds = "" if parameter.maximum is None else f" from {least:g} to {most:.15g}"
        raise RequestError(400, f"{parameter.name}: expected {kind}{bounds}")
    return number


def _number(kind: type, text: str) -> int | float | None:
    """What the text says; None where it is no such number."""
    if len(text) > 20 or not text.isascii():
        return None
    if kind is int:
        return int(text) if text.isdigit() else None
    try:
        return float(text)
    except ValueError:
        return None
