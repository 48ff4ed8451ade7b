"""What a peer's bad packet raises; our own mistakes (a packet that cannot be written) are ValueError."""

from typing import Final

from noctule._speedups.buffers import PacketError

__all__ = ["PacketError", "UnsupportedVersionError"]

_UNSUPPORTED_PROTOCOL_VERSION: Final = 0x84


class UnsupportedVersionError(PacketError):
    """A CONNECT of a protocol level that is not spoken here; the peer's fault.

    ``level`` is what it asked for, bridge bit included. How to refuse it depends on that level:
    a client of 3.x reads a CONNACK of two bytes with return code 1, one of version 5 or later a CONNACK
    with reason code 0x84 (3.1.2.2).
    """

    def __init__(self, level: int) -> None:
        super().__init__(_UNSUPPORTED_PROTOCOL_VERSION, f"protocol level {level} is not supported", "MQTT-3.1.2-2")
        self.level = level
