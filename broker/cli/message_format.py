"""The format language of ``-F``: read once, then applied to each message."""

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from noctule.cli.message_json import NotJsonError, message_json
from noctule.cli.outcome import UsageError, tell
from noctule.client import Message
from noctule.protocol import PropertyId

_NS_PER_S: Final = 1_000_000_000

_ESCAPES: Final = {
    "\\": b"\\",
    "0": b"\0",
    "a": b"\a",
    "e": b"\x1b",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
}

#: What may stand between the groups of ``%x`` and ``%X``; a letter or a digit would be taken for something else.
_SEPARATORS: Final = frozenset("!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~ ")

_SPECIFIERS: Final = frozenset("%ACDEFIJPRSUXdfjlmpqrtx")


@dataclass(frozen=True, slots=True)
class Moment:
    """When a message is printed: nanoseconds since 1970, and the local time."""

    nanoseconds: int
    local: time.struct_time

    @staticmethod
    def now() -> "Moment":
        """The present one."""
        nanoseconds = time.time_ns()
        return Moment(nanoseconds, time.localtime(nanoseconds // _NS_PER_S))

    @property
    def fraction_ns(self) -> int:
        """Nanoseconds of the present second."""
        return self.nanoseconds % _NS_PER_S


@dataclass(frozen=True, slots=True)
class Field:
    """One ``%`` with its flags: ``%-010.4:x`` has them all."""

    specifier: str
    align_left: bool = False
    zero_padded: bool = False
    width: int = 0
    #: -1: none.
    precision: int = -1
    separator: str = ""


#: Makes the bytes of one part of the output.
Part: TypeAlias = Callable[[Message, Moment], bytes]


class MessageFormat:
    """A format, ready to be applied. UsageError if it is none."""

    def __init__(self, text: str, pretty: bool = False) -> None:
        self._parts: list[Part] = []
        self._pretty = pretty
        position = 0
        while position < len(text):
            character = text[position]
            position += 1
            if character == "%":
                field, position = _read_field(text, position)
                self._parts.append(self._part_of(field))
            elif character == "@":
                if position == len(text):
                    raise UsageError("Incomplete format specifier.")
                self._parts.append(_time_part(text[position]))
                position += 1
            elif character == "\\":
                if position == len(text):
                    raise UsageError("Incomplete escape specifier.")
                self._parts.append(_literal(_escape(text[position])))
                position += 1
            else:
                self._parts.append(_literal(character.encode(errors="surrogateescape")))

    def render(self, message: Message, moment: Moment) -> bytes:
        """The message in this format, without an end of line."""
        return b"".join(part(message, moment) for part in self._parts)

    def _part_of(self, field: Field) -> Part:
        render = _RENDERERS.get(field.specifier)
        if render is not None:
            return lambda message, _moment: render(message, field)
        if field.specifier in "jJ":
            return lambda message, moment: self._json(message, moment, field.specifier == "J")
        if field.specifier == "U":
            return lambda _message, moment: b"%d.%09d" % (moment.nanoseconds // _NS_PER_S, moment.fraction_ns)
        return lambda _message, moment: _string(time.strftime("%FT%T%z", moment.local), field)

    def _json(self, message: Message, moment: Moment, payload_is_json: bool) -> bytes:
        zone = time.strftime("%z", moment.local)
        timestamp = f"{time.strftime('%FT%T', moment.local)}.{moment.fraction_ns // 1000:06d}{zone}"
        try:
            return message_json(message, timestamp, payload_is_json, self._pretty)
        except NotJsonError:
            tell(f"Error: Message payload is not valid JSON on topic {message.topic}.")
            return b""


def _read_field(text: str, start: int) -> tuple[Field, int]:
    """What stands behind a ``%``, and where the text goes on."""
    position = start

    def at(index: int) -> str:
        if index >= len(text):
            raise UsageError("Incomplete format specifier.")
        return text[index]

    def digits(index: int) -> tuple[str, int]:
        end = index
        while at(end) in "0123456789":
            end += 1
        return text[index:end], end

    align_left = at(position) == "-"
    position += align_left
    zero_padded = at(position) == "0"
    position += zero_padded
    width, position = digits(position)
    precision = ""
    if at(position) == ".":
        precision, position = digits(position + 1)
        precision = precision or "0"
    separator = ""
    if at(position) in _SEPARATORS:
        separator = at(position)
        position += 1
    specifier = at(position)
    if specifier not in _SPECIFIERS:
        raise UsageError(f"Invalid format specifier '{specifier}'.")
    field = Field(specifier, align_left, zero_padded, int(width or 0), int(precision) if precision else -1, separator)
    return field, position + 1


def _escape(character: str) -> bytes:
    if character not in _ESCAPES:
        raise UsageError(f"Invalid escape specifier '{character}'.")
    return _ESCAPES[character]


def _literal(data: bytes) -> Part:
    return lambda _message, _moment: data


def _time_part(character: str) -> Part:
    if character == "@":
        return _literal(b"@")
    if character == "N":
        return lambda _message, moment: b"%09d" % moment.fraction_ns
    if character == "s":  # Python's strftime takes it for UTC
        return lambda _message, moment: b"%d" % (moment.nanoseconds // _NS_PER_S)
    return lambda _message, moment: time.strftime(f"%{character}", moment.local).encode(errors="surrogateescape")


# What stands behind a % and depends on the message alone.


def _string(text: str, field: Field) -> bytes:
    data = text.encode(errors="surrogateescape")
    if field.precision >= 0:
        data = data[: field.precision]
    return data.ljust(field.width) if field.align_left else data.rjust(field.width)


def _number(value: int, field: Field) -> bytes:
    data = b"%d" % value
    if field.align_left:
        return data.ljust(field.width)
    return data.rjust(field.width, b"0" if field.zero_padded else b" ")


def _blank(field: Field) -> bytes:
    return (b"0" if field.zero_padded else b" ") * field.width


def _property_number(identifier: PropertyId) -> Callable[[Message, Field], bytes]:
    def render(message: Message, field: Field) -> bytes:
        value = message.properties.get(identifier)
        if isinstance(value, list):  # of several Subscription Identifiers the first
            value = value[0]
        return _blank(field) if value is None else _number(value, field)

    return render


def _property_text(identifier: PropertyId, blank: bool) -> Callable[[Message, Field], bytes]:
    def render(message: Message, field: Field) -> bytes:
        value: str | None = message.properties.get(identifier)
        if value is None:
            return b" " * field.width if blank else b""
        return _string(value, field)

    return render


def _payload(message: Message, field: Field) -> bytes:
    data = message.payload
    if not field.width:
        return data
    data = data[: field.width]
    if field.align_left:
        return data.ljust(field.width)
    return data.rjust(field.width, b"0" if field.zero_padded else b" ")


def _hexadecimal(message: Message, field: Field) -> bytes:
    data = message.payload
    if field.width:
        # A quirk that scripts may rely on: the width cuts the payload to as many bytes, and then to half of them.
        data = data[: field.width]
        data = data[: len(data) // 2]
    text = data.hex().upper() if field.specifier == "X" else data.hex()
    text = text.ljust(field.width) if field.align_left else text.rjust(field.width, "0" if field.zero_padded else " ")
    if field.precision > 0 and field.separator:
        size = field.precision
        text = field.separator.join(text[start : start + size] for start in range(0, len(text), size))
    return text.encode()


def _floating(message: Message, field: Field) -> bytes:
    code, name = ("f", "float") if field.specifier == "f" else ("d", "double")
    if len(message.payload) != struct.calcsize(code):
        tell(f"Error: requested {name} printing, but non-{name} data received on topic {message.topic}.")
        return b""
    (value,) = struct.unpack(f"={code}", message.payload)
    flags = "-" if field.align_left else "0" if field.zero_padded else ""
    width = field.width or ""
    precision = 6 if field.precision < 0 else field.precision
    text: str = f"%{flags}{width}.{precision}f" % value
    return text.encode()


def _user_properties(message: Message, _field: Field) -> bytes:
    return " ".join(f"{name}:{value}" for name, value in message.user_properties).encode()


def _correlation_data(message: Message, _field: Field) -> bytes:
    return message.correlation_data or b""


_RENDERERS: Final[dict[str, Callable[[Message, Field], Any]]] = {
    "%": lambda _message, _field: b"%",
    "A": _property_number(PropertyId.TOPIC_ALIAS),
    "C": _property_text(PropertyId.CONTENT_TYPE, blank=True),
    "D": _correlation_data,
    "E": _property_number(PropertyId.MESSAGE_EXPIRY_INTERVAL),
    "F": _property_number(PropertyId.PAYLOAD_FORMAT_INDICATOR),
    "P": _user_properties,
    "R": _property_text(PropertyId.RESPONSE_TOPIC, blank=False),
    "S": _property_number(PropertyId.SUBSCRIPTION_IDENTIFIER),
    "X": _hexadecimal,
    "d": _floating,
    "f": _floating,
    "l": lambda message, field: _number(len(message.payload), field),
    "m": lambda message, field: _number(message.packet_id, field),
    "p": _payload,
    "q": lambda message, _field: b"%d" % message.qos,
    "r": lambda message, _field: b"%d" % message.retain,
    "t": lambda message, field: _string(message.topic, field),
    "x": _hexadecimal,
}
