"""Packets written by hand and a bare socket to send them on, for what client libraries will not do.

Made without the broker's own codec on purpose: a misreading of the specification must not be on both sides.
"""

import socket
import struct
from types import TracebackType
from typing import NamedTuple, Self

from e2e.process import DEADLINE, BrokerProcess

MQTT31, MQTT311, MQTT5 = 3, 4, 5
VERSIONS = (MQTT31, MQTT311, MQTT5)

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


class Packet(NamedTuple):
    """A packet as received: its first byte, and all after the remaining length."""

    first: int
    body: bytes

    @property
    def type(self) -> int:
        return self.first >> 4


def variable_byte_integer(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def field(data: str | bytes) -> bytes:
    """Return a string or binary data with its two bytes of length."""
    data = data.encode() if isinstance(data, str) else data
    return struct.pack(">H", len(data)) + data


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + variable_byte_integer(len(body)) + body


def connect(
    client_id: str,
    version: int = MQTT311,
    *,
    keep_alive: int = 0,
    clean: bool = True,
    will: tuple[str, bytes] | None = None,
    properties: bytes = b"",
) -> bytes:
    flags = 0x02 * clean | 0x04 * (will is not None)
    body = field("MQIsdp" if version == MQTT31 else "MQTT") + bytes([version, flags]) + struct.pack(">H", keep_alive)
    if version == MQTT5:
        body += variable_byte_integer(len(properties)) + properties
    body += field(client_id)
    if will is not None:
        body += (b"\x00" if version == MQTT5 else b"") + field(will[0]) + field(will[1])
    return packet(0x10, body)


def subscribe(packet_id: int, *filters: tuple[str, int], version: int = MQTT311) -> bytes:
    body = struct.pack(">H", packet_id) + (b"\x00" if version == MQTT5 else b"")
    return packet(0x82, body + b"".join(field(name) + bytes([options]) for name, options in filters))


def publish(
    topic: str | bytes,
    payload: bytes = b"",
    qos: int = 0,
    packet_id: int = 1,
    *,
    version: int = MQTT311,
    retain: bool = False,
    dup: bool = False,
) -> bytes:
    body = field(topic) + (struct.pack(">H", packet_id) if qos else b"") + (b"\x00" if version == MQTT5 else b"")
    return packet(0x30 | dup << 3 | qos << 1 | retain, body + payload)


def acknowledge(first: int, packet_id: int) -> bytes:
    """Return a PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70) in the short form of all versions."""
    return packet(first, struct.pack(">H", packet_id))


class Wire:
    """A socket to the broker that sends bytes as given and reads whole packets, with a deadline."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.socket = broker.open_socket()
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *packets: bytes) -> None:
        self.socket.sendall(b"".join(packets))

    def connect(
        self,
        client_id: str,
        version: int = MQTT311,
        *,
        keep_alive: int = 0,
        clean: bool = True,
        will: tuple[str, bytes] | None = None,
        properties: bytes = b"",
    ) -> bytes:
        """Send CONNECT and return the CONNACK's body, which must not be a refusal."""
        self.send(
            connect(client_id, version, keep_alive=keep_alive, clean=clean, will=will, properties=properties),
        )
        answer = self.receive()
        assert answer.first == 0x20
        assert answer.body[1] == 0, f"refused: {answer}"
        return answer.body

    def subscribe(self, *filters: tuple[str, int], version: int = MQTT311) -> list[int]:
        """Subscribe, wait for the SUBACK and return its codes."""
        self.send(subscribe(1, *filters, version=version))
        answer = self.receive()
        assert answer.first == 0x90
        return list(answer.body[3 if version == MQTT5 else 2 :])

    def receive(self) -> Packet:
        """Return the next packet; fail if the broker closes first."""
        found = self.receive_or_close()
        assert found is not None, "the broker closed the connection"
        return found

    def receive_or_close(self) -> Packet | None:
        """Return the next packet, or None when the broker has closed the connection."""
        self.socket.settimeout(DEADLINE)
        while True:
            found = self._take()
            if found is not None:
                return found
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not data:
                assert not self._received, f"closed within a packet: {bytes(self._received)!r}"
                return None
            self._received += data

    def until_closed(self) -> list[Packet]:
        """Return every packet that comes until the broker closes the connection, which it must."""
        packets: list[Packet] = []
        while (found := self.receive_or_close()) is not None:
            packets.append(found)
        return packets

    def reset(self) -> None:
        """Close without a DISCONNECT and without a word: the kernel sends RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _take(self) -> Packet | None:
        length, shift = 0, 0
        for at in range(1, min(5, len(self._received))):
            byte = self._received[at]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                end = at + 1 + length
                if len(self._received) < end:
                    return None
                taken = Packet(self._received[0], bytes(self._received[at + 1 : end]))
                del self._received[:end]
                return taken
        return None
