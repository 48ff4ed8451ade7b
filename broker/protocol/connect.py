"""CONNECT: a client asks for a connection and says who it is, what it can take, and what its Will is."""

from dataclasses import dataclass, field
from typing import Final

from noctule._speedups.buffers import PacketReader
from noctule.protocol.constants import (
    RECEIVE_MAXIMUM_DEFAULT,
    SESSION_NEVER_EXPIRES,
    PacketType,
    PropertyId,
)
from noctule.protocol.errors import PacketError, UnsupportedVersionError
from noctule.protocol.filters import check_topic_name
from noctule.protocol.properties import (
    WILL,
    PropertyValues,
    decode_properties,
    decode_property_block,
    encode_properties,
    encode_property_block,
)
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.versions import CAPABILITIES, V3_1, V3_1_1, V5, Capabilities, ProtocolVersion
from noctule.protocol.wire import check_first_byte, encode_binary, encode_packet, encode_string

_FIRST_BYTE: Final = PacketType.CONNECT << 4

# The Connect Flags (3.1.2.3).
_RESERVED: Final = 0x01
_CLEAN_START: Final = 0x02
_WILL_FLAG: Final = 0x04
_WILL_QOS_SHIFT: Final = 3
_WILL_RETAIN: Final = 0x20
_PASSWORD: Final = 0x40
_USER_NAME: Final = 0x80

#: Marks a bridge in the protocol level of 3.1 and 3.1.1: a convention of Mosquitto's that brokers share.
_BRIDGE_BIT: Final = 0x80

# The protocol name as it stands in the packet, its length in front (3.1.2.1).
_MQTT: Final = b"\x00\x04MQTT"
_MQISDP: Final = b"\x00\x06MQIsdp"

_VERSIONS: Final = {
    (_MQISDP, ProtocolVersion.V3_1): (V3_1, False),
    (_MQISDP, ProtocolVersion.V3_1 | _BRIDGE_BIT): (V3_1, True),
    (_MQTT, ProtocolVersion.V3_1_1): (V3_1_1, False),
    (_MQTT, ProtocolVersion.V3_1_1 | _BRIDGE_BIT): (V3_1_1, True),
    (_MQTT, ProtocolVersion.V5): (V5, False),
}


@dataclass(frozen=True, slots=True)
class Will:
    """The message that the server publishes when the connection ends without DISCONNECT 0x00 (3.1.2.5)."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False

    #: How many seconds it waits after the connection has ended (3.1.3.2.2); 0 below version 5.
    will_delay_interval_s: int = 0

    #: What is forwarded with it, as a property block of PUBLISH without its length: Payload Format Indicator,
    #: Message Expiry Interval, Content Type, Response Topic, Correlation Data and User Properties, in their order.
    properties: bytes = b""


@dataclass(frozen=True, slots=True)
class Connect:
    """A CONNECT in the terms of version 5; what 3.x lacks has the value that stands for its behaviour."""

    version: ProtocolVersion
    client_id: str

    #: Whether an old session is thrown away first. Of 3.x: CleanSession.
    clean_start: bool = True

    #: The longest silence of the client; 0: any.
    keep_alive_s: int = 0

    will: Will | None = None
    user_name: str | None = None
    password: bytes | None = field(default=None, repr=False)

    #: How long the session outlives the connection; 0xFFFFFFFF: for good. Of 3.x: 0 with CleanSession, else for
    #: good (3.1.2.11.2, the non-normative comment).
    session_expiry_interval_s: int = 0

    #: How many QoS 1 and 2 messages the client takes at once.
    receive_maximum: int = RECEIVE_MAXIMUM_DEFAULT

    #: The largest packet in bytes that the client takes; None: any.
    maximum_packet_size: int | None = None

    #: The highest Topic Alias that the client takes; 0: none.
    topic_alias_maximum: int = 0

    request_response_information: bool = False

    #: Whether Reason String and User Properties may be sent with any packet; if not, with PUBLISH, CONNACK and
    #: DISCONNECT alone [MQTT-3.1.2-29].
    request_problem_information: bool = True

    user_properties: tuple[tuple[str, str], ...] = ()
    authentication_method: str | None = None
    authentication_data: bytes | None = None

    #: Whether the client calls itself a bridge, by the top bit of the protocol level.
    is_bridge: bool = False


def protocol_version_of(body: bytes) -> ProtocolVersion | None:
    """The version that this CONNECT is of, whatever else is wrong with it; None where name and level give none.

    For the answer to a CONNECT that cannot be read: version 5 is told why, 3.x is not ([MQTT-3.1.4-1]).
    """
    name = _MQISDP if body.startswith(_MQISDP) else _MQTT
    if not body.startswith(name) or len(body) == len(name):
        return None
    known = _VERSIONS.get((name, body[len(name)]))
    return None if known is None else known[0].version


def decode_connect(body: bytes, first: int = _FIRST_BYTE) -> Connect:
    """Read a CONNECT of any version.

    Raises, always for the client's fault, UnsupportedVersionError if the name is MQTT's and the level is none that
    is spoken here; PacketError 0x84 if the name is another [MQTT-3.1.2-1]; PacketError 0x81 if the packet is
    malformed; PacketError 0x82 for properties that contradict the protocol; PacketError 0x90 for a Will Topic that
    cannot be one. Whether an empty Client Identifier will do is the server's decision: it is not judged here.
    """
    check_first_byte(first, _FIRST_BYTE)
    reader = PacketReader(body)
    version, is_bridge = _read_version(reader, body)
    flags = reader.u8("the connect flags")
    _check_flags(flags, version)
    clean_start = flags & _CLEAN_START != 0
    keep_alive_s = reader.u16("the keep alive")
    values: PropertyValues = decode_properties(reader, PacketType.CONNECT) if version.has_properties else {}

    # The order of the payload is fixed [MQTT-3.1.3-1]; the Client Identifier is always there [MQTT-3.1.3-3].
    client_id = reader.utf8("the client identifier")  # [MQTT-3.1.3-4]
    will = _read_will(reader, flags, version) if flags & _WILL_FLAG else None
    user_name: str | None = None
    password: bytes | None = None
    if flags & _USER_NAME and not (version.credentials_may_be_missing and reader.remaining == 0):
        user_name = reader.utf8("the user name")  # [MQTT-3.1.2-17] [MQTT-3.1.3-12]
    if flags & _PASSWORD and not (version.credentials_may_be_missing and reader.remaining == 0):
        password = reader.binary("the password")  # [MQTT-3.1.2-19]
    reader.expect_end("CONNECT")  # [MQTT-3.1.2-16] [MQTT-3.1.2-18]

    if not values:
        return Connect(
            version.version,
            client_id,
            clean_start,
            keep_alive_s,
            will,
            user_name,
            password,
            0 if clean_start or version.has_properties else SESSION_NEVER_EXPIRES,
            is_bridge=is_bridge,
        )
    get = values.get
    authentication_method = get(PropertyId.AUTHENTICATION_METHOD)
    authentication_data = get(PropertyId.AUTHENTICATION_DATA)
    if authentication_data is not None and authentication_method is None:  # 3.1.2.11.10
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "Authentication Data without Authentication Method")
    return Connect(
        version.version,
        client_id,
        clean_start,
        keep_alive_s,
        will,
        user_name,
        password,
        get(PropertyId.SESSION_EXPIRY_INTERVAL, 0),
        get(PropertyId.RECEIVE_MAXIMUM, RECEIVE_MAXIMUM_DEFAULT),
        get(PropertyId.MAXIMUM_PACKET_SIZE),
        get(PropertyId.TOPIC_ALIAS_MAXIMUM, 0),
        get(PropertyId.REQUEST_RESPONSE_INFORMATION, 0) == 1,
        get(PropertyId.REQUEST_PROBLEM_INFORMATION, 1) == 1,
        tuple(get(PropertyId.USER_PROPERTY, ())),
        authentication_method,
        authentication_data,
        is_bridge,
    )


def encode_connect(packet: Connect) -> bytes:
    """The whole packet, of ``packet.version``; what that version lacks is left out.

    Of 3.x only ``clean_start`` decides how long the session lives. Raises ValueError, our own fault, for what no
    packet can say: a value out of range, a character that MQTT does not allow, a password without user name (3.x).
    """
    version = CAPABILITIES[packet.version]
    will = packet.will
    flags = _CLEAN_START if packet.clean_start else 0
    if will is not None:
        if not 0 <= will.qos <= 2:
            raise ValueError(f"QoS is 0, 1 or 2, not {will.qos}")
        flags |= _WILL_FLAG | will.qos << _WILL_QOS_SHIFT
        if will.retain:
            flags |= _WILL_RETAIN
    if packet.user_name is not None:
        flags |= _USER_NAME
    if packet.password is not None:
        if packet.user_name is None and version.password_needs_user_name:
            raise ValueError("a password without a user name cannot be sent below version 5")
        flags |= _PASSWORD
    level = packet.version | (_BRIDGE_BIT if packet.is_bridge and version.has_bridge_bit else 0)
    parts = [
        encode_string(version.protocol_name),
        bytes((level, flags)),
        packet.keep_alive_s.to_bytes(2, "big"),
    ]
    if version.has_properties:
        parts.append(encode_properties(_connect_properties(packet), PacketType.CONNECT))
    parts.append(encode_string(packet.client_id))
    if will is not None:
        parts.extend(_encode_will(will, version))
    if packet.user_name is not None:
        parts.append(encode_string(packet.user_name))
    if packet.password is not None:
        parts.append(encode_binary(packet.password))
    return encode_packet(_FIRST_BYTE, b"".join(parts))


def _read_version(reader: PacketReader, body: bytes) -> tuple[Capabilities, bool]:
    """The version's capabilities, and whether the bridge bit is set."""
    # The two names that exist are compared as bytes: nothing of a foreign name is worth decoding.
    if body.startswith(_MQTT):
        name = reader.take(len(_MQTT))
    elif body.startswith(_MQISDP):
        name = reader.take(len(_MQISDP))
    else:
        reader.utf8("the protocol name")
        raise PacketError(
            ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, "the protocol name is not MQTT", "MQTT-3.1.2-1"
        )  # [MQTT-3.1.2-1]
    level = reader.u8("the protocol level")
    known = _VERSIONS.get((name, level))
    if known is None:
        raise UnsupportedVersionError(level)  # [MQTT-3.1.2-2]
    return known


def _check_flags(flags: int, version: Capabilities) -> None:
    if flags & _RESERVED:  # [MQTT-3.1.2-3]
        raise PacketError(ReasonCode.MALFORMED_PACKET, "the reserved connect flag is set", "MQTT-3.1.2-3")
    will_qos = flags >> _WILL_QOS_SHIFT & 3
    if flags & _WILL_FLAG:
        if will_qos == 3:  # [MQTT-3.1.2-12]
            raise PacketError(ReasonCode.MALFORMED_PACKET, "the Will QoS is 3", "MQTT-3.1.2-12")
    elif will_qos and version.will_bits_need_will:  # [MQTT-3.1.2-11]
        raise PacketError(ReasonCode.MALFORMED_PACKET, "a Will QoS without a Will", "MQTT-3.1.2-11")
    elif flags & _WILL_RETAIN and version.will_bits_need_will:  # [MQTT-3.1.2-13]
        raise PacketError(ReasonCode.MALFORMED_PACKET, "Will Retain without a Will", "MQTT-3.1.2-13")
    if version.password_needs_user_name and flags & _PASSWORD and not flags & _USER_NAME:
        # [MQTT-3.1.2-22] of 3.1.1; version 5 has dropped it
        raise PacketError(ReasonCode.MALFORMED_PACKET, "a password without a user name", "MQTT-3.1.2-22")


def _read_will(reader: PacketReader, flags: int, version: Capabilities) -> Will:
    delay_s = 0
    properties = b""
    if version.has_properties:
        values = decode_properties(reader, WILL)
        if values:
            delay_s = values.pop(PropertyId.WILL_DELAY_INTERVAL, 0)
            # User Properties keep their order among themselves; no other order means anything.  [MQTT-3.1.3-10]
            properties = encode_property_block(values, PacketType.PUBLISH)
    topic = reader.utf8("the will topic")  # [MQTT-3.1.2-9] [MQTT-3.1.3-11]
    check_topic_name(topic)
    payload = reader.binary("the will payload")  # [MQTT-3.1.2-9]
    return Will(topic, payload, flags >> _WILL_QOS_SHIFT & 3, flags & _WILL_RETAIN != 0, delay_s, properties)


def _encode_will(will: Will, version: Capabilities) -> list[bytes]:
    parts: list[bytes] = []
    if version.has_properties:
        values = decode_property_block(will.properties, PacketType.PUBLISH) if will.properties else {}
        if will.will_delay_interval_s:
            values[PropertyId.WILL_DELAY_INTERVAL] = will.will_delay_interval_s
        parts.append(encode_properties(values, WILL))
    parts.append(encode_string(will.topic))
    parts.append(encode_binary(will.payload))
    return parts


def _connect_properties(packet: Connect) -> PropertyValues:
    """The properties that say something else than their absence does."""
    receive_maximum = packet.receive_maximum
    return {
        PropertyId.SESSION_EXPIRY_INTERVAL: packet.session_expiry_interval_s or None,
        PropertyId.RECEIVE_MAXIMUM: None if receive_maximum == RECEIVE_MAXIMUM_DEFAULT else receive_maximum,
        PropertyId.MAXIMUM_PACKET_SIZE: packet.maximum_packet_size,
        PropertyId.TOPIC_ALIAS_MAXIMUM: packet.topic_alias_maximum or None,
        PropertyId.REQUEST_RESPONSE_INFORMATION: 1 if packet.request_response_information else None,
        PropertyId.REQUEST_PROBLEM_INFORMATION: None if packet.request_problem_information else 0,
        PropertyId.USER_PROPERTY: packet.user_properties,
        PropertyId.AUTHENTICATION_METHOD: packet.authentication_method,
        PropertyId.AUTHENTICATION_DATA: packet.authentication_data,
    }
