"""A message as a JSON object, as mosquitto_sub prints it: ``%j`` with the payload as text, ``%J`` as JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from noctule.client import Message
from noctule.protocol import PROPERTY_RULES, PropertyId

#: What an integer may be for it to be written without thinking of floating point, as by the library of mosquitto_sub.
_INTEGER_MAXIMUM: Final = 2**31 - 1

#: Deeper documents than this are refused: nothing that is meant for people has them.
_DEPTH_MAXIMUM: Final = 200


class NotJsonError(Exception):
    """A payload is not JSON."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """A JSON object as it stands: a name may come twice."""

    pairs: tuple[tuple[str, Any], ...]


def message_json(message: Message, timestamp: str, payload_is_json: bool, pretty: bool) -> bytes:
    """The object. NotJsonError where the payload is to be JSON and is not."""
    members: list[tuple[str, Any]] = [
        ("tst", timestamp),
        ("topic", message.topic),
        ("qos", message.qos),
        ("retain", int(message.retain)),
        ("payloadlen", len(message.payload)),
    ]
    if message.qos:
        members.append(("mid", message.packet_id))
    if message.properties:
        members.append(("properties", Pairs(tuple(_properties(message)))))
    payload: Any = None
    if message.payload:
        payload = _parsed(message.payload) if payload_is_json else message.payload.decode(errors="replace")
    members.append(("payload", payload))
    return _written(Pairs(tuple(members)), pretty, 0).encode(errors="replace")


def _properties(message: Message) -> Iterable[tuple[str, Any]]:
    for identifier, value in message.properties.items():
        if identifier is PropertyId.USER_PROPERTY:
            yield "user-properties", Pairs(tuple(value))
        elif identifier is PropertyId.SUBSCRIPTION_IDENTIFIER:
            for one in value:
                yield _name(identifier), one
        elif isinstance(value, bytes):
            yield _name(identifier), value.decode(errors="replace")
        else:
            yield _name(identifier), value


def _name(identifier: PropertyId) -> str:
    return PROPERTY_RULES[identifier].name.lower().replace(" ", "-")


def _parsed(payload: bytes) -> Any:
    def refuse(_text: str) -> Any:
        raise ValueError

    try:
        document = json.loads(
            payload.decode(), object_pairs_hook=lambda pairs: Pairs(tuple(pairs)), parse_constant=refuse
        )
    except (ValueError, RecursionError):
        raise NotJsonError from None
    _check_depth(document)
    return document


def _check_depth(document: Any) -> None:
    """NotJsonError for what is too deep to be written; without recursion, as what is too deep would overrun it."""
    level = [document]
    for _ in range(_DEPTH_MAXIMUM):
        below: list[Any] = []
        for value in level:
            if isinstance(value, Pairs):
                below.extend(one for _, one in value.pairs)
            elif isinstance(value, list):
                below.extend(value)
        if not below:
            return
        level = below
    raise NotJsonError


def _written(value: Any, pretty: bool, depth: int) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _number(value)
        case str():
            return _string(value)
        case list():
            return _array(value, pretty, depth)
        case _:
            return _object(value, pretty, depth)


def _number(value: float) -> str:
    if isinstance(value, int) or value.is_integer():
        number = int(value)
        if abs(number) <= _INTEGER_MAXIMUM:
            return str(number)
    try:
        single = float(value)
    except OverflowError:
        return "null"
    if single in (float("inf"), float("-inf")):
        return "null"
    text = f"{single:.15g}"
    return text if float(text) == single else f"{single:.17g}"


def _string(text: str) -> str:
    # Everything but control characters, quotes and backslashes stands for itself; DEL as well.
    return json.dumps(text, ensure_ascii=False)


def _array(values: Sequence[Any], pretty: bool, depth: int) -> str:
    return "[" + (", " if pretty else ",").join(_written(one, pretty, depth + 1) for one in values) + "]"


def _object(value: Pairs, pretty: bool, depth: int) -> str:
    if not pretty:
        return "{" + ",".join(f"{_string(name)}:{_written(one, False, 0)}" for name, one in value.pairs) + "}"
    indent = "\t" * (depth + 1)
    members = [f"{indent}{_string(name)}:\t{_written(one, True, depth + 1)}" for name, one in value.pairs]
    body = ",\n".join(members) + "\n" if members else ""
    return "{\n" + body + "\t" * depth + "}"
