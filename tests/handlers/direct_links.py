"""A broker without sockets and trio: its handlers, links that are fed by hand, a clock that is set by hand."""

from dataclasses import replace
from typing import Any

from noctule._speedups.codec import FrameScanner, Publish, decode_publish, encode_ack, encode_publish
from noctule._speedups.link import CLOSED, NEW, Link
from noctule.config.settings import Limits, Settings
from noctule.core.state import State, make_state
from noctule.handlers.dispatch import Dispatcher
from noctule.hooks.table import HookTable
from noctule.protocol import (
    Connack,
    Connect,
    Disconnect,
    ProtocolVersion,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    decode_connack,
    decode_disconnect,
    decode_suback,
    decode_unsuback,
    encode_connect,
    encode_disconnect,
    encode_subscribe,
    encode_unsubscribe,
)

V3_1, V3_1_1, V5 = ProtocolVersion

PINGREQ = b"\xc0\x00"
PINGRESP = (0xD0, b"")

#: When it begins, on the broker's clock.
START_S = 1_000.0


class DirectBroker:
    """State and handlers of one broker."""

    def __init__(self, settings: Settings | None = None, hooks: HookTable | None = None, **limits: Any) -> None:
        self.state: State = make_state(replace(settings or Settings(), limits=Limits(**limits)))
        self.dispatcher = Dispatcher(self.state, hooks)
        self.state.plane.begin_turn(START_S)
        self._connections = 0

    def open(self, version: int = V5, address: str = "10.0.0.1") -> "DirectClient":
        """A connection on which nothing has been sent yet."""
        self._connections += 1
        link = Link(self.state.router, self.dispatcher, f"{address}:{self._connections}")
        self.state.links.add(link)
        timeout_s = self.state.settings.limits.connect_timeout_s
        self.state.plane.deadlines.schedule(link, self.state.plane.now + timeout_s)
        return DirectClient(self, link, version)

    def connect(self, client_id: str = "c", version: ProtocolVersion = V5, **fields: Any) -> "DirectClient":
        """A client whose CONNECT has been accepted."""
        client = self.open(version)
        connack = client.connect(Connect(version, client_id, **fields))
        assert connack is not None
        assert connack.reason_code == 0
        return client

    def advance(self, seconds: float) -> None:
        """Time passes, and what is due is done, as the clock's task does it."""
        plane = self.state.plane
        until = plane.now + seconds
        while plane.deadlines.next_deadline() <= until:
            plane.begin_turn(plane.deadlines.next_deadline())
            for item in plane.deadlines.take_due(plane.now):
                self.dispatcher.deadline(item)
            plane.flush()
        plane.begin_turn(until)


class DirectClient:
    """One connection to it."""

    def __init__(self, broker: DirectBroker, link: Link, version: int) -> None:
        self.broker = broker
        self.link = link
        self.version = version
        self.connack: Connack | None = None
        self._scanner = FrameScanner()

    @property
    def is_closed(self) -> bool:
        return self.link.state == CLOSED

    def send(self, *packets: bytes) -> "DirectClient":
        self.link.feed(b"".join(packets))
        self.broker.state.plane.flush()
        return self

    def received(self) -> list[tuple[int, bytes]]:
        """Every packet that the broker has sent since the last time."""
        packets: list[tuple[int, bytes]] = []
        while data := self.link.take_output():
            packets += self._scanner.feed(data)
            self.link.output_sent()
            self.broker.state.plane.flush()
        assert self._scanner.held == 0
        return packets

    def connect(self, packet: Connect) -> Connack | None:
        """Send CONNECT; the CONNACK, or None where there is none. What came behind it is in ``behind_connack``."""
        self.send(encode_connect(packet))
        packets = self.received()
        if not packets:
            return None
        (first, body), *self.behind_connack = packets
        self.connack = decode_connack(body, packet.version, first)
        return self.connack

    def publish(
        self,
        topic: str,
        payload: bytes = b"",
        qos: int = 0,
        packet_id: int = 1,
        *,
        retain: bool = False,
        dup: bool = False,
    ) -> "DirectClient":
        packet_id = packet_id if qos else 0
        return self.send(encode_publish(topic.encode(), payload, self.version, qos, retain, dup, packet_id))

    def ack(self, packet_type: int, packet_id: int, reason_code: int = 0) -> "DirectClient":
        return self.send(encode_ack(packet_type, packet_id, self.version, reason_code))

    def subscribe(
        self, *entries: SubscriptionRequest | str, packet_id: int = 1, identifier: int | None = None
    ) -> tuple[int, ...]:
        """Send SUBSCRIBE (a text: that filter at QoS 2) and give the codes of the SUBACK, which must come first."""
        requests = tuple(SubscriptionRequest(one, 2) if isinstance(one, str) else one for one in entries)
        self.send(encode_subscribe(Subscribe(packet_id, requests, identifier), self.version))
        (first, body), *self.behind_suback = self.received()
        suback = decode_suback(body, self.version, first)
        assert suback.packet_id == packet_id
        return suback.reason_codes

    def unsubscribe(self, *filters: str, packet_id: int = 1) -> tuple[int, ...]:
        """Send UNSUBSCRIBE and give the codes of its UNSUBACK (none below version 5)."""
        self.send(encode_unsubscribe(Unsubscribe(packet_id, filters), self.version))
        ((first, body),) = self.received()
        unsuback = decode_unsuback(body, self.version, first)
        assert unsuback.packet_id == packet_id
        return unsuback.reason_codes

    def disconnect(self, reason_code: int = 0, session_expiry_interval_s: int | None = None) -> None:
        self.send(encode_disconnect(Disconnect(reason_code, session_expiry_interval_s), self.version))

    def lose(self) -> None:
        """The connection breaks."""
        self.link.lose("broke")
        self.broker.state.plane.flush()

    def publishes(self) -> list[Publish]:
        """What has been delivered; nothing else may have come."""
        packets = self.received()
        assert all(first >> 4 == 3 for first, _ in packets), packets
        return [decode_publish(first, body, self.version, True) for first, body in packets]

    def payloads(self) -> list[bytes]:
        return [found.payload for found in self.publishes()]

    def told_why(self) -> int | None:
        """The reason code of the DISCONNECT that ends the connection; None where it has ended without a word."""
        assert self.link.session is None
        assert self.link.state != NEW
        packets = self.received()
        if not packets:
            return None
        ((first, body),) = packets
        return decode_disconnect(body, self.version, first, from_server=True).reason_code
