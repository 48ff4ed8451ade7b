"""DISCONNECT: the last packet on a connection, and from version 5 on the reason why it ends."""

from dataclasses import dataclass
from typing import Final

from noctule._speedups.buffers import PacketReader
from noctule.protocol.constants import PacketType, PropertyId
from noctule.protocol.errors import PacketError
from noctule.protocol.properties import PropertyValues, decode_properties, encode_properties
from noctule.protocol.reason_codes import DISCONNECT_CODES_OF_CLIENT, DISCONNECT_CODES_OF_SERVER, ReasonCode
from noctule.protocol.versions import CAPABILITIES
from noctule.protocol.wire import check_first_byte, encode_packet

_FIRST_BYTE: Final = PacketType.DISCONNECT << 4


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A DISCONNECT in the terms of version 5; that of an older client is a normal disconnection."""

    reason_code: int = ReasonCode.NORMAL_DISCONNECTION

    #: A client's change of mind about how long its session lives; None: as in its CONNECT.
    session_expiry_interval_s: int | None = None

    reason_string: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()

    #: Another server to use, with 0x9C and 0x9D.
    server_reference: str | None = None


def decode_disconnect(body: bytes, version: int, first: int = _FIRST_BYTE, *, from_server: bool = False) -> Disconnect:
    """Read a DISCONNECT of a client's, or a server's where ``from_server`` is set.

    Raises PacketError, the peer's fault: 0x81 if the packet is malformed, 0x82 for a reason code that this side may
    not send, or a server's Session Expiry Interval. Whether the interval fits the one of CONNECT is not known here.
    """
    check_first_byte(first, _FIRST_BYTE, "MQTT-3.14.1-1")  # [MQTT-3.14.1-1]
    capabilities = CAPABILITIES[version]
    reader = PacketReader(body)
    if from_server and not capabilities.server_may_disconnect:
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "DISCONNECT from a server of an older version than 5")
    if not capabilities.has_reason_codes:
        reader.expect_end("DISCONNECT")
        return Disconnect()
    if not body:  # 3.14.2.1: the reason code may be left out if it is 0x00 and there are no properties
        return Disconnect()
    code = reader.u8("the reason code")
    if code not in (DISCONNECT_CODES_OF_SERVER if from_server else DISCONNECT_CODES_OF_CLIENT):  # [MQTT-3.14.2-1]
        raise PacketError(ReasonCode.PROTOCOL_ERROR, f"DISCONNECT with the code 0x{code:02X}", "MQTT-3.14.2-1")
    values: PropertyValues = {}
    if reader.remaining:  # 3.14.2.2.1: below a Remaining Length of 2 there is no property length
        values = decode_properties(reader, PacketType.DISCONNECT)
        reader.expect_end("DISCONNECT")
    session_expiry_interval_s = values.get(PropertyId.SESSION_EXPIRY_INTERVAL)
    if from_server and session_expiry_interval_s is not None:  # [MQTT-3.14.2-2]
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "Session Expiry Interval from a server", "MQTT-3.14.2-2")
    return Disconnect(
        ReasonCode(code),
        session_expiry_interval_s,
        values.get(PropertyId.REASON_STRING),
        tuple(values.get(PropertyId.USER_PROPERTY, ())),
        values.get(PropertyId.SERVER_REFERENCE),
    )


def encode_disconnect(packet: Disconnect, version: int) -> bytes:
    """The whole packet in its shortest form; below version 5 the two bytes of a client's normal disconnection.

    A server must not send it below version 5: ``Capabilities.server_may_disconnect``.
    """
    if not CAPABILITIES[version].has_reason_codes:
        return encode_packet(_FIRST_BYTE, b"")
    values = {
        PropertyId.SESSION_EXPIRY_INTERVAL: packet.session_expiry_interval_s,
        PropertyId.REASON_STRING: packet.reason_string,
        PropertyId.USER_PROPERTY: packet.user_properties,
        PropertyId.SERVER_REFERENCE: packet.server_reference,
    }
    properties = encode_properties(values, PacketType.DISCONNECT)
    if len(properties) > 1:
        return encode_packet(_FIRST_BYTE, bytes((packet.reason_code,)) + properties)
    if packet.reason_code == ReasonCode.NORMAL_DISCONNECTION:
        return encode_packet(_FIRST_BYTE, b"")
    return encode_packet(_FIRST_BYTE, bytes((packet.reason_code,)))
