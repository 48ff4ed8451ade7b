"""Frames, PUBLISH and the acknowledgement family (PUBACK, PUBREC, PUBREL, PUBCOMP), both directions."""

from typing import NamedTuple

class FrameScanner:
    """Cuts a byte stream into packets; for clients and tests (a link does the same in place)."""

    def __init__(self, max_packet_size: int = 268_435_460) -> None: ...
    def feed(self, data: bytes | bytearray | memoryview) -> list[tuple[int, bytes]]:
        """Every packet that is whole now, as (first byte, body). PacketError on a malformed remaining length."""
    @property
    def held(self) -> int:
        """Bytes of an unfinished packet."""

class Publish(NamedTuple):
    """One PUBLISH as it stands on the wire; ``properties`` is the checked property block without its length."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int
    properties: bytes

class Ack(NamedTuple):
    """One PUBACK, PUBREC, PUBREL or PUBCOMP."""

    packet_type: int
    packet_id: int
    reason_code: int
    properties: bytes

def decode_publish(first: int, body: bytes, version: int, from_server: bool = False) -> Publish:
    """Read a PUBLISH (``first``: its first byte, ``version``: 3, 4 or 5). PacketError where it breaks a rule.

    ``from_server`` allows what only a server sends (Subscription Identifiers).
    """

def encode_publish(
    topic: bytes,
    payload: bytes,
    version: int,
    qos: int = 0,
    retain: bool = False,
    dup: bool = False,
    packet_id: int = 0,
    properties: bytes = b"",
) -> bytes:
    """The whole packet. ``properties``: the block without its length; left out below version 5."""

def decode_ack(first: int, body: bytes, version: int) -> Ack:
    """Read an acknowledgement. PacketError where it breaks a rule."""

def encode_ack(packet_type: int, packet_id: int, version: int, reason_code: int = 0) -> bytes:
    """The whole packet, in the shortest form that the version allows."""
