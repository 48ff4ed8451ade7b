"""Who a datagram is from: an address and port, or a node behind a forwarder there (5.5)."""

from typing import Any, Final

from noctule.config import limits
from noctule.net.mqtt_sn.messages import Encapsulated, Message
from noctule.net.mqtt_sn.packets import decode
from noctule.protocol.errors import PacketError
from noctule.protocol.reason_codes import ReasonCode

#: A header of FRWDENCAP that holds the longest name of a node: length in three bytes, type, control byte.
ENCAPSULATION_MAX_BYTES: Final = 5 + limits.MQTT_SN_NODE_ID_MAX_BYTES


class Address:
    """Where datagrams come from: an address and port, or a node behind a forwarder there."""

    __slots__ = ("ip", "node_id", "radius", "socket_address")

    def __init__(self, socket_address: Any, node_id: bytes | None = None, radius: int = 0) -> None:
        self.socket_address = socket_address
        self.ip: str = socket_address[0]
        self.node_id = node_id
        self.radius = radius

    @property
    def key(self) -> tuple[Any, bytes | None]:
        """What tells it from others."""
        return self.socket_address, self.node_id

    def __str__(self) -> str:
        host, port = self.socket_address[:2]
        text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return text if self.node_id is None else f"{text}/{self.node_id.hex()}"


def read_datagram(datagram: bytes, socket_address: Any, message_max_bytes: int) -> tuple[Address, Message, int]:
    """Whom a datagram is from, the message in it, and the bytes of that. PacketError where it is none."""
    address, message, size = Address(socket_address), decode(datagram), len(datagram)
    if isinstance(message, Encapsulated):
        if len(message.node_id) > limits.MQTT_SN_NODE_ID_MAX_BYTES:
            raise PacketError(ReasonCode.MALFORMED_PACKET, "the name of the node is too long")
        address = Address(socket_address, message.node_id, message.radius)
        size = len(message.message)
        message = decode(message.message)
        if isinstance(message, Encapsulated):
            raise PacketError(ReasonCode.MALFORMED_PACKET, "a message is encapsulated twice")
    if size > message_max_bytes:
        raise PacketError(ReasonCode.PACKET_TOO_LARGE, "the message is too large")
    return address, message, size
