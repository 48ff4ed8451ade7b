"""UNSUBSCRIBE: a client gives up subscriptions."""

from dataclasses import dataclass
from typing import Final

from noctule._speedups.buffers import PacketReader
from noctule.protocol.constants import PacketType, PropertyId
from noctule.protocol.errors import PacketError
from noctule.protocol.properties import decode_properties, encode_properties
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.versions import CAPABILITIES
from noctule.protocol.wire import check_first_byte, encode_packet, encode_packet_id, encode_string, read_packet_id

_FIRST_BYTE: Final = PacketType.UNSUBSCRIBE << 4 | 0x02


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """An UNSUBSCRIBE; there is at least one filter, each as it was sent and not checked for its form."""

    packet_id: int
    filters: tuple[str, ...]
    user_properties: tuple[tuple[str, str], ...] = ()


def decode_unsubscribe(body: bytes, version: int, first: int = _FIRST_BYTE) -> Unsubscribe:
    """Read an UNSUBSCRIBE.

    Raises PacketError, the client's fault: 0x81 if the packet is malformed, 0x82 for a packet identifier of 0 or
    no filter at all.
    """
    check_first_byte(first, _FIRST_BYTE, "MQTT-3.10.1-1")  # [MQTT-3.10.1-1]
    capabilities = CAPABILITIES[version]
    reader = PacketReader(body)
    packet_id = read_packet_id(reader)
    values = decode_properties(reader, PacketType.UNSUBSCRIBE) if capabilities.has_properties else {}
    if reader.remaining == 0:  # [MQTT-3.10.3-2]
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "UNSUBSCRIBE without a topic filter", "MQTT-3.10.3-2")
    filters: list[str] = []
    while reader.remaining:
        filters.append(reader.utf8("a topic filter"))  # [MQTT-3.10.3-1]
    return Unsubscribe(packet_id, tuple(filters), tuple(values.get(PropertyId.USER_PROPERTY, ())))


def encode_unsubscribe(packet: Unsubscribe, version: int) -> bytes:
    """The whole packet. ValueError, our own fault, for no filters or a value that cannot be written."""
    if not packet.filters:
        raise ValueError("UNSUBSCRIBE needs at least one topic filter")
    parts = [encode_packet_id(packet.packet_id)]
    if CAPABILITIES[version].has_properties:
        parts.append(encode_properties({PropertyId.USER_PROPERTY: packet.user_properties}, PacketType.UNSUBSCRIBE))
    parts.extend(encode_string(topic_filter) for topic_filter in packet.filters)
    return encode_packet(_FIRST_BYTE, b"".join(parts))
