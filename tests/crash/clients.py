"""Clients on bare streams that know exactly what has been acknowledged to them, and by them, whatever became of the
broker meanwhile. Their own state is never lost: only the broker crashes.
"""

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from random import Random

import trio
from noctule._speedups.codec import FrameScanner, decode_ack, decode_publish, encode_ack, encode_publish
from noctule.protocol import (
    Connect,
    ProtocolVersion,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    decode_connack,
    encode_connect,
    encode_subscribe,
    encode_unsubscribe,
)

V5 = ProtocolVersion.V5
PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, PINGRESP, DISCONNECT = 3, 4, 5, 6, 7, 9, 11, 13, 14
PINGREQ = b"\xc0\x00"

#: Seconds until what should happen soon has not happened.
DEADLINE_S = 20.0

EXPIRY_S = 86_400


class Gone(Exception):  # noqa: N818
    """The connection is gone, as it is when the broker is killed."""


class Peer:
    """One connection of a client."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._scanner = FrameScanner()
        self._sending = trio.Lock()

    async def send(self, *packets: bytes) -> None:
        """Send packets. Gone where there is nobody."""
        try:
            async with self._sending:
                await self._stream.send_all(b"".join(packets))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Gone from None

    async def receive(self) -> list[tuple[int, bytes]]:
        """The packets that come next, one at least. Gone where nobody sends any more."""
        while True:
            try:
                data = await self._stream.receive_some(65_536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise Gone from None
            if not data:
                raise Gone
            packets = list(self._scanner.feed(data))
            if packets:
                return packets


class Client:
    """A client whose session is kept. ``run`` serves one connection, to its end."""

    def __init__(self, client_id: str, *, expiry_s: int = EXPIRY_S) -> None:
        self.client_id = client_id
        self._expiry_s = expiry_s
        self._has_been_accepted = False

        #: What was wrong, for the test to look at.
        self.faults: list[str] = []
        self._peer: Peer | None = None
        self._handled = 0
        self._answered: trio.Event | None = None

    async def run(self, port: int) -> None:
        """Connect and serve until the connection is gone."""
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return
        async with stream:
            try:
                await self._serve(Peer(stream))
            except Gone:
                return

    async def fall_silent(self) -> None:
        """Return when everything has come that the broker has for this client, which is connected: when nothing does
        between two answers to PINGREQ. What it acknowledges may make room for more."""
        assert self._peer is not None
        before = -1
        while self._handled != before:
            before = self._handled
            self._answered = trio.Event()
            await self._peer.send(PINGREQ)
            await self._answered.wait()

    async def _serve(self, peer: Peer) -> None:
        connect = Connect(V5, self.client_id, clean_start=False, session_expiry_interval_s=self._expiry_s)
        await peer.send(encode_connect(connect))
        (first, body), *more = await peer.receive()
        connack = decode_connack(body, V5, first)
        if connack.reason_code:
            self.faults.append(f"{self.client_id}: CONNACK {connack.reason_code:#x}")
            return
        if self._has_been_accepted and not connack.session_present and self._expiry_s:
            self.faults.append(f"{self.client_id}: its session is gone")
        self._has_been_accepted = True
        self._peer = peer
        await self.connected(peer)
        while True:
            for first, body in more:
                if first >> 4 == DISCONNECT:
                    raise Gone
                if first >> 4 == PINGRESP and self._answered is not None:
                    self._answered.set()
                    continue
                self._handled += 1
                await self.packet(peer, first, body)
            await self.settled(peer)
            more = await peer.receive()

    async def connected(self, peer: Peer) -> None:
        """CONNACK has come."""

    async def packet(self, peer: Peer, first: int, body: bytes) -> None:
        """A packet has come."""

    async def settled(self, peer: Peer) -> None:
        """All that has come is handled."""


class Publisher(Client):
    """Publishes numbered messages at QoS 1 and 2 and, on topics of its own, retained ones; sends again what is not
    acknowledged."""

    def __init__(self, client_id: str, chance: Random, window: int = 20) -> None:
        super().__init__(client_id)
        self._chance = chance
        self._window = window
        self._number = 0
        self._packet_id = 0

        #: In flight by packet identifier, in order: the packet without DUP, and whether PUBREC has come.
        self._flight: dict[int, tuple[bytes, bytes, int, bool, bool]] = {}
        self.is_finishing = False

        #: Payloads, by QoS, whose flow is over: the broker has promised them.
        self.acknowledged: dict[int, set[bytes]] = {1: set(), 2: set()}
        self.published: set[bytes] = set()

        #: By topic: everything sent retained, in order; how many of them are acknowledged.
        self.retained: dict[bytes, list[bytes]] = {}
        self.retained_acknowledged: Counter[bytes] = Counter()

    @property
    def in_flight(self) -> int:
        """How many messages the broker has not promised."""
        return len(self._flight)

    def _packet(self, packet_id: int, dup: bool) -> bytes:
        topic, payload, qos, retain, is_received = self._flight[packet_id]
        if is_received:
            return encode_ack(PUBREL, packet_id, V5)
        return encode_publish(topic, payload, V5, qos, retain, dup, packet_id)

    async def connected(self, peer: Peer) -> None:
        """Everything again, in its order."""
        if self._flight:
            await peer.send(*(self._packet(packet_id, True) for packet_id in self._flight))

    async def settled(self, peer: Peer) -> None:
        """Fill the window."""
        packets = []
        while len(self._flight) < self._window and not self.is_finishing:
            self._number += 1
            self._packet_id = self._packet_id % 60_000 + 1
            payload = f"{self.client_id} {self._number}".encode()
            qos = self._chance.choice((1, 2))
            topic = b"q/" + self.client_id.encode()
            retain = self._chance.random() < 0.2
            if retain:
                topic = b"r/%s/%d" % (self.client_id.encode(), self._chance.randrange(4))
                qos = 1
                if self._chance.random() < 0.2:
                    payload = b""
                self.retained.setdefault(topic, [b""]).append(payload)
            else:
                self.published.add(payload)
            self._flight[self._packet_id] = (topic, payload, qos, retain, False)
            packets.append(self._packet(self._packet_id, False))
        if packets:
            await peer.send(*packets)

    async def packet(self, peer: Peer, first: int, body: bytes) -> None:
        """An acknowledgement."""
        ack = decode_ack(first, body, V5)
        packet_id = ack.packet_id
        if ack.reason_code >= 0x80 and packet_id in self._flight and first >> 4 != PUBCOMP:
            self.faults.append(f"{self.client_id}: refused with {ack.reason_code:#x}")
        if packet_id not in self._flight:
            self.faults.append(f"{self.client_id}: an acknowledgement {first:#x} that nothing waits for")
            return
        topic, payload, qos, retain, _ = self._flight[packet_id]
        if first >> 4 not in ((PUBACK,) if qos == 1 else (PUBREC, PUBCOMP)):
            self.faults.append(f"{self.client_id}: {first:#x} for a message of QoS {qos}")
        if first >> 4 == PUBREC:
            self._flight[packet_id] = (topic, payload, qos, retain, True)
            await peer.send(encode_ack(PUBREL, packet_id, V5))
            return
        del self._flight[packet_id]
        if retain:
            self.retained_acknowledged[topic] += 1
        else:
            self.acknowledged[qos].add(payload)


class Subscriber(Client):
    """Receives at QoS 2 and counts. What it has received it never forgets."""

    def __init__(self, client_id: str, *filters: str, pause_s: float = 0.0) -> None:
        super().__init__(client_id)
        self.filters = filters
        self.pause_s = pause_s
        self.is_subscribed = False
        self._unreleased: set[int] = set()

        #: How often each payload was handed to the application, by its QoS.
        self.received: dict[int, Counter[bytes]] = {1: Counter(), 2: Counter()}

    async def connected(self, peer: Peer) -> None:
        """Subscribe once: the session keeps it."""
        if not self.is_subscribed:
            requests = tuple(SubscriptionRequest(one, 2) for one in self.filters)
            await peer.send(encode_subscribe(Subscribe(1, requests, None), V5))

    async def packet(self, peer: Peer, first: int, body: bytes) -> None:
        """A message, or a step of its flow."""
        match first >> 4:
            case 3:
                found = decode_publish(first, body, V5, True)
                if found.qos == 1:
                    self.received[1][found.payload] += 1
                    await peer.send(encode_ack(PUBACK, found.packet_id, V5))
                elif found.qos == 2:
                    if found.packet_id not in self._unreleased:
                        self._unreleased.add(found.packet_id)
                        self.received[2][found.payload] += 1
                    await peer.send(encode_ack(PUBREC, found.packet_id, V5))
            case 6:
                ack = decode_ack(first, body, V5)
                self._unreleased.discard(ack.packet_id)
                await peer.send(encode_ack(PUBCOMP, ack.packet_id, V5))
            case 9:
                self.is_subscribed = True
        if self.pause_s:
            await trio.sleep(self.pause_s)


class Changing(Client):
    """Subscribes to some of eight topics and unsubscribes again, one change at a time."""

    TOPICS = 8

    def __init__(self, client_id: str, chance: Random) -> None:
        super().__init__(client_id)
        self._chance = chance

        #: By topic: whether it is subscribed to, as acknowledged; None: a change is not acknowledged.
        self.is_subscribed: dict[int, bool | None] = dict.fromkeys(range(self.TOPICS), False)
        self._change: tuple[int, bool] | None = None
        self.is_finishing = False
        self.received: Counter[bytes] = Counter()

    async def connected(self, peer: Peer) -> None:
        """What was changed when the connection broke is unknown, and stays so until it is changed again."""
        self._change = None

    async def settled(self, peer: Peer) -> None:
        """Change something else."""
        if self._change is not None or self.is_finishing:
            return
        topic = self._chance.randrange(self.TOPICS)
        wanted = not self.is_subscribed[topic]
        self.is_subscribed[topic] = None
        self._change = topic, wanted
        if wanted:
            request = SubscriptionRequest(f"s/{topic}", 1)
            await peer.send(encode_subscribe(Subscribe(topic + 1, (request,), None), V5))
        else:
            await peer.send(encode_unsubscribe(Unsubscribe(topic + 1, (f"s/{topic}",)), V5))

    async def packet(self, peer: Peer, first: int, body: bytes) -> None:
        """The change is acknowledged, or a message has come."""
        if first >> 4 in (SUBACK, UNSUBACK):
            if self._change is not None:
                topic, wanted = self._change
                self.is_subscribed[topic] = wanted
                self._change = None
            return
        found = decode_publish(first, body, V5, True)
        self.received[found.payload] += 1
        if found.qos:
            await peer.send(encode_ack(PUBACK, found.packet_id, V5))


class TakenOver(Publisher):
    """A publisher that now and then connects again while its connection is there still."""

    async def run(self, port: int) -> None:
        """One connection after the other; each is open still when the next takes its place."""
        streams: list[trio.SocketStream] = []
        is_gone = False
        try:
            while not is_gone:
                try:
                    streams.append(await trio.open_tcp_stream("127.0.0.1", port))
                except OSError:
                    return
                with trio.move_on_after(0.02 + 0.05 * self._chance.random()) as scope:
                    try:
                        await self._serve(Peer(streams[-1]))
                    except Gone:
                        is_gone = True
                is_gone = is_gone or not scope.cancelled_caught
                if len(streams) > 1:
                    await trio.aclose_forcefully(streams.pop(0))
        finally:
            for stream in streams:
                stream.socket.close()


class Probe(Client):
    """A session of the moment that publishes, or reads what is retained."""

    def __init__(self, client_id: str) -> None:
        super().__init__(client_id, expiry_s=0)
        self.act: Callable[[Peer], Awaitable[None]] | None = None
        self.packets: deque[tuple[int, bytes]] = deque()
        self.is_done: Callable[[], bool] = lambda: False

    async def connected(self, peer: Peer) -> None:
        """Do it."""
        assert self.act is not None
        await self.act(peer)

    async def packet(self, peer: Peer, first: int, body: bytes) -> None:
        """Keep everything; at the end let go of the connection."""
        self.packets.append((first, body))
        if self.is_done():
            raise Gone


async def until(condition: Callable[[], object]) -> None:
    """Wait, as long as its caller lets it."""
    while True:
        if condition():
            return
        await trio.sleep(0.01)


async def retained_messages(port: int) -> dict[bytes, bytes]:
    """What is retained below ``r/``, by topic."""
    probe = Probe("retained")

    async def ask(peer: Peer) -> None:
        request = (SubscriptionRequest("r/#", 0),)
        await peer.send(encode_subscribe(Subscribe(1, request, None), V5), b"\xc0\x00")

    probe.act = ask
    # The answer to PINGREQ comes behind what is retained, which is little.
    probe.is_done = lambda: probe.packets[-1][0] >> 4 == 13
    with trio.fail_after(DEADLINE_S):
        await probe.run(port)
    assert not probe.faults, probe.faults
    found = [decode_publish(first, body, V5, True) for first, body in probe.packets if first >> 4 == PUBLISH]
    return {one.topic: one.payload for one in found}


async def publish_each(port: int, messages: list[tuple[bytes, bytes]]) -> None:
    """Publish at QoS 1 and wait until all are acknowledged."""
    probe = Probe("probe")

    async def ask(peer: Peer) -> None:
        await peer.send(
            *(
                encode_publish(topic, payload, V5, 1, False, False, number)
                for number, (topic, payload) in enumerate(messages, 1)
            )
        )

    probe.act = ask
    probe.is_done = lambda: len(probe.packets) == len(messages)
    with trio.fail_after(DEADLINE_S):
        await probe.run(port)
    assert len(probe.packets) == len(messages)
