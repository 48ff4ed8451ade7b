"""A whole broker in the test's own trio run, and clients over streams: in memory, or over loopback sockets."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import trio
import trio.testing
from noctule._speedups.codec import FrameScanner, Publish, decode_publish, encode_publish
from noctule.app import Broker
from noctule.config.settings import Carrier, Limits, ListenerSettings, Settings
from noctule.protocol import (
    Connack,
    Connect,
    ProtocolVersion,
    Subscribe,
    SubscriptionRequest,
    decode_connack,
    decode_suback,
    encode_connect,
    encode_subscribe,
)

V3_1, V3_1_1, V5 = ProtocolVersion

PINGREQ = b"\xc0\x00"
PINGRESP = (0xD0, b"")
LOOPBACK = ListenerSettings("127.0.0.1", 0)


def run_mocked(main: Callable[..., Awaitable[object]], *arguments: object) -> None:
    """Run it on a clock that jumps to the next deadline whenever nothing else is left to do."""
    trio.run(main, *arguments, clock=trio.testing.MockClock(autojump_threshold=0))


class StreamClient:
    """One connection to a broker: sends bytes, gives back whole packets."""

    def __init__(self, stream: trio.abc.Stream, version: ProtocolVersion = V5) -> None:
        self.stream = stream
        self.version = version
        self._scanner = FrameScanner()
        self._packets: list[tuple[int, bytes]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self.stream)

    async def send(self, *packets: bytes) -> None:
        await self.stream.send_all(b"".join(packets))

    async def receive_or_end(self) -> tuple[int, bytes] | None:
        """The next packet; None where the broker has closed the connection."""
        with trio.fail_after(30):
            while not self._packets:
                try:
                    data = await self.stream.receive_some(65_536)
                except trio.BrokenResourceError:
                    data = b""
                if not data:
                    assert self._scanner.held == 0, "closed within a packet"
                    return None
                self._packets += self._scanner.feed(data)
        return self._packets.pop(0)

    async def receive(self) -> tuple[int, bytes]:
        packet = await self.receive_or_end()
        assert packet is not None, "the broker closed the connection"
        return packet

    async def until_end(self) -> list[tuple[int, bytes]]:
        """Every packet until the broker closes, which it must."""
        packets = []
        while (packet := await self.receive_or_end()) is not None:
            packets.append(packet)
        await self.stream.aclose()
        return packets

    async def connect(self, client_id: str = "c", **fields: Any) -> Connack:
        await self.send(encode_connect(Connect(self.version, client_id, **fields)))
        first, body = await self.receive()
        return decode_connack(body, self.version, first)

    async def subscribe(self, topic_filter: str, qos: int = 0) -> None:
        await self.send(encode_subscribe(Subscribe(1, (SubscriptionRequest(topic_filter, qos),)), self.version))
        first, body = await self.receive()
        assert decode_suback(body, self.version, first).reason_codes == (qos,)

    async def publish(
        self, topic: str, payload: bytes = b"", qos: int = 0, packet_id: int = 1, *, retain: bool = False
    ) -> None:
        await self.send(
            encode_publish(topic.encode(), payload, self.version, qos, retain, packet_id=packet_id if qos else 0)
        )

    async def receive_publish(self) -> Publish:
        first, body = await self.receive()
        return decode_publish(first, body, self.version, True)

    async def ping(self) -> None:
        """Everything that was sent before has been handled when this returns."""
        await self.send(PINGREQ)
        assert await self.receive() == PINGRESP


async def dial(url: str) -> StreamClient:
    """A connection to a listener."""
    return StreamClient(await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])))


class RunningBroker:
    """A broker that runs in a nursery of the test's."""

    def __init__(self, broker: Broker, nursery: trio.Nursery, streams: list[trio.abc.Stream]) -> None:
        self.broker = broker
        self.streams = streams
        self._nursery = nursery

    @property
    def port(self) -> int:
        return int(self.broker.urls[0].rpartition(":")[2])

    async def open(self, version: ProtocolVersion = V5) -> StreamClient:
        """A connection: over a socket where the broker listens, in memory where it does not."""
        stream: trio.abc.Stream
        if self.broker.urls:
            stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        else:
            stream, far = trio.testing.memory_stream_pair()
            self._nursery.start_soon(self.broker.serve_stream, far, f"memory:{len(self.streams)}")
        self.streams.append(stream)
        return StreamClient(stream, version)

    async def connect(self, client_id: str = "c", version: ProtocolVersion = V5, **fields: Any) -> StreamClient:
        client = await self.open(version)
        connack = await client.connect(client_id, **fields)
        assert connack.reason_code == 0
        return client


@asynccontextmanager
async def running_broker(
    carrier: Carrier | None = None, listeners: tuple[ListenerSettings, ...] | None = None, **limits: Any
) -> AsyncIterator[RunningBroker]:
    """A broker with one loopback listener, or others, carried as told; None: no listener, connections in memory.

    It is stopped at the end, and must have let go of every connection.
    """
    if listeners is None:
        listeners = () if carrier is None else (LOOPBACK,)
    broker = Broker(Settings(listeners, Limits(**limits), carrier, sys_interval_s=0))
    streams: list[trio.abc.Stream] = []
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.run)
            yield RunningBroker(broker, nursery, streams)
            broker.stop()
    finally:
        for stream in streams:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
    assert not broker.state.links
