"""MQTT packets by hand: a strict reader of what a broker writes, and a writer of what clients write.

Nothing of noctule's own codec is used: what that got wrong on both sides would not be seen.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)

#: How the value of each property is written (2.2.2.2).
PROPERTY_TYPES = {
    0x01: "u8",
    0x02: "u32",
    0x03: "text",
    0x08: "text",
    0x09: "binary",
    0x0B: "varint",
    0x11: "u32",
    0x12: "text",
    0x13: "u16",
    0x15: "text",
    0x16: "binary",
    0x17: "u8",
    0x18: "u32",
    0x19: "u8",
    0x1A: "text",
    0x1C: "text",
    0x1F: "text",
    0x21: "u16",
    0x22: "u16",
    0x23: "u16",
    0x24: "u8",
    0x25: "u8",
    0x26: "pair",
    0x27: "u32",
    0x28: "u8",
    0x29: "u8",
    0x2A: "u8",
}

EXPIRY, SUBSCRIPTION_IDENTIFIER, SESSION_EXPIRY, WILL_DELAY = 0x02, 0x0B, 0x11, 0x18
RECEIVE_MAXIMUM, ALIAS_MAXIMUM, ALIAS, USER_PROPERTY, PACKET_MAXIMUM = 0x21, 0x22, 0x23, 0x26, 0x27

#: The properties that a server may send with each packet.
_SERVER_PROPERTIES = {
    CONNACK: {0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A},
    PUBLISH: {0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26},
    DISCONNECT: {0x1C, 0x1F, 0x26},
    **{kind: {0x1F, 0x26} for kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK)},
}

#: The reason codes that a server may send with each packet (2.4).
_PUBLISH_CODES = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
SERVER_CODES = {
    CONNACK: {0, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
    PUBACK: _PUBLISH_CODES,
    PUBREC: _PUBLISH_CODES,
    PUBREL: {0x00, 0x92},
    PUBCOMP: {0x00, 0x92},
    SUBACK: {0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
    UNSUBACK: {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
    DISCONNECT: {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, *range(0x93, 0xA3)},
}


class FaultyPacketError(AssertionError):
    """The broker has written something that is no MQTT."""


@dataclass(frozen=True)
class Packet:
    """A packet of the broker's; a field that its kind has not is empty."""

    kind: int
    packet_id: int = 0
    codes: tuple[int, ...] = ()
    topic: bytes = b""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    session_present: bool = False
    properties: tuple[tuple[int, object], ...] = ()

    def values(self, identifier: int) -> list[object]:
        """The values of one property."""
        return [value for found, value in self.properties if found == identifier]


def _require(holds: object, text: str) -> None:
    if not holds:
        raise FaultyPacketError(text)


class _Fields:
    """Takes one field after the other from the body of a packet."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    @property
    def is_done(self) -> bool:
        return self.at == len(self.body)

    def take(self, size: int) -> bytes:
        _require(self.at + size <= len(self.body), "a field goes beyond the packet")
        self.at += size
        return self.body[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        value = 0
        for place in range(4):
            byte = self.number(1)
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                _require(place == 0 or byte, "a variable byte integer is longer than it must be")
                return value
        raise FaultyPacketError("a variable byte integer of more than four bytes")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as error:
            raise FaultyPacketError("a string that is not UTF-8") from error
        _require("\0" not in text, "a string with U+0000")
        return text

    def packet_id(self) -> int:
        packet_id = self.number(2)
        _require(packet_id, "the packet identifier 0")
        return packet_id

    def properties(self, kind: int) -> tuple[tuple[int, object], ...]:
        block = _Fields(self.take(self.varint()))
        found: list[tuple[int, object]] = []
        while not block.is_done:
            identifier = block.varint()
            _require(identifier in _SERVER_PROPERTIES[kind], f"property {identifier:#x} in packet type {kind}")
            repeatable = identifier == USER_PROPERTY or (kind == PUBLISH and identifier == SUBSCRIPTION_IDENTIFIER)
            _require(repeatable or all(identifier != one for one, _ in found), f"property {identifier:#x} twice")
            found.append((identifier, block._value(PROPERTY_TYPES[identifier])))
        return tuple(found)

    def _value(self, type_name: str) -> object:
        match type_name:
            case "text":
                return self.text()
            case "binary":
                return self.binary()
            case "pair":
                return self.text(), self.text()
            case "varint":
                return self.varint()
        return self.number({"u8": 1, "u16": 2, "u32": 4}[type_name])


@dataclass
class ServerStream:
    """Reads all that the broker sends on one connection; FaultyPacketError for whatever may not stand there."""

    version: int
    alias_maximum: int = 0
    packet_maximum: int = 268_435_460
    _held: bytes = b""
    _aliases: dict[int, bytes] = field(default_factory=dict)
    _last: Packet | None = None
    _is_first: bool = True

    def read(self, data: bytes) -> list[Packet]:
        """The packets in ``data``, which ends where a packet ends: a broker writes whole ones."""
        packets = []
        stream = _Fields(data)
        while not stream.is_done:
            start = stream.at
            first = stream.number(1)
            body = stream.take(stream.varint())
            _require(self._is_first or stream.at - start <= self.packet_maximum, "larger than the client takes")
            packet = self._packet(first >> 4, first & 0x0F, _Fields(body))
            _require(self._last is None, "a packet behind the last one")
            _require((packet.kind == CONNACK) == self._is_first, "CONNACK is not the first packet, or not the only one")
            self._is_first = False
            if packet.kind == DISCONNECT or (packet.kind == CONNACK and packet.codes != (0,)):
                self._last = packet
            packets.append(packet)
        return packets

    @property
    def last(self) -> Packet | None:
        """The packet that has ended the connection; None where there is none yet."""
        return self._last

    def _packet(self, kind: int, flags: int, fields: _Fields) -> Packet:
        is_5 = self.version == 5
        if kind == PUBLISH:
            return self._publish(flags, fields)
        _require(flags == (2 if kind == PUBREL else 0), f"flags {flags} in packet type {kind}")
        match kind:
            case 2:  # CONNACK
                present, code = fields.number(1), fields.number(1)
                _require(code in (SERVER_CODES[CONNACK] if is_5 else range(6)), f"CONNACK with the code {code}")
                _require(present == 0 or (present == 1 and code == 0 and self.version > 3), "Session Present")
                packet = Packet(
                    kind,
                    codes=(code,),
                    session_present=present == 1,
                    properties=fields.properties(kind) if is_5 else (),
                )
                for identifier, value in packet.properties:
                    _require(identifier not in (0x24, 0x25, 0x28, 0x29, 0x2A) or value in (0, 1), "a flag above 1")
                    _require(identifier not in (0x21, 0x27) or value != 0, "a maximum of 0")
            case 4 | 5 | 6 | 7:  # the acknowledgements
                packet_id = fields.packet_id()
                code = fields.number(1) if is_5 and not fields.is_done else 0
                _require(code in SERVER_CODES[kind], f"packet type {kind} with the code {code:#x}")
                properties = fields.properties(kind) if is_5 and not fields.is_done else ()
                packet = Packet(kind, packet_id, (code,), properties=properties)
            case 9 | 11:  # SUBACK, UNSUBACK
                packet_id = fields.packet_id()
                properties = fields.properties(kind) if is_5 else ()
                codes = tuple(fields.take(len(fields.body) - fields.at)) if is_5 or kind == SUBACK else ()
                _require(codes or (kind == UNSUBACK and not is_5), "an answer without codes")
                allowed = SERVER_CODES[kind] if is_5 else {0, 1, 2, 0x80} if self.version == 4 else {0, 1, 2}
                _require(allowed.issuperset(codes), f"packet type {kind} with the codes {codes}")
                packet = Packet(kind, packet_id, codes, properties=properties)
            case 13:  # PINGRESP
                packet = Packet(kind)
            case 14:  # DISCONNECT
                _require(is_5, "DISCONNECT from the server of an older version")
                code = 0 if fields.is_done else fields.number(1)
                _require(code in SERVER_CODES[kind], f"DISCONNECT with the code {code:#x}")
                packet = Packet(kind, codes=(code,), properties=() if fields.is_done else fields.properties(kind))
            case _:
                raise FaultyPacketError(f"packet type {kind} from a server")
        _require(fields.is_done, f"bytes too many in packet type {kind}")
        return packet

    def _publish(self, flags: int, fields: _Fields) -> Packet:
        qos, dup = flags >> 1 & 3, flags >= 8
        _require(qos < 3, "QoS 3")
        _require(qos or not dup, "DUP with QoS 0")
        topic = fields.text().encode()
        packet_id = fields.packet_id() if qos else 0
        properties = fields.properties(PUBLISH) if self.version == 5 else ()
        for identifier, value in properties:
            _require(identifier != SUBSCRIPTION_IDENTIFIER or value, "the Subscription Identifier 0")
            _require(identifier != 0x01 or value in (0, 1), "Payload Format Indicator")
            _require(identifier != 0x08 or not {"+", "#"} & set(str(value)), "a wildcard in the Response Topic")
            if identifier == ALIAS:
                assert isinstance(value, int)
                _require(1 <= value <= self.alias_maximum, f"the Topic Alias {value}")
                if topic:
                    self._aliases[value] = topic
                _require(value in self._aliases, "a Topic Alias that stands for nothing")
                topic = self._aliases[value]
        _require(topic, "an empty topic name")
        _require(not {b"+"[0], b"#"[0]} & set(topic), "a wildcard in a topic name")
        payload = fields.take(len(fields.body) - fields.at)
        return Packet(PUBLISH, packet_id, (), topic, payload, qos, flags & 1 == 1, dup, properties=properties)


# --- writing ---


def varint(value: int) -> bytes:
    """A variable byte integer; of a value that is too large a malformed one."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def prefixed(data: bytes) -> bytes:
    """Data behind its two-byte length."""
    return len(data).to_bytes(2, "big") + data


def block(*properties: tuple[int, object]) -> bytes:
    """A property block with its length in front, of whatever is given."""
    out = b""
    for identifier, value in properties:
        out += varint(identifier)
        match value:
            case bytes():
                out += prefixed(value)
            case (bytes() as name, bytes() as text):
                out += prefixed(name) + prefixed(text)
            case int() if PROPERTY_TYPES[identifier] == "varint":
                out += varint(value)
            case int():
                out += value.to_bytes({"u16": 2, "u32": 4}.get(PROPERTY_TYPES[identifier], 1), "big")
    return varint(len(out)) + out


def packet(first: int, *fields: bytes) -> bytes:
    """A whole packet."""
    body = b"".join(fields)
    return bytes((first,)) + varint(len(body)) + body


@dataclass(frozen=True)
class Will:
    """The Will of a CONNECT; ``properties`` is the block without its length."""

    topic: bytes
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: tuple[tuple[int, object], ...] = ()


def connect(
    version: int,
    client_id: bytes,
    *,
    clean: bool = True,
    keep_alive_s: int = 0,
    properties: Iterable[tuple[int, object]] = (),
    will: Will | None = None,
    user_name: bytes | None = None,
    password: bytes | None = None,
) -> bytes:
    """A CONNECT; properties are left out below version 5."""
    flags = 2 * clean
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
    flags |= (user_name is not None) << 7 | (password is not None) << 6
    is_5 = version == 5
    return packet(
        0x10,
        prefixed(b"MQIsdp" if version == 3 else b"MQTT"),
        bytes((version, flags)),
        keep_alive_s.to_bytes(2, "big"),
        block(*properties) if is_5 else b"",
        prefixed(client_id),
        b""
        if will is None
        else (block(*will.properties) if is_5 else b"") + prefixed(will.topic) + prefixed(will.payload),
        b"" if user_name is None else prefixed(user_name),
        b"" if password is None else prefixed(password),
    )


def publish(
    version: int,
    topic: bytes,
    payload: bytes,
    qos: int = 0,
    packet_id: int = 0,
    *,
    retain: bool = False,
    dup: bool = False,
    properties: Iterable[tuple[int, object]] = (),
) -> bytes:
    """A PUBLISH."""
    return packet(
        0x30 | dup << 3 | qos << 1 | retain,
        prefixed(topic),
        packet_id.to_bytes(2, "big") if qos else b"",
        block(*properties) if version == 5 else b"",
        payload,
    )


def acknowledge(version: int, kind: int, packet_id: int, code: int = 0) -> bytes:
    """A PUBACK, PUBREC, PUBREL or PUBCOMP."""
    return packet(
        kind << 4 | (2 if kind == PUBREL else 0),
        packet_id.to_bytes(2, "big"),
        bytes((code,)) if code and version == 5 else b"",
    )


def subscribe(version: int, packet_id: int, entries: Iterable[tuple[bytes, int]], identifier: int = 0) -> bytes:
    """A SUBSCRIBE of filters and their options."""
    return packet(
        0x82,
        packet_id.to_bytes(2, "big"),
        block(*([(SUBSCRIPTION_IDENTIFIER, identifier)] if identifier else [])) if version == 5 else b"",
        *(prefixed(topic_filter) + bytes((options,)) for topic_filter, options in entries),
    )


def unsubscribe(version: int, packet_id: int, filters: Iterable[bytes]) -> bytes:
    """An UNSUBSCRIBE."""
    return packet(
        0xA2, packet_id.to_bytes(2, "big"), b"\0" if version == 5 else b"", *(prefixed(one) for one in filters)
    )


def disconnect(version: int, code: int = 0, session_expiry_s: int | None = None) -> bytes:
    """A client's DISCONNECT."""
    if version < 5 or (code == 0 and session_expiry_s is None):
        return b"\xe0\x00"
    return packet(
        0xE0, bytes((code,)), block(*([] if session_expiry_s is None else [(SESSION_EXPIRY, session_expiry_s)]))
    )


PINGREQ_PACKET = b"\xc0\x00"
