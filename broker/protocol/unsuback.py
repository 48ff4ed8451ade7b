"""UNSUBACK: the answer to an UNSUBSCRIBE, in version 5 with one reason code for each Topic Filter."""

from dataclasses import dataclass
from typing import Final

from noctule._speedups.buffers import PacketReader
from noctule.protocol.constants import PacketType, PropertyId
from noctule.protocol.errors import PacketError
from noctule.protocol.properties import decode_properties, encode_properties
from noctule.protocol.reason_codes import ReasonCode, reason_codes_of
from noctule.protocol.versions import CAPABILITIES
from noctule.protocol.wire import check_first_byte, encode_packet, encode_packet_id, read_packet_id

_FIRST_BYTE: Final = PacketType.UNSUBACK << 4
_REASON_CODES: Final = reason_codes_of(PacketType.UNSUBACK)


@dataclass(frozen=True, slots=True)
class Unsuback:
    """An UNSUBACK; ``reason_codes`` are in the order of the filters, and none where the version has none."""

    packet_id: int
    reason_codes: tuple[int, ...] = ()
    reason_string: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


def decode_unsuback(body: bytes, version: int, first: int = _FIRST_BYTE) -> Unsuback:
    """Read an UNSUBACK. PacketError, the server's fault: 0x81 if it is malformed, 0x82 for a code that is none."""
    check_first_byte(first, _FIRST_BYTE)
    capabilities = CAPABILITIES[version]
    reader = PacketReader(body)
    packet_id = read_packet_id(reader)
    if not capabilities.has_reason_codes:
        reader.expect_end("UNSUBACK")
        return Unsuback(packet_id)
    values = decode_properties(reader, PacketType.UNSUBACK)
    codes = reader.rest()
    if not codes:  # 3.11.3: a code for each filter, and there is at least one filter
        raise PacketError(ReasonCode.MALFORMED_PACKET, "UNSUBACK without a reason code")
    for code in codes:
        if code not in _REASON_CODES:  # [MQTT-3.11.3-2]
            raise PacketError(ReasonCode.PROTOCOL_ERROR, f"UNSUBACK with the code 0x{code:02X}", "MQTT-3.11.3-2")
    return Unsuback(
        packet_id,
        tuple(ReasonCode(code) for code in codes),
        values.get(PropertyId.REASON_STRING),
        tuple(values.get(PropertyId.USER_PROPERTY, ())),
    )


def encode_unsuback(packet: Unsuback, version: int) -> bytes:
    """The whole packet; below version 5 the packet identifier is all of it."""
    capabilities = CAPABILITIES[version]
    parts = [encode_packet_id(packet.packet_id)]
    if capabilities.has_reason_codes:
        values = {
            PropertyId.REASON_STRING: packet.reason_string,
            PropertyId.USER_PROPERTY: packet.user_properties,
        }
        parts.append(encode_properties(values, PacketType.UNSUBACK))
        parts.append(bytes(packet.reason_codes))
    return encode_packet(_FIRST_BYTE, b"".join(parts))
