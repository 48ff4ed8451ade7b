"""SUBACK: one reason code for each Topic Filter of a SUBSCRIBE."""

from dataclasses import dataclass
from typing import Final

from noctule._speedups.buffers import PacketReader
from noctule.protocol.constants import PacketType, PropertyId
from noctule.protocol.errors import PacketError
from noctule.protocol.properties import decode_properties, encode_properties
from noctule.protocol.reason_codes import ReasonCode, reason_codes_of
from noctule.protocol.versions import CAPABILITIES
from noctule.protocol.wire import check_first_byte, encode_packet, encode_packet_id, read_packet_id

_FIRST_BYTE: Final = PacketType.SUBACK << 4
_REASON_CODES: Final = reason_codes_of(PacketType.SUBACK)


@dataclass(frozen=True, slots=True)
class Suback:
    """A SUBACK; ``reason_codes`` are in the order of the filters: the QoS that was granted, or 0x80 and above."""

    packet_id: int
    reason_codes: tuple[int, ...]
    reason_string: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


def decode_suback(body: bytes, version: int, first: int = _FIRST_BYTE) -> Suback:
    """Read a SUBACK. PacketError, the server's fault: 0x81 if it is malformed, 0x82 for a code that is none."""
    check_first_byte(first, _FIRST_BYTE)
    capabilities = CAPABILITIES[version]
    reader = PacketReader(body)
    packet_id = read_packet_id(reader)
    values = decode_properties(reader, PacketType.SUBACK) if capabilities.has_properties else {}
    codes = reader.rest()
    if not codes:  # 3.9.3: a code for each filter, and there is at least one filter
        raise PacketError(ReasonCode.MALFORMED_PACKET, "SUBACK without a reason code")
    for code in codes:
        if code not in _REASON_CODES or code != capabilities.suback_code(code):  # [MQTT-3.9.3-2]
            raise PacketError(ReasonCode.PROTOCOL_ERROR, f"SUBACK with the code 0x{code:02X}", "MQTT-3.9.3-2")
    return Suback(
        packet_id,
        tuple(ReasonCode(code) for code in codes),
        values.get(PropertyId.REASON_STRING),
        tuple(values.get(PropertyId.USER_PROPERTY, ())),
    )


def encode_suback(packet: Suback, version: int) -> bytes:
    """The whole packet, each code as this version can tell it (``Capabilities.suback_failure_code``)."""
    capabilities = CAPABILITIES[version]
    parts = [encode_packet_id(packet.packet_id)]
    if capabilities.has_properties:
        values = {
            PropertyId.REASON_STRING: packet.reason_string,
            PropertyId.USER_PROPERTY: packet.user_properties,
        }
        parts.append(encode_properties(values, PacketType.SUBACK))
    parts.append(bytes(capabilities.suback_code(code) for code in packet.reason_codes))
    return encode_packet(_FIRST_BYTE, b"".join(parts))
