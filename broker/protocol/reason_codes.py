"""The reason codes of MQTT 5.0: number, text, and the packets that each may stand in."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from noctule.protocol.constants import PacketType

_CONNACK: Final = PacketType.CONNACK
_PUBACK: Final = PacketType.PUBACK
_PUBREC: Final = PacketType.PUBREC
_PUBREL: Final = PacketType.PUBREL
_PUBCOMP: Final = PacketType.PUBCOMP
_SUBACK: Final = PacketType.SUBACK
_UNSUBACK: Final = PacketType.UNSUBACK
_DISCONNECT: Final = PacketType.DISCONNECT
_AUTH: Final = PacketType.AUTH


class ReasonCode(IntEnum):
    """What became of an operation; 0x80 and above is a failure.

    Source: MQTT 5.0 section 2.4, table 2-6. ``text`` is the table's name, ``packets`` its third column.
    """

    text: str
    packets: frozenset[PacketType]

    def __new__(cls, value: int, text: str = "", *packets: PacketType) -> "ReasonCode":
        """A member from its row of the table; rows of one number are one member."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.text = text
        member.packets = frozenset(packets)
        return member

    # 0x00 has three names in the table; the first is the member, the others are aliases of it.
    SUCCESS = (
        0x00,
        "Success",
        _CONNACK,
        _PUBACK,
        _PUBREC,
        _PUBREL,
        _PUBCOMP,
        _SUBACK,
        _UNSUBACK,
        _DISCONNECT,
        _AUTH,
    )
    NORMAL_DISCONNECTION = 0x00, "Normal disconnection", _DISCONNECT
    GRANTED_QOS_0 = 0x00, "Granted QoS 0", _SUBACK
    GRANTED_QOS_1 = 0x01, "Granted QoS 1", _SUBACK
    GRANTED_QOS_2 = 0x02, "Granted QoS 2", _SUBACK
    DISCONNECT_WITH_WILL_MESSAGE = 0x04, "Disconnect with Will Message", _DISCONNECT
    NO_MATCHING_SUBSCRIBERS = 0x10, "No matching subscribers", _PUBACK, _PUBREC
    NO_SUBSCRIPTION_EXISTED = 0x11, "No subscription existed", _UNSUBACK
    CONTINUE_AUTHENTICATION = 0x18, "Continue authentication", _AUTH
    RE_AUTHENTICATE = 0x19, "Re-authenticate", _AUTH
    UNSPECIFIED_ERROR = (
        0x80,
        "Unspecified error",
        _CONNACK,
        _PUBACK,
        _PUBREC,
        _SUBACK,
        _UNSUBACK,
        _DISCONNECT,
    )
    MALFORMED_PACKET = 0x81, "Malformed Packet", _CONNACK, _DISCONNECT
    PROTOCOL_ERROR = 0x82, "Protocol Error", _CONNACK, _DISCONNECT
    IMPLEMENTATION_SPECIFIC_ERROR = (
        0x83,
        "Implementation specific error",
        _CONNACK,
        _PUBACK,
        _PUBREC,
        _SUBACK,
        _UNSUBACK,
        _DISCONNECT,
    )
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "Unsupported Protocol Version", _CONNACK
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "Client Identifier not valid", _CONNACK
    BAD_USER_NAME_OR_PASSWORD = 0x86, "Bad User Name or Password", _CONNACK
    NOT_AUTHORIZED = (
        0x87,
        "Not authorized",
        _CONNACK,
        _PUBACK,
        _PUBREC,
        _SUBACK,
        _UNSUBACK,
        _DISCONNECT,
    )
    SERVER_UNAVAILABLE = 0x88, "Server unavailable", _CONNACK
    SERVER_BUSY = 0x89, "Server busy", _CONNACK, _DISCONNECT
    BANNED = 0x8A, "Banned", _CONNACK
    SERVER_SHUTTING_DOWN = 0x8B, "Server shutting down", _DISCONNECT
    BAD_AUTHENTICATION_METHOD = 0x8C, "Bad authentication method", _CONNACK, _DISCONNECT
    KEEP_ALIVE_TIMEOUT = 0x8D, "Keep Alive timeout", _DISCONNECT
    SESSION_TAKEN_OVER = 0x8E, "Session taken over", _DISCONNECT
    TOPIC_FILTER_INVALID = 0x8F, "Topic Filter invalid", _SUBACK, _UNSUBACK, _DISCONNECT
    TOPIC_NAME_INVALID = 0x90, "Topic Name invalid", _CONNACK, _PUBACK, _PUBREC, _DISCONNECT
    PACKET_IDENTIFIER_IN_USE = 0x91, "Packet Identifier in use", _PUBACK, _PUBREC, _SUBACK, _UNSUBACK
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "Packet Identifier not found", _PUBREL, _PUBCOMP
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "Receive Maximum exceeded", _DISCONNECT
    TOPIC_ALIAS_INVALID = 0x94, "Topic Alias invalid", _DISCONNECT
    PACKET_TOO_LARGE = 0x95, "Packet too large", _CONNACK, _DISCONNECT
    MESSAGE_RATE_TOO_HIGH = 0x96, "Message rate too high", _DISCONNECT
    QUOTA_EXCEEDED = 0x97, "Quota exceeded", _CONNACK, _PUBACK, _PUBREC, _SUBACK, _DISCONNECT
    ADMINISTRATIVE_ACTION = 0x98, "Administrative action", _DISCONNECT
    PAYLOAD_FORMAT_INVALID = 0x99, "Payload format invalid", _CONNACK, _PUBACK, _PUBREC, _DISCONNECT
    RETAIN_NOT_SUPPORTED = 0x9A, "Retain not supported", _CONNACK, _DISCONNECT
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported", _CONNACK, _DISCONNECT
    USE_ANOTHER_SERVER = 0x9C, "Use another server", _CONNACK, _DISCONNECT
    SERVER_MOVED = 0x9D, "Server moved", _CONNACK, _DISCONNECT
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "Shared Subscriptions not supported", _SUBACK, _DISCONNECT
    CONNECTION_RATE_EXCEEDED = 0x9F, "Connection rate exceeded", _CONNACK, _DISCONNECT
    MAXIMUM_CONNECT_TIME = 0xA0, "Maximum connect time", _DISCONNECT
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1, "Subscription Identifiers not supported", _SUBACK, _DISCONNECT
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, "Wildcard Subscriptions not supported", _SUBACK, _DISCONNECT


#: The least reason code that is a failure (2.4).
FIRST_FAILURE: Final = 0x80

_LEGAL: Final[Mapping[int, frozenset[int]]] = {
    packet_type: frozenset(code.value for code in ReasonCode if packet_type in code.packets)
    for packet_type in PacketType
}

_TEXTS: Final[Mapping[int, str]] = {code.value: code.text for code in ReasonCode}

#: The codes of DISCONNECT that a client may send (3.14.2.1, the column "Sent by").
DISCONNECT_CODES_OF_CLIENT: Final = frozenset(
    code.value
    for code in (
        ReasonCode.NORMAL_DISCONNECTION,
        ReasonCode.DISCONNECT_WITH_WILL_MESSAGE,
        ReasonCode.UNSPECIFIED_ERROR,
        ReasonCode.MALFORMED_PACKET,
        ReasonCode.PROTOCOL_ERROR,
        ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
        ReasonCode.TOPIC_ALIAS_INVALID,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.MESSAGE_RATE_TOO_HIGH,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.ADMINISTRATIVE_ACTION,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
    )
)

#: The codes of DISCONNECT that a server may send: all but the one that is about the client's own Will.
DISCONNECT_CODES_OF_SERVER: Final = _LEGAL[PacketType.DISCONNECT] - {ReasonCode.DISCONNECT_WITH_WILL_MESSAGE}


def reason_codes_of(packet_type: int) -> frozenset[int]:
    """The reason codes that may stand in this packet (2.4, table 2-6); none for a packet that carries none."""
    return _LEGAL[packet_type]


def describe(code: int) -> str:
    """The specification's name of a reason code, "Reason code 0x.." where it has none."""
    return _TEXTS.get(code, f"Reason code 0x{code:02X}")
