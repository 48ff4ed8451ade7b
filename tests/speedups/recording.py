"""Links whose output stays in memory, and a handler that writes down what a link tells it."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from noctule._speedups.codec import (
    Ack,
    FrameScanner,
    Publish,
    decode_ack,
    decode_publish,
    encode_ack,
    encode_publish,
)
from noctule._speedups.link import Link
from noctule._speedups.outlet import Plane
from noctule._speedups.router import Router
from noctule._speedups.session import Session

PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 3, 4, 5, 6, 7

#: The first packet of any connection; the recording handler does not read it.
CONNECT_PACKET = b"\x10\x00"

PINGREQ_PACKET = b"\xc0\x00"
PINGRESP_PACKET = b"\xd0\x00"


class Violation(NamedTuple):
    """A rule that the peer broke, as the handler was told."""

    reason_code: int
    text: str
    rule: str


@dataclass
class Recorder:
    """The handler of a link: keeps every call, and ends what has to be ended."""

    connects: list[bytes] = field(default_factory=list)
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    denied_topics: list[bytes] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    closed_links: list[Link] = field(default_factory=list)

    #: Called for each packet, after it is written down.
    on_packet: Any = None

    def connect(self, link: Link, body: bytes) -> None:
        self.connects.append(body)

    def packet(self, link: Link, first: int, body: bytes) -> None:
        self.packets.append((first, body))
        if self.on_packet is not None:
            self.on_packet(link)

    def violation(self, link: Link, reason_code: int, text: str, rule: str) -> None:
        self.violations.append(Violation(reason_code, text, rule))
        link.close()

    def denied(self, link: Link, topic: bytes) -> None:
        self.denied_topics.append(topic)

    def lost(self, link: Link, cause: str) -> None:
        self.causes.append(cause)
        link.close()

    def closed(self, link: Link) -> None:
        self.closed_links.append(link)


def make_plane(
    *,
    write_max_bytes: int = 1 << 20,
    packet_max_bytes: int = 1 << 20,
    connect_max_bytes: int = 65_536,
    queue_max_messages: int = 10_000,
    queue_max_bytes: int = 1 << 24,
    inflight_max: int = 65_535,
    receive_maximum: int = 65_535,
    levels_max: int = 200,
) -> Plane:
    """A plane with wide limits, but for the one that a test is about."""
    plane = Plane(
        write_max_bytes=write_max_bytes,
        packet_max_bytes=packet_max_bytes,
        connect_max_bytes=connect_max_bytes,
        queue_max_messages=queue_max_messages,
        queue_max_bytes=queue_max_bytes,
        inflight_max=inflight_max,
        receive_maximum=receive_maximum,
        levels_max=levels_max,
    )
    plane.begin_turn(1_000.0)
    return plane


class Peer:
    """One client: its session, its link, and the packets that the link has sent it."""

    def __init__(self, router: Router, client_id: str = "client", version: int = 5) -> None:
        self.router = router
        self.version = version
        self.session = Session(router.plane, client_id)
        self.recorder = Recorder()
        self.link = Link(router, self.recorder, "peer:1")
        self._scanner = FrameScanner()

    def connect(
        self,
        *,
        version: int | None = None,
        receive_maximum: int = 65_535,
        packet_max: int = 0xFFFFFFFF,
        keep_alive_s: int = 0,
    ) -> "Peer":
        """Connect (again): the session goes on with a link of its own."""
        if version is not None:
            self.version = version
        self.recorder = Recorder()
        self.link = Link(self.router, self.recorder, "peer:1")
        self._scanner = FrameScanner()
        self.link.feed(CONNECT_PACKET)
        self.link.open(self.session, self.version, keep_alive_s, receive_maximum, packet_max)
        return self

    def lose(self) -> None:
        """The connection breaks."""
        self.link.lose("broke")
        self.router.plane.flush()

    def subscribe(self, topic_filter: bytes, qos: int = 0, options: int = 0, identifier: int = 0) -> "Peer":
        self.router.subscribe(self.session, topic_filter, qos, options, identifier)
        return self

    def send(self, *packets: bytes) -> "Peer":
        """All packets in one piece."""
        self.link.feed(b"".join(packets))
        return self

    def publish(
        self,
        topic: bytes,
        payload: bytes = b"",
        qos: int = 0,
        packet_id: int = 0,
        *,
        retain: bool = False,
        dup: bool = False,
        properties: bytes = b"",
    ) -> "Peer":
        return self.send(encode_publish(topic, payload, self.version, qos, retain, dup, packet_id, properties))

    def ack(self, packet_type: int, packet_id: int, reason_code: int = 0) -> "Peer":
        return self.send(encode_ack(packet_type, packet_id, self.version, reason_code))

    def take(self) -> list[tuple[int, bytes]]:
        """What the link has sent since the last time, in one go; the write buffer is not refilled."""
        self.router.plane.flush()
        return self._scanner.feed(self.link.take_output())

    def received(self) -> list[Publish | Ack | tuple[int, bytes]]:
        """Everything that the link has to send, decoded; the peer reads as fast as it comes."""
        found: list[Publish | Ack | tuple[int, bytes]] = []
        while True:
            packets = self.take()
            if not packets:
                return found
            self.link.output_sent()
            for first, body in packets:
                if first >> 4 == PUBLISH:
                    found.append(decode_publish(first, body, self.version, True))
                elif PUBACK <= first >> 4 <= PUBCOMP:
                    found.append(decode_ack(first, body, self.version))
                else:
                    found.append((first, body))

    def publishes(self) -> list[Publish]:
        """As ``received``, and nothing but PUBLISH may be there."""
        found = self.received()
        assert all(isinstance(one, Publish) for one in found), found
        return [one for one in found if isinstance(one, Publish)]

    def payloads(self) -> list[bytes]:
        return [one.payload for one in self.publishes()]

    def acks(self) -> list[Ack]:
        """As ``received``, and nothing but acknowledgements may be there."""
        found = self.received()
        assert all(isinstance(one, Ack) for one in found), found
        return [one for one in found if isinstance(one, Ack)]


def make_router(**limits: int) -> Router:
    return Router(make_plane(**limits))
