"""Packets written byte by byte and read byte by byte, for versions 3, 4 and 5 alike.

Made without the broker's own codec on purpose: a misreading of the specification must not be on both sides. What
is read is checked as strictly as a client could check it: reserved bits, property blocks, trailing bytes.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

MQTT31, MQTT311, MQTT5 = 3, 4, 5

PINGREQ: Final = b"\xc0\x00"

# --- writing ------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A variable byte integer."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def u16(value: int) -> bytes:
    return struct.pack(">H", value)


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def string(data: str | bytes) -> bytes:
    """A string or binary data behind its two bytes of length; bytes may be as ill-formed as a test needs them."""
    data = data.encode() if isinstance(data, str) else data
    return u16(len(data)) + data


def block(properties: bytes) -> bytes:
    """A property block behind its length."""
    return varint(len(properties)) + properties


def packet(first: int, *parts: bytes) -> bytes:
    """A whole packet: first byte, remaining length, body."""
    body = b"".join(parts)
    return bytes([first]) + varint(len(body)) + body


def _pair(pair: tuple[str | bytes, str | bytes]) -> bytes:
    return string(pair[0]) + string(pair[1])


def _u8(value: int) -> bytes:
    return bytes([value])


#: Every property: its identifier, and how its value is written.
PROPERTIES: Final[dict[str, tuple[int, Callable[[Any], bytes]]]] = {
    "payload_format_indicator": (0x01, _u8),
    "message_expiry_interval": (0x02, u32),
    "content_type": (0x03, string),
    "response_topic": (0x08, string),
    "correlation_data": (0x09, string),
    "subscription_identifier": (0x0B, varint),
    "session_expiry_interval": (0x11, u32),
    "assigned_client_identifier": (0x12, string),
    "server_keep_alive": (0x13, u16),
    "authentication_method": (0x15, string),
    "authentication_data": (0x16, string),
    "request_problem_information": (0x17, _u8),
    "will_delay_interval": (0x18, u32),
    "request_response_information": (0x19, _u8),
    "response_information": (0x1A, string),
    "server_reference": (0x1C, string),
    "reason_string": (0x1F, string),
    "receive_maximum": (0x21, u16),
    "topic_alias_maximum": (0x22, u16),
    "topic_alias": (0x23, u16),
    "maximum_qos": (0x24, _u8),
    "retain_available": (0x25, _u8),
    "user_property": (0x26, _pair),
    "maximum_packet_size": (0x27, u32),
    "wildcard_subscription_available": (0x28, _u8),
    "subscription_identifiers_available": (0x29, _u8),
    "shared_subscription_available": (0x2A, _u8),
}


def properties(**values: Any) -> bytes:
    """A property block without its length, in the order given; a list stands for the property several times."""
    written = bytearray()
    for name, value in values.items():
        identifier, write = PROPERTIES[name]
        for one in value if isinstance(value, list) else [value]:
            written += bytes([identifier]) + write(one)
    return bytes(written)


@dataclass(frozen=True)
class Will:
    """The Will of a CONNECT; ``properties`` is a block without its length (version 5 alone)."""

    topic: str | bytes
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: bytes = b""


def connect(
    client_id: str | bytes = "c",
    version: int = MQTT5,
    *,
    clean: bool = True,
    keep_alive: int = 0,
    properties: bytes = b"",
    will: Will | None = None,
    user_name: str | bytes | None = None,
    password: bytes | None = None,
    name: str | bytes | None = None,
    level: int | None = None,
    flags: int | None = None,
    first: int = 0x10,
) -> bytes:
    """A CONNECT. ``name``, ``level``, ``flags`` and ``first`` stand in for the right ones."""
    if flags is None:
        flags = 0x02 * clean | 0x80 * (user_name is not None) | 0x40 * (password is not None)
        if will is not None:
            flags |= 0x04 | will.qos << 3 | 0x20 * will.retain
    if name is None:
        name = "MQIsdp" if version == MQTT31 else "MQTT"
    parts = [string(name), bytes([version if level is None else level, flags]), u16(keep_alive)]
    if version == MQTT5:
        parts.append(block(properties))
    parts.append(string(client_id))
    if will is not None:
        parts += [block(will.properties)] if version == MQTT5 else []
        parts += [string(will.topic), string(will.payload)]
    if user_name is not None:
        parts.append(string(user_name))
    if password is not None:
        parts.append(string(password))
    return packet(first, *parts)


def publish(
    topic: str | bytes,
    payload: bytes = b"",
    qos: int = 0,
    packet_id: int = 1,
    *,
    version: int = MQTT5,
    retain: bool = False,
    dup: bool = False,
    properties: bytes = b"",
) -> bytes:
    """A PUBLISH; ``packet_id`` is written with QoS above 0 alone."""
    parts = [string(topic), u16(packet_id) if qos else b"", block(properties) if version == MQTT5 else b"", payload]
    return packet(0x30 | dup << 3 | qos << 1 | retain, *parts)


NO_LOCAL, RETAIN_AS_PUBLISHED, RETAIN_IF_NEW, RETAIN_NEVER = 0x04, 0x08, 0x10, 0x20


def subscribe(
    *filters: str | bytes | tuple[str | bytes, int], packet_id: int = 1, version: int = MQTT5, properties: bytes = b""
) -> bytes:
    """A SUBSCRIBE: filters with their options byte; a filter alone is one at QoS 2."""
    entries = [one if isinstance(one, tuple) else (one, 2) for one in filters]
    parts = [string(topic_filter) + bytes([options]) for topic_filter, options in entries]
    return packet(0x82, u16(packet_id), block(properties) if version == MQTT5 else b"", *parts)


def unsubscribe(*filters: str | bytes, packet_id: int = 1, version: int = MQTT5, properties: bytes = b"") -> bytes:
    parts = [string(topic_filter) for topic_filter in filters]
    return packet(0xA2, u16(packet_id), block(properties) if version == MQTT5 else b"", *parts)


def _ack(first: int, packet_id: int, code: int | None, properties: bytes | None) -> bytes:
    return packet(
        first,
        u16(packet_id),
        b"" if code is None else bytes([code]),
        b"" if properties is None else block(properties),
    )


def puback(packet_id: int, code: int | None = None, properties: bytes | None = None) -> bytes:
    """A PUBACK; the code and the property block are left out where they are None, as versions 3 and 4 must."""
    return _ack(0x40, packet_id, code, properties)


def pubrec(packet_id: int, code: int | None = None, properties: bytes | None = None) -> bytes:
    return _ack(0x50, packet_id, code, properties)


def pubrel(packet_id: int, code: int | None = None, properties: bytes | None = None) -> bytes:
    return _ack(0x62, packet_id, code, properties)


def pubcomp(packet_id: int, code: int | None = None, properties: bytes | None = None) -> bytes:
    return _ack(0x70, packet_id, code, properties)


def disconnect(code: int | None = None, properties: bytes | None = None) -> bytes:
    """A DISCONNECT; without arguments that of every version."""
    return packet(0xE0, b"" if code is None else bytes([code]), b"" if properties is None else block(properties))


def auth(code: int | None = None, properties: bytes | None = None) -> bytes:
    return packet(0xF0, b"" if code is None else bytes([code]), b"" if properties is None else block(properties))


# --- reading ------------------------------------------------------------------------------


class UnreadableError(AssertionError):
    """The broker has sent something that no client would have to accept."""


class Frame(NamedTuple):
    """A packet as it came: its first byte, and all behind the remaining length."""

    first: int
    body: bytes


def take_frame(data: bytearray) -> Frame | None:
    """Cut the first packet off ``data``; None where it is not whole yet."""
    length, shift = 0, 0
    for at in range(1, min(5, len(data))):
        byte = data[at]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            end = at + 1 + length
            if len(data) < end:
                return None
            if shift > 7 and byte == 0:
                raise UnreadableError("the remaining length is longer than it need be")
            frame = Frame(data[0], bytes(data[at + 1 : end]))
            del data[:end]
            return frame
    if len(data) >= 5:
        raise UnreadableError("the remaining length has more than four bytes")
    return None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise UnreadableError(f"{size} bytes wanted where {self.left} are left of {self.data!r}")
        self.at += size
        return self.data[self.at - size : self.at]

    def rest(self) -> bytes:
        return self.take(self.left)

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def binary(self) -> bytes:
        return self.take(self.u16())

    def string(self) -> str:
        return self.binary().decode()

    def pair(self) -> tuple[str, str]:
        return self.string(), self.string()

    def varint(self) -> int:
        value, shift = 0, 0
        for _ in range(4):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if shift > 7 and byte == 0:
                    raise UnreadableError("a variable byte integer is longer than it need be")
                return value
        raise UnreadableError("a variable byte integer has more than four bytes")


_READ: Final[dict[Callable[[Any], bytes], Callable[[_Reader], Any]]] = {
    _u8: _Reader.u8,
    u16: _Reader.u16,
    u32: _Reader.u32,
    varint: _Reader.varint,
    string: _Reader.string,
    _pair: _Reader.pair,
}

_BINARY: Final = {"correlation_data", "authentication_data"}

_BY_IDENTIFIER: Final = {identifier: (name, _READ[write]) for name, (identifier, write) in PROPERTIES.items()}

_OF_MESSAGES: Final = {
    "payload_format_indicator",
    "message_expiry_interval",
    "content_type",
    "response_topic",
    "correlation_data",
    "user_property",
}
_EXPLANATIONS: Final = {"reason_string", "user_property"}

#: What a server may put into each packet (2.2.2.2, and the tables of chapter 3).
_ALLOWED: Final[dict[int, set[str]]] = {
    2: _EXPLANATIONS
    | {
        "session_expiry_interval",
        "receive_maximum",
        "maximum_qos",
        "retain_available",
        "maximum_packet_size",
        "assigned_client_identifier",
        "topic_alias_maximum",
        "wildcard_subscription_available",
        "subscription_identifiers_available",
        "shared_subscription_available",
        "server_keep_alive",
        "response_information",
        "server_reference",
        "authentication_method",
        "authentication_data",
    },
    3: _OF_MESSAGES | {"topic_alias", "subscription_identifier"},
    **dict.fromkeys((4, 5, 6, 7, 9, 11), _EXPLANATIONS),
    14: _EXPLANATIONS | {"server_reference"},
    15: _EXPLANATIONS | {"authentication_method", "authentication_data"},
}


def read_properties(data: bytes, packet_type: int) -> dict[str, Any]:
    """The properties of a block without its length; User Property and Subscription Identifier as lists."""
    reader = _Reader(data)
    found: dict[str, Any] = {}
    while reader.left:
        identifier = reader.varint()
        if identifier not in _BY_IDENTIFIER:
            raise UnreadableError(f"the property {identifier:#x} does not exist")
        name, read = _BY_IDENTIFIER[identifier]
        if name not in _ALLOWED[packet_type]:
            raise UnreadableError(f"{name} in a packet of type {packet_type}")
        value = reader.binary() if name in _BINARY else read(reader)
        if name == "user_property" or (name == "subscription_identifier" and packet_type == 3):
            found.setdefault(name, []).append(value)
        elif name in found:
            raise UnreadableError(f"{name} twice")
        else:
            found[name] = value
    return found


@dataclass(frozen=True)
class Connack:
    """A CONNACK; the code is the version's own."""

    code: int
    session_present: bool = False
    properties: dict[str, Any] = field(default_factory=dict)
    size: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Publish:
    """A PUBLISH from the broker."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: dict[str, Any] = field(default_factory=dict)
    size: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Puback:
    """A PUBACK; of versions 3 and 4 the code is 0."""

    packet_id: int
    code: int = 0
    properties: dict[str, Any] = field(default_factory=dict)
    size: int = field(default=0, compare=False)


class Pubrec(Puback):
    """A PUBREC."""


class Pubrel(Puback):
    """A PUBREL."""


class Pubcomp(Puback):
    """A PUBCOMP."""


@dataclass(frozen=True)
class Suback:
    """A SUBACK."""

    packet_id: int
    codes: list[int] = field(default_factory=list)
    properties: dict[str, Any] = field(default_factory=dict)
    size: int = field(default=0, compare=False)


class Unsuback(Suback):
    """An UNSUBACK; below version 5 there are no codes."""


@dataclass(frozen=True)
class Pingresp:
    """A PINGRESP."""


@dataclass(frozen=True)
class Disconnect:
    """A DISCONNECT from the broker."""

    code: int = 0
    properties: dict[str, Any] = field(default_factory=dict)
    size: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Auth:
    """An AUTH from the broker."""

    code: int = 0
    properties: dict[str, Any] = field(default_factory=dict)
    size: int = field(default=0, compare=False)


Packet = Connack | Publish | Puback | Suback | Pingresp | Disconnect | Auth

_ACKS: Final[dict[int, type[Puback]]] = {4: Puback, 5: Pubrec, 6: Pubrel, 7: Pubcomp}

#: The reason codes that a server may send, by packet type (version 5; 2.4 and the tables of chapter 3).
LEGAL_CODES: Final[dict[int, frozenset[int]]] = {
    2: frozenset({0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F}),
    4: frozenset({0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}),
    5: frozenset({0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}),
    6: frozenset({0x00, 0x92}),
    7: frozenset({0x00, 0x92}),
    9: frozenset({0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}),
    11: frozenset({0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}),
    14: frozenset({0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, *range(0x93, 0xA3)}),
    15: frozenset({0x00, 0x18}),
}


def _code(reader: _Reader, packet_type: int, version: int) -> int:
    code = reader.u8()
    if version == MQTT5 and code not in LEGAL_CODES[packet_type]:
        raise UnreadableError(f"the code {code:#x} in a packet of type {packet_type}")
    return code


def _property_block(reader: _Reader, packet_type: int) -> dict[str, Any]:
    return read_properties(reader.take(reader.varint()), packet_type)


def read_packet(frame: Frame, version: int) -> Packet:
    """What the broker has sent to a client of this version. UnreadableError where it breaks a rule."""
    packet_type, flags = frame.first >> 4, frame.first & 0x0F
    size = 1 + len(varint(len(frame.body))) + len(frame.body)
    reader = _Reader(frame.body)
    is_5 = version == MQTT5
    found: Packet
    if packet_type != 3 and flags != (2 if packet_type == 6 else 0):
        raise UnreadableError(f"reserved flags in {frame}")
    match packet_type:
        case 2:
            acknowledge_flags = reader.u8()
            code = _code(reader, 2, version)
            if acknowledge_flags > 1 or (code and acknowledge_flags) or (not is_5 and code > 5):
                raise UnreadableError(f"flags or code of {frame}")
            found = Connack(code, acknowledge_flags == 1, _property_block(reader, 2) if is_5 else {}, size)
        case 3:
            qos = flags >> 1 & 3
            topic = reader.string()
            packet_id = reader.u16() if qos else 0
            if qos == 3 or (qos == 0 and flags & 8) or (qos and not packet_id):
                raise UnreadableError(f"QoS, DUP or packet identifier of {frame}")
            values = _property_block(reader, 3) if is_5 else {}
            found = Publish(topic, reader.rest(), qos, flags & 1 == 1, flags & 8 == 8, packet_id, values, size)
        case 4 | 5 | 6 | 7:
            packet_id = reader.u16()
            code = _code(reader, packet_type, version) if is_5 and reader.left else 0
            values = _property_block(reader, packet_type) if is_5 and reader.left else {}
            found = _ACKS[packet_type](packet_id, code, values, size)
        case 9 | 11:
            packet_id = reader.u16()
            values = _property_block(reader, packet_type) if is_5 else {}
            codes = [_code(reader, packet_type, version) for _ in range(reader.left)]
            if packet_type == 9 and not is_5 and not set(codes) <= {0, 1, 2, 0x80}:
                raise UnreadableError(f"codes of {frame}")
            found = (Suback if packet_type == 9 else Unsuback)(packet_id, codes, values, size)
        case 13:
            found = Pingresp()
        case 14 if is_5:
            code = _code(reader, 14, version) if reader.left else 0
            found = Disconnect(code, _property_block(reader, 14) if reader.left else {}, size)
        case 15 if is_5:
            code = _code(reader, 15, version) if reader.left else 0
            found = Auth(code, _property_block(reader, 15) if reader.left else {}, size)
        case _:
            raise UnreadableError(f"a server does not send {frame} to version {version}")
    if reader.left:
        raise UnreadableError(f"{reader.left} bytes are left over in {frame}")
    return found
