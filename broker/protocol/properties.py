"""Property blocks of version 5: the table of all properties, reading a block, writing one."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias

from noctule._speedups.buffers import PacketReader, encode_varint
from noctule.protocol.constants import PacketType, PropertyId
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_name
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.wire import encode_binary, encode_string

#: Values by property. What type a value has, its ``WireType`` says: int, bytes or str; of a property that may be
#: repeated in this packet a sequence of them, a pair of strings for a User Property.
PropertyValues: TypeAlias = dict[PropertyId, Any]

#: In the place of a packet type: the Will Properties within a CONNECT (3.1.3.2). Packet type 0 is forbidden, so
#: that the number is free.
WILL: Final = 0


class WireType(IntEnum):
    """How a property's value is written (1.5)."""

    #: One byte: int.
    BYTE = 1

    #: Two bytes, the high one first: int.
    TWO_BYTE_INTEGER = 2

    #: Four bytes, the highest first: int.
    FOUR_BYTE_INTEGER = 3

    #: One to four bytes of seven bits, the lowest first: int.
    VARIABLE_BYTE_INTEGER = 4

    #: Bytes behind a two-byte length: bytes.
    BINARY_DATA = 5

    #: UTF-8 behind a two-byte length: str.
    UTF8_STRING = 6

    #: Two of those, a name and a value: a tuple of two str.
    UTF8_STRING_PAIR = 7


@dataclass(frozen=True, slots=True)
class PropertyRule:
    """One row of the table (2.2.2.2), with what the sections on the packets say about its value."""

    identifier: PropertyId
    name: str
    wire_type: WireType

    #: The packets that it may stand in; ``WILL`` for the Will Properties.
    places: frozenset[int]

    #: The packets in which it may stand more than once.
    repeatable_in: frozenset[int] = frozenset()

    #: The least and the greatest value of a number, where not all that fit are allowed.
    minimum: int = 0
    maximum: int | None = None

    #: The reason code and the statement for a value outside of these.
    fault_code: int = ReasonCode.PROTOCOL_ERROR
    fault_rule: str = ""

    #: Whether the value names a topic, and so has neither wildcards nor no characters.
    is_topic_name: bool = False


_CONNECT: Final = PacketType.CONNECT
_CONNACK: Final = PacketType.CONNACK
_PUBLISH: Final = PacketType.PUBLISH
_SUBSCRIBE: Final = PacketType.SUBSCRIBE
_DISCONNECT: Final = PacketType.DISCONNECT
_AUTH: Final = PacketType.AUTH
_WITH_REASON: Final = frozenset(
    {
        PacketType.CONNACK,
        PacketType.PUBACK,
        PacketType.PUBREC,
        PacketType.PUBREL,
        PacketType.PUBCOMP,
        PacketType.SUBACK,
        PacketType.UNSUBACK,
        PacketType.DISCONNECT,
        PacketType.AUTH,
    }
)
_ANY: Final = _WITH_REASON | {WILL, _CONNECT, _PUBLISH, _SUBSCRIBE, PacketType.UNSUBSCRIBE}

_RULES: Final = (
    PropertyRule(
        PropertyId.PAYLOAD_FORMAT_INDICATOR,
        "Payload Format Indicator",
        WireType.BYTE,
        frozenset({_PUBLISH, WILL}),
        maximum=1,
    ),
    PropertyRule(
        PropertyId.MESSAGE_EXPIRY_INTERVAL,
        "Message Expiry Interval",
        WireType.FOUR_BYTE_INTEGER,
        frozenset({_PUBLISH, WILL}),
    ),
    PropertyRule(PropertyId.CONTENT_TYPE, "Content Type", WireType.UTF8_STRING, frozenset({_PUBLISH, WILL})),
    PropertyRule(
        PropertyId.RESPONSE_TOPIC,
        "Response Topic",
        WireType.UTF8_STRING,
        frozenset({_PUBLISH, WILL}),
        is_topic_name=True,
    ),
    PropertyRule(PropertyId.CORRELATION_DATA, "Correlation Data", WireType.BINARY_DATA, frozenset({_PUBLISH, WILL})),
    PropertyRule(
        PropertyId.SUBSCRIPTION_IDENTIFIER,
        "Subscription Identifier",
        WireType.VARIABLE_BYTE_INTEGER,
        frozenset({_PUBLISH, _SUBSCRIBE}),
        repeatable_in=frozenset({_PUBLISH}),
        minimum=1,
    ),
    PropertyRule(
        PropertyId.SESSION_EXPIRY_INTERVAL,
        "Session Expiry Interval",
        WireType.FOUR_BYTE_INTEGER,
        frozenset({_CONNECT, _CONNACK, _DISCONNECT}),
    ),
    PropertyRule(
        PropertyId.ASSIGNED_CLIENT_IDENTIFIER,
        "Assigned Client Identifier",
        WireType.UTF8_STRING,
        frozenset({_CONNACK}),
    ),
    PropertyRule(PropertyId.SERVER_KEEP_ALIVE, "Server Keep Alive", WireType.TWO_BYTE_INTEGER, frozenset({_CONNACK})),
    PropertyRule(
        PropertyId.AUTHENTICATION_METHOD,
        "Authentication Method",
        WireType.UTF8_STRING,
        frozenset({_CONNECT, _CONNACK, _AUTH}),
    ),
    PropertyRule(
        PropertyId.AUTHENTICATION_DATA,
        "Authentication Data",
        WireType.BINARY_DATA,
        frozenset({_CONNECT, _CONNACK, _AUTH}),
    ),
    PropertyRule(
        PropertyId.REQUEST_PROBLEM_INFORMATION,
        "Request Problem Information",
        WireType.BYTE,
        frozenset({_CONNECT}),
        maximum=1,
    ),
    PropertyRule(
        PropertyId.WILL_DELAY_INTERVAL,
        "Will Delay Interval",
        WireType.FOUR_BYTE_INTEGER,
        frozenset({WILL}),
    ),
    PropertyRule(
        PropertyId.REQUEST_RESPONSE_INFORMATION,
        "Request Response Information",
        WireType.BYTE,
        frozenset({_CONNECT}),
        maximum=1,
    ),
    PropertyRule(
        PropertyId.RESPONSE_INFORMATION,
        "Response Information",
        WireType.UTF8_STRING,
        frozenset({_CONNACK}),
    ),
    PropertyRule(
        PropertyId.SERVER_REFERENCE,
        "Server Reference",
        WireType.UTF8_STRING,
        frozenset({_CONNACK, _DISCONNECT}),
    ),
    PropertyRule(PropertyId.REASON_STRING, "Reason String", WireType.UTF8_STRING, _WITH_REASON),
    PropertyRule(
        PropertyId.RECEIVE_MAXIMUM,
        "Receive Maximum",
        WireType.TWO_BYTE_INTEGER,
        frozenset({_CONNECT, _CONNACK}),
        minimum=1,
    ),
    PropertyRule(
        PropertyId.TOPIC_ALIAS_MAXIMUM,
        "Topic Alias Maximum",
        WireType.TWO_BYTE_INTEGER,
        frozenset({_CONNECT, _CONNACK}),
    ),
    PropertyRule(
        PropertyId.TOPIC_ALIAS,
        "Topic Alias",
        WireType.TWO_BYTE_INTEGER,
        frozenset({_PUBLISH}),
        minimum=1,
        fault_code=ReasonCode.TOPIC_ALIAS_INVALID,
        fault_rule="MQTT-3.3.2-8",
    ),
    PropertyRule(PropertyId.MAXIMUM_QOS, "Maximum QoS", WireType.BYTE, frozenset({_CONNACK}), maximum=1),
    PropertyRule(PropertyId.RETAIN_AVAILABLE, "Retain Available", WireType.BYTE, frozenset({_CONNACK}), maximum=1),
    PropertyRule(PropertyId.USER_PROPERTY, "User Property", WireType.UTF8_STRING_PAIR, _ANY, repeatable_in=_ANY),
    PropertyRule(
        PropertyId.MAXIMUM_PACKET_SIZE,
        "Maximum Packet Size",
        WireType.FOUR_BYTE_INTEGER,
        frozenset({_CONNECT, _CONNACK}),
        minimum=1,
    ),
    PropertyRule(
        PropertyId.WILDCARD_SUBSCRIPTION_AVAILABLE,
        "Wildcard Subscription Available",
        WireType.BYTE,
        frozenset({_CONNACK}),
        maximum=1,
    ),
    PropertyRule(
        PropertyId.SUBSCRIPTION_IDENTIFIERS_AVAILABLE,
        "Subscription Identifiers Available",
        WireType.BYTE,
        frozenset({_CONNACK}),
        maximum=1,
    ),
    PropertyRule(
        PropertyId.SHARED_SUBSCRIPTION_AVAILABLE,
        "Shared Subscription Available",
        WireType.BYTE,
        frozenset({_CONNACK}),
        maximum=1,
    ),
)

#: The table, by property identifier.
PROPERTY_RULES: Final[Mapping[int, PropertyRule]] = {rule.identifier: rule for rule in _RULES}

_RULES_IN: Final[Mapping[int, Mapping[int, PropertyRule]]] = {
    place: {rule.identifier: rule for rule in _RULES if place in rule.places} for place in (WILL, *PacketType)
}


def decode_properties(reader: PacketReader, packet_type: int) -> PropertyValues:
    """Read a property block with its length in front; an empty dict if it is empty.

    ``packet_type``: the packet that it stands in, or ``WILL``. Raises PacketError, the peer's fault:
    0x81 for a property that is unknown or not allowed here or cut off, 0x82 for one that is there twice or has
    a value that its section does not allow, 0x94 for a Topic Alias of 0.
    """
    size = reader.varint("the property length")  # [MQTT-2.2.2-1]
    if size == 0:
        return {}
    return _decode(reader.section(size, "the end of the properties"), packet_type)


def decode_property_block(block: bytes, packet_type: int) -> PropertyValues:
    """Read a property block that has no length in front; raises as ``decode_properties``."""
    return _decode(PacketReader(block), packet_type)


def encode_properties(values: Mapping[PropertyId, Any], packet_type: int) -> bytes:
    """A property block with its length in front; see ``encode_property_block``."""
    block = encode_property_block(values, packet_type)
    return encode_varint(len(block)) + block


def encode_property_block(values: Mapping[PropertyId, Any], packet_type: int) -> bytes:
    """A property block without its length; what is None or an empty sequence is left out.

    Raises ValueError, our own fault, for a property that may not stand in this packet or a value that does not fit.
    """
    allowed = _RULES_IN[packet_type]
    parts: list[bytes] = []
    for identifier, value in values.items():
        if value is None:
            continue
        rule = allowed.get(identifier)
        if rule is None:
            raise ValueError(f"{identifier.name} is not allowed here")
        repeated = packet_type in rule.repeatable_in
        for one in value if repeated else (value,):
            parts.append(bytes((identifier,)))
            parts.append(_encode_value(rule, one))
    return b"".join(parts)


def _decode(block: PacketReader, packet_type: int) -> PropertyValues:
    allowed = _RULES_IN[packet_type]
    values: PropertyValues = {}
    while block.remaining:
        identifier = block.varint("a property identifier")
        rule = allowed.get(identifier)
        if rule is None:
            known = PROPERTY_RULES.get(identifier)
            fault = f"property 0x{identifier:02X} is unknown" if known is None else f"{known.name} is not allowed here"
            raise PacketError(ReasonCode.MALFORMED_PACKET, fault)
        value = _decode_value(block, rule)
        if packet_type in rule.repeatable_in:
            values.setdefault(rule.identifier, []).append(value)
        elif rule.identifier in values:
            raise PacketError(ReasonCode.PROTOCOL_ERROR, f"{rule.name} is there twice")
        else:
            values[rule.identifier] = value
    return values


def _decode_value(block: PacketReader, rule: PropertyRule) -> Any:
    name = rule.name
    match rule.wire_type:
        case WireType.UTF8_STRING_PAIR:
            return block.utf8(name), block.utf8(name)  # [MQTT-1.5.7-1]
        case WireType.UTF8_STRING:
            text = block.utf8(name)
            if rule.is_topic_name:
                _check_response_topic(text)
            return text
        case WireType.BINARY_DATA:
            return block.binary(name)
        case WireType.BYTE:
            number = block.u8(name)
        case WireType.TWO_BYTE_INTEGER:
            number = block.u16(name)
        case WireType.FOUR_BYTE_INTEGER:
            number = block.u32(name)
        case WireType.VARIABLE_BYTE_INTEGER:
            number = block.varint(name)
    if number < rule.minimum or (rule.maximum is not None and number > rule.maximum):
        raise PacketError(rule.fault_code, f"{name} is {number}", rule.fault_rule)
    return number


def _check_response_topic(text: str) -> None:
    try:
        check_topic_name(text)
    except PacketError as error:  # [MQTT-3.3.2-14]
        raise PacketError(ReasonCode.PROTOCOL_ERROR, f"Response Topic: {error}", "MQTT-3.3.2-14") from None


def _encode_value(rule: PropertyRule, value: Any) -> bytes:
    if rule.wire_type is WireType.UTF8_STRING_PAIR:
        name, text = value
        return encode_string(name) + encode_string(text)
    if rule.wire_type is WireType.UTF8_STRING:
        return encode_string(value)
    if rule.wire_type is WireType.BINARY_DATA:
        return encode_binary(value)
    number = int(value)
    if number < rule.minimum or (rule.maximum is not None and number > rule.maximum):
        raise ValueError(f"{rule.name} cannot be {number}")
    if rule.wire_type is WireType.VARIABLE_BYTE_INTEGER:
        return encode_varint(number)
    size = _INTEGER_SIZES[rule.wire_type]
    if number >= 1 << (8 * size):
        raise ValueError(f"{rule.name} cannot be {number}")
    return number.to_bytes(size, "big")


_INTEGER_SIZES: Final[Mapping[int, int]] = {
    WireType.BYTE: 1,
    WireType.TWO_BYTE_INTEGER: 2,
    WireType.FOUR_BYTE_INTEGER: 4,
}
