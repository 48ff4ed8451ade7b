"""PINGREQ and PINGRESP: two bytes each, in every version."""

from typing import Final

from noctule._speedups.buffers import PacketReader
from noctule.protocol.constants import PacketType
from noctule.protocol.wire import check_first_byte

#: A client's whole PINGREQ (3.12).
PINGREQ: Final = bytes((PacketType.PINGREQ << 4, 0))

#: The server's whole answer to it (3.13) [MQTT-3.12.4-1].
PINGRESP: Final = bytes((PacketType.PINGRESP << 4, 0))


def check_pingreq(body: bytes, first: int = PINGREQ[0]) -> None:
    """Raise PacketError 0x81, the client's fault, unless this is a PINGREQ with nothing in it."""
    check_first_byte(first, PINGREQ[0])
    PacketReader(body).expect_end("PINGREQ")


def check_pingresp(body: bytes, first: int = PINGRESP[0]) -> None:
    """Raise PacketError 0x81, the server's fault, unless this is a PINGRESP with nothing in it."""
    check_first_byte(first, PINGRESP[0])
    PacketReader(body).expect_end("PINGRESP")
