"""How the fields of a packet are written, and the checks that every packet's reader begins with."""

from noctule._speedups.buffers import PacketReader, encode_varint
from noctule._speedups.utf8 import utf8_fault
from noctule.protocol.constants import FIELD_SIZE_MAXIMUM
from noctule.protocol.errors import PacketError
from noctule.protocol.reason_codes import ReasonCode


def encode_packet(first: int, body: bytes) -> bytes:
    """The whole packet: its first byte, the Remaining Length, its body (2.1). ValueError if the body is too long."""
    return bytes((first,)) + encode_varint(len(body)) + body


def packet_size(body_size: int) -> int:
    """The size in bytes of a packet with a body of this size."""
    return 1 + len(encode_varint(body_size)) + body_size


def encode_binary(data: bytes) -> bytes:
    """Binary data behind its two-byte length (1.5.6). ValueError above 65,535 bytes."""
    if len(data) > FIELD_SIZE_MAXIMUM:
        raise ValueError(f"a field holds at most {FIELD_SIZE_MAXIMUM} bytes, not {len(data)}")
    return len(data).to_bytes(2, "big") + data


def encode_string(text: str) -> bytes:
    """A UTF-8 string behind its two-byte length (1.5.4). ValueError if MQTT does not allow its characters or length."""
    data = text.encode()  # UnicodeEncodeError, for a surrogate, is a ValueError  [MQTT-1.5.4-1]
    fault = utf8_fault(data)
    if fault is not None:  # [MQTT-1.5.4-2]
        raise ValueError(f"a string that MQTT does not allow: {fault}")
    return encode_binary(data)


def check_first_byte(first: int, expected: int, rule: str = "MQTT-2.1.3-1") -> None:
    """Raise PacketError 0x81 unless the type and flags are the ones that this packet must have; the peer's fault."""
    if first != expected:
        raise PacketError(
            ReasonCode.MALFORMED_PACKET,
            f"the first byte is 0x{first:02X} where 0x{expected:02X} is the only one allowed",
            rule,
        )


def read_packet_id(reader: PacketReader) -> int:
    """A Packet Identifier (2.2.1). PacketError 0x82 if it is zero, 0x81 if the packet ends before it."""
    packet_id = reader.u16("the packet identifier")
    if packet_id == 0:  # [MQTT-2.2.1-3]
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "the packet identifier is 0", "MQTT-2.2.1-3")
    return packet_id


def encode_packet_id(packet_id: int) -> bytes:
    """A Packet Identifier; ValueError unless it is 1 to 65,535."""
    if not 1 <= packet_id <= 0xFFFF:
        raise ValueError(f"a packet identifier is 1 to 65535, not {packet_id}")
    return packet_id.to_bytes(2, "big")
