"""AUTH: one step of enhanced authentication, in version 5 alone."""

from dataclasses import dataclass
from typing import Final

from noctule._speedups.buffers import PacketReader
from noctule.protocol.constants import PacketType, PropertyId
from noctule.protocol.errors import PacketError
from noctule.protocol.properties import decode_properties, encode_properties
from noctule.protocol.reason_codes import ReasonCode, reason_codes_of
from noctule.protocol.versions import CAPABILITIES
from noctule.protocol.wire import check_first_byte, encode_packet

_FIRST_BYTE: Final = PacketType.AUTH << 4
_REASON_CODES: Final = reason_codes_of(PacketType.AUTH)


@dataclass(frozen=True, slots=True)
class Auth:
    """An AUTH (3.15)."""

    reason_code: int = ReasonCode.SUCCESS

    #: None in an AUTH of no bytes alone, which means success and names no method (3.15.2.1).
    authentication_method: str | None = None

    authentication_data: bytes | None = None
    reason_string: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


def decode_auth(body: bytes, version: int, first: int = _FIRST_BYTE) -> Auth:
    """Read an AUTH.

    Raises PacketError, the peer's fault: 0x81 if the packet is malformed or the version has no AUTH, 0x82 for a
    reason code that is none of AUTH's or a missing Authentication Method. Which side may send which code, and
    whether the method is the one of CONNECT, depends on what went before and is not known here.
    """
    check_first_byte(first, _FIRST_BYTE, "MQTT-3.15.1-1")  # [MQTT-3.15.1-1]
    if not CAPABILITIES[version].has_auth:
        raise PacketError(ReasonCode.MALFORMED_PACKET, "packet type 15 is forbidden below version 5")
    if not body:
        return Auth()
    reader = PacketReader(body)
    code = reader.u8("the reason code")
    if code not in _REASON_CODES:  # [MQTT-3.15.2-1]
        raise PacketError(ReasonCode.PROTOCOL_ERROR, f"AUTH with the code 0x{code:02X}", "MQTT-3.15.2-1")
    values = decode_properties(reader, PacketType.AUTH)
    reader.expect_end("AUTH")
    method = values.get(PropertyId.AUTHENTICATION_METHOD)
    if method is None:  # 3.15.2.2.2
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "AUTH without an Authentication Method")
    return Auth(
        ReasonCode(code),
        method,
        values.get(PropertyId.AUTHENTICATION_DATA),
        values.get(PropertyId.REASON_STRING),
        tuple(values.get(PropertyId.USER_PROPERTY, ())),
    )


def encode_auth(packet: Auth, version: int) -> bytes:
    """The whole packet. ValueError, our own fault, below version 5 or for a value that cannot be written."""
    if not CAPABILITIES[version].has_auth:
        raise ValueError("there is no AUTH below version 5")
    values = {
        PropertyId.AUTHENTICATION_METHOD: packet.authentication_method,
        PropertyId.AUTHENTICATION_DATA: packet.authentication_data,
        PropertyId.REASON_STRING: packet.reason_string,
        PropertyId.USER_PROPERTY: packet.user_properties,
    }
    properties = encode_properties(values, PacketType.AUTH)
    if len(properties) == 1 and packet.reason_code == ReasonCode.SUCCESS:
        return encode_packet(_FIRST_BYTE, b"")
    if packet.authentication_method is None:
        raise ValueError("AUTH needs an Authentication Method")
    return encode_packet(_FIRST_BYTE, bytes((packet.reason_code,)) + properties)
