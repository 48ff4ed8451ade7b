"""CONNACK: the server accepts or refuses a connection and says what it can do."""

from dataclasses import dataclass
from typing import Final

from noctule._speedups.buffers import PacketReader
from noctule.protocol.constants import RECEIVE_MAXIMUM_DEFAULT, PacketType, PropertyId
from noctule.protocol.errors import PacketError
from noctule.protocol.properties import PropertyValues, decode_properties, encode_properties
from noctule.protocol.reason_codes import FIRST_FAILURE, ReasonCode, reason_codes_of
from noctule.protocol.versions import CAPABILITIES
from noctule.protocol.wire import check_first_byte, encode_packet

_FIRST_BYTE: Final = PacketType.CONNACK << 4
_SESSION_PRESENT: Final = 0x01
_REASON_CODES: Final = reason_codes_of(PacketType.CONNACK)
_MAXIMUM_QOS_DEFAULT: Final = 2


@dataclass(frozen=True, slots=True)
class Connack:
    """A CONNACK in the terms of version 5 (3.2.2)."""

    #: 0x00: accepted. Anything else closes the connection.
    reason_code: int = ReasonCode.SUCCESS

    #: Whether the server had a session of this client's.
    session_present: bool = False

    #: How long the session outlives the connection; None: as the client asked.
    session_expiry_interval_s: int | None = None

    #: How many QoS 1 and 2 messages the server takes at once.
    receive_maximum: int = RECEIVE_MAXIMUM_DEFAULT

    maximum_qos: int = _MAXIMUM_QOS_DEFAULT
    retain_available: bool = True

    #: The largest packet in bytes that the server takes; None: any.
    maximum_packet_size: int | None = None

    #: The identifier that the server chose for a client that came without.
    assigned_client_identifier: str | None = None

    #: The highest Topic Alias that the server takes; 0: none.
    topic_alias_maximum: int = 0

    reason_string: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    wildcard_subscription_available: bool = True
    subscription_identifiers_available: bool = True
    shared_subscription_available: bool = True

    #: What the client uses in place of the Keep Alive that it asked for; None: its own.
    server_keep_alive_s: int | None = None

    response_information: str | None = None
    server_reference: str | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None


def decode_connack(body: bytes, version: int, first: int = _FIRST_BYTE) -> Connack:
    """Read a CONNACK. PacketError, the server's fault: 0x81 if it is malformed, 0x82 for a code that is none."""
    check_first_byte(first, _FIRST_BYTE)
    capabilities = CAPABILITIES[version]
    reader = PacketReader(body)
    flags = reader.u8("the connect acknowledge flags")
    if not capabilities.has_session_present:
        flags = 0  # 3.1 calls the byte reserved and does not say what it is to hold
    if flags > _SESSION_PRESENT:  # [MQTT-3.2.2-1]
        raise PacketError(ReasonCode.MALFORMED_PACKET, "reserved connect acknowledge flags are set", "MQTT-3.2.2-1")
    code = reader.u8("the reason code")
    reason_code = capabilities.connack_reason_code(code)
    if reason_code not in _REASON_CODES:  # [MQTT-3.2.2-8]
        raise PacketError(ReasonCode.PROTOCOL_ERROR, f"CONNACK with the code {code}", "MQTT-3.2.2-8")
    reason_code = ReasonCode(reason_code)
    session_present = flags == _SESSION_PRESENT
    if session_present and reason_code != ReasonCode.SUCCESS:  # [MQTT-3.2.2-6]
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "a session is present but the connection refused", "MQTT-3.2.2-6")
    values = decode_properties(reader, PacketType.CONNACK) if capabilities.has_properties else {}
    reader.expect_end("CONNACK")
    if not values:
        return Connack(reason_code, session_present)
    get = values.get
    return Connack(
        reason_code=reason_code,
        session_present=session_present,
        session_expiry_interval_s=get(PropertyId.SESSION_EXPIRY_INTERVAL),
        receive_maximum=get(PropertyId.RECEIVE_MAXIMUM, RECEIVE_MAXIMUM_DEFAULT),
        maximum_qos=get(PropertyId.MAXIMUM_QOS, _MAXIMUM_QOS_DEFAULT),
        retain_available=get(PropertyId.RETAIN_AVAILABLE, 1) == 1,
        maximum_packet_size=get(PropertyId.MAXIMUM_PACKET_SIZE),
        assigned_client_identifier=get(PropertyId.ASSIGNED_CLIENT_IDENTIFIER),
        topic_alias_maximum=get(PropertyId.TOPIC_ALIAS_MAXIMUM, 0),
        reason_string=get(PropertyId.REASON_STRING),
        user_properties=tuple(get(PropertyId.USER_PROPERTY, ())),
        wildcard_subscription_available=get(PropertyId.WILDCARD_SUBSCRIPTION_AVAILABLE, 1) == 1,
        subscription_identifiers_available=get(PropertyId.SUBSCRIPTION_IDENTIFIERS_AVAILABLE, 1) == 1,
        shared_subscription_available=get(PropertyId.SHARED_SUBSCRIPTION_AVAILABLE, 1) == 1,
        server_keep_alive_s=get(PropertyId.SERVER_KEEP_ALIVE),
        response_information=get(PropertyId.RESPONSE_INFORMATION),
        server_reference=get(PropertyId.SERVER_REFERENCE),
        authentication_method=get(PropertyId.AUTHENTICATION_METHOD),
        authentication_data=get(PropertyId.AUTHENTICATION_DATA),
    )


def encode_connack(packet: Connack, version: int) -> bytes:
    """The whole packet; empty where this version has no code for the refusal and is told by closing alone.

    Session Present is never sent with a refusal [MQTT-3.2.2-6]. ValueError, our own fault, for a value that
    cannot be written.
    """
    capabilities = CAPABILITIES[version]
    code = capabilities.connack_code(packet.reason_code)
    if code is None:  # [MQTT-3.2.2-6] of 3.1.1
        return b""
    present = packet.session_present and capabilities.has_session_present and packet.reason_code < FIRST_FAILURE
    body = bytes((_SESSION_PRESENT if present else 0, code))
    if capabilities.has_properties:
        body += encode_properties(_connack_properties(packet), PacketType.CONNACK)
    return encode_packet(_FIRST_BYTE, body)


def _connack_properties(packet: Connack) -> PropertyValues:
    """The properties that say something else than their absence does."""
    receive_maximum = packet.receive_maximum
    return {
        PropertyId.SESSION_EXPIRY_INTERVAL: packet.session_expiry_interval_s,
        PropertyId.RECEIVE_MAXIMUM: None if receive_maximum == RECEIVE_MAXIMUM_DEFAULT else receive_maximum,
        PropertyId.MAXIMUM_QOS: None if packet.maximum_qos == _MAXIMUM_QOS_DEFAULT else packet.maximum_qos,
        PropertyId.RETAIN_AVAILABLE: None if packet.retain_available else 0,
        PropertyId.MAXIMUM_PACKET_SIZE: packet.maximum_packet_size,
        PropertyId.ASSIGNED_CLIENT_IDENTIFIER: packet.assigned_client_identifier,
        PropertyId.TOPIC_ALIAS_MAXIMUM: packet.topic_alias_maximum or None,
        PropertyId.REASON_STRING: packet.reason_string,
        PropertyId.USER_PROPERTY: packet.user_properties,
        PropertyId.WILDCARD_SUBSCRIPTION_AVAILABLE: None if packet.wildcard_subscription_available else 0,
        PropertyId.SUBSCRIPTION_IDENTIFIERS_AVAILABLE: None if packet.subscription_identifiers_available else 0,
        PropertyId.SHARED_SUBSCRIPTION_AVAILABLE: None if packet.shared_subscription_available else 0,
        PropertyId.SERVER_KEEP_ALIVE: packet.server_keep_alive_s,
        PropertyId.RESPONSE_INFORMATION: packet.response_information,
        PropertyId.SERVER_REFERENCE: packet.server_reference,
        PropertyId.AUTHENTICATION_METHOD: packet.authentication_method,
        PropertyId.AUTHENTICATION_DATA: packet.authentication_data,
    }
