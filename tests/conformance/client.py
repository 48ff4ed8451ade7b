"""The broker under test in this process, and peers that talk to it in bytes.

A ``World`` is one broker and a clock. Over streams in memory time stands still unless a test says
``world.after(seconds)``, and "nothing comes" means that every task of the broker has nothing left to do. Over
sockets the same peers read with a deadline instead.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import trio
import trio.testing
from conformance.packets import (
    MQTT5,
    PINGREQ,
    Connack,
    Disconnect,
    Packet,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Unsuback,
    connect,
    disconnect,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    read_packet,
    subscribe,
    take_frame,
    unsubscribe,
)
from noctule.app import Broker
from noctule.config.settings import Carrier, Limits, ListenerSettings, Settings

Kind = TypeVar("Kind", bound=Packet)

#: How long a broker behind sockets may take to answer, in seconds.
SOCKET_PATIENCE_S: Final = 5.0

MEMORY, REACTOR, STREAMS = "memory", "reactor", "streams"


class Peer:
    """One connection to the broker. It says what it is told to say, and remembers what has come."""

    def __init__(self, world: "World", stream: trio.abc.Stream, version: int) -> None:
        self.world = world
        self.version = version
        #: What CONNECT was answered with, once ``connect`` has been called.
        self.connack = Connack(0)
        self._stream = stream
        self._data = bytearray()
        self._is_ended = False
        self._news = trio.Event()
        self._last_packet_id = 0
        world.nursery.start_soon(self._listen)

    async def _listen(self) -> None:
        while not self._is_ended:
            try:
                data = await self._stream.receive_some(1 << 20)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            self._data += data
            self._is_ended = not data
            self._news.set()

    async def close(self) -> None:
        """Let go of the stream, whatever state it is in."""
        await trio.aclose_forcefully(self._stream)

    # --- what it says ---

    async def send(self, *packets: bytes) -> None:
        """Send all of it in one piece. What a closed connection no longer takes is lost, as on a network."""
        try:
            await self._stream.send_all(b"".join(packets))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if not self._is_ended and self.world.is_in_memory:
                raise

    async def send_bytewise(self, *packets: bytes) -> None:
        """Send every byte alone, and let the broker look at each before the next."""
        for byte in b"".join(packets):
            await self.send(bytes([byte]))
            if self.world.is_in_memory:
                await trio.testing.wait_all_tasks_blocked()

    async def connect(self, client_id: str = "c", **fields: Any) -> Connack:
        """Send a CONNECT (fields: as ``packets.connect``) and read its CONNACK, which must accept it."""
        await self.send(connect(client_id, self.version, **fields))
        self.connack = await self.expect(Connack)
        assert self.connack.code == 0, self.connack
        return self.connack

    async def subscribe(self, *filters: str | tuple[str, int], properties: bytes = b"") -> list[int]:
        """Subscribe (a filter alone: at QoS 2) and read the SUBACK's codes; they are the next packet that comes."""
        packet_id = self.next_packet_id()
        await self.send(subscribe(*filters, packet_id=packet_id, version=self.version, properties=properties))
        suback = await self.expect(Suback)
        assert suback.packet_id == packet_id, suback
        return suback.codes

    async def unsubscribe(self, *filters: str) -> list[int]:
        packet_id = self.next_packet_id()
        await self.send(unsubscribe(*filters, packet_id=packet_id, version=self.version))
        unsuback = await self.expect(Unsuback)
        assert unsuback.packet_id == packet_id, unsuback
        return unsuback.codes

    async def publish(self, topic: str, payload: bytes = b"", qos: int = 0, **fields: Any) -> int:
        """Publish with the whole handshake (fields: as ``packets.publish``), and return the reason code."""
        packet_id = self.next_packet_id() if qos else 0
        await self.send(publish(topic, payload, qos, packet_id, version=self.version, **fields))
        if qos == 0:
            await self.world.settle()
            return 0
        answer = await self.expect(Puback if qos == 1 else Pubrec)
        assert answer.packet_id == packet_id, answer
        if qos == 2 and answer.code < 0x80:
            await self.send(pubrel(packet_id))
            assert (await self.expect(Pubcomp)) == Pubcomp(packet_id)
        return answer.code

    async def disconnect(self, code: int | None = None, properties: bytes | None = None) -> None:
        """Send DISCONNECT and hang up."""
        await self.send(disconnect(code, properties))
        await self.drop()

    async def drop(self) -> None:
        """The connection ends without a word (after what was said already)."""
        await self.world.settle()
        await self._stream.aclose()
        await self.world.settle()

    def next_packet_id(self) -> int:
        """A packet identifier that this peer has not used yet."""
        self._last_packet_id += 1
        return self._last_packet_id

    # --- what it hears ---

    async def receive(self) -> Packet:
        """The next packet, read strictly. A failure where none has come."""
        found = await self._receive_or_end()
        assert found is not None, "the broker closed the connection where a packet was expected"
        return found

    async def expect(self, kind: type[Kind]) -> Kind:
        """The next packet, which must be of this kind."""
        found = await self.receive()
        assert type(found) is kind, f"{kind.__name__} expected, not {found}"
        return found

    async def expect_bytes(self, *packets: bytes) -> None:
        """The next packets are these, byte by byte."""
        for wanted in packets:
            await self._wait(partial(self._has, len(wanted)))
            found = bytes(self._data[: len(wanted)])
            assert found == wanted, f"{wanted!r} expected, not {found!r}"
            del self._data[: len(wanted)]

    def _has(self, size: int) -> bool:
        return len(self._data) >= size

    async def expect_message(self) -> Publish:
        """The next packet, a PUBLISH, which is acknowledged to the end."""
        found = await self.expect(Publish)
        await self.acknowledge(found)
        return found

    async def acknowledge(self, message: Publish) -> None:
        """Do for a received message what its QoS asks for; what else comes meanwhile is an error."""
        if message.qos == 1:
            await self.send(puback(message.packet_id))
        elif message.qos == 2:
            await self.send(pubrec(message.packet_id))
            assert (await self.expect(Pubrel)) == Pubrel(message.packet_id)
            await self.send(pubcomp(message.packet_id))

    async def received(self) -> list[Packet]:
        """Everything that has come by now, and nothing needs to have."""
        await self.ping_or_settle()
        found: list[Packet] = []
        while (frame := take_frame(self._data)) is not None:
            found.append(read_packet(frame, self.version))
        assert not self._data, f"a packet cut short: {bytes(self._data)!r}"
        return [one for one in found if not isinstance(one, Pingresp)] if not self.world.is_in_memory else found

    async def messages(self) -> list[Publish]:
        """Everything that has come by now: PUBLISH and nothing else. Nothing is acknowledged."""
        found = await self.received()
        assert all(type(one) is Publish for one in found), found
        return [one for one in found if type(one) is Publish]

    async def payloads(self) -> list[bytes]:
        return [one.payload for one in await self.messages()]

    async def expect_nothing(self) -> None:
        """The broker has nothing to say, and the connection is open."""
        found = await self.received()
        assert found == [], f"nothing expected, not {found}"
        assert not self._is_ended, "the broker closed the connection"

    async def expect_closed(self) -> None:
        """The broker says nothing more and closes."""
        found = await self._receive_or_end()
        assert found is None, f"a close expected, not {found}"
        await self._stream.aclose()
        await self.world.settle()

    async def expect_end(self, *codes: int) -> Disconnect | None:
        """The broker ends the connection: version 5 is told one of these reason codes, 3.x is told nothing."""
        found = None
        if self.version == MQTT5:
            found = await self.expect(Disconnect)
            assert found.code in codes, f"{[hex(code) for code in codes]} expected, not {hex(found.code)}"
        await self.expect_closed()
        return found

    async def expect_refusal(self, *codes: int) -> Connack:
        """The broker refuses CONNECT with one of these codes and closes."""
        found = await self.expect(Connack)
        assert found.code in codes, f"{[hex(code) for code in codes]} expected, not {hex(found.code)}"
        await self.expect_closed()
        return found

    async def expect_alive(self) -> None:
        """The broker answers PINGREQ with PINGRESP, and with nothing before it."""
        await self.send(PINGREQ)
        await self.expect(Pingresp)

    async def ping_or_settle(self) -> None:
        """Let everything come that is on its way."""
        if self.world.is_in_memory:
            await trio.testing.wait_all_tasks_blocked()
        elif not self._is_ended:
            await self.send(PINGREQ)
            await self._wait(lambda: self._data.endswith(b"\xd0\x00"))

    async def _receive_or_end(self) -> Packet | None:
        found: list[Packet] = []

        def has_come() -> bool:
            frame = take_frame(self._data)
            if frame is not None:
                found.append(read_packet(frame, self.version))
            return bool(found) or self._is_ended

        await self._wait(has_come)
        if not found:
            assert not self._data, f"closed within a packet: {bytes(self._data)!r}"
            return None
        return found[0]

    async def _wait(self, has_come: Callable[[], bool]) -> None:
        """Wait until it has come; a failure where it does not."""
        if self.world.is_in_memory:
            await trio.testing.wait_all_tasks_blocked()
            assert has_come(), f"nothing came; what is there: {bytes(self._data)!r}"
            return
        with trio.move_on_after(SOCKET_PATIENCE_S):
            while not has_come():
                self._news = trio.Event()
                await self._news.wait()
            return
        raise AssertionError(f"nothing came in time; what is there: {bytes(self._data)!r}")


class World:
    """One broker and its peers."""

    def __init__(self, nursery: trio.Nursery, broker: Broker, carrier: str) -> None:
        self.nursery = nursery
        self.broker = broker
        self.is_in_memory = carrier == MEMORY
        self._peers: list[Peer] = []

    async def open(self, version: int = MQTT5) -> Peer:
        """A connection on which nothing has been said yet."""
        if self.is_in_memory:
            stream: trio.abc.Stream
            stream, far = trio.testing.memory_stream_pair()
            number = len(self._peers)
            self.nursery.start_soon(self.broker.serve_stream, far, f"10.0.0.{number % 250}:{number}")
        else:
            host, _, port = self.broker.urls[0].removeprefix("mqtt://").rpartition(":")
            stream = await trio.open_tcp_stream(host, int(port))
        peer = Peer(self, stream, version)
        self._peers.append(peer)
        return peer

    async def close(self) -> None:
        """Close every connection that is still open."""
        for peer in self._peers:
            await peer.close()

    async def connect(self, client_id: str = "c", version: int = MQTT5, **fields: Any) -> Peer:
        """A peer whose CONNECT (fields: as ``packets.connect``) has been accepted; see ``peer.connack``."""
        peer = await self.open(version)
        await peer.connect(client_id, **fields)
        return peer

    async def subscriber(self, *filters: str | tuple[str, int], version: int = MQTT5, client_id: str = "sub") -> Peer:
        """A connected peer with these subscriptions (a filter alone: at QoS 2), all granted."""
        peer = await self.connect(client_id, version)
        codes = await peer.subscribe(*filters)
        assert codes == [2 if isinstance(one, str) else one[1] & 3 for one in filters]
        return peer

    async def settle(self) -> None:
        """Wait until the broker has done all there is to do; over sockets there is no telling, and no wait."""
        if self.is_in_memory:
            await trio.testing.wait_all_tasks_blocked()

    async def after(self, seconds: float) -> None:
        """Let time pass, deadline by deadline; in memory alone."""
        assert self.is_in_memory, "time is not ours to change over sockets"
        await self.settle()
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.autojump_threshold = 0
        await trio.sleep(seconds)
        clock.autojump_threshold = float("inf")
        await self.settle()

    def session(self, client_id: str) -> Any:
        """The broker's session of this name, for what cannot be seen on the wire; None where there is none."""
        return self.broker.state.sessions.find(client_id)


class _Errors(logging.Handler):
    """Keeps what the broker logs as its own error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@asynccontextmanager
async def open_world(
    carrier: str, *, limits: dict[str, Any], settings: dict[str, Any], broker: dict[str, Any]
) -> AsyncIterator[World]:
    """A broker that runs; at the end it must not have logged an error of its own."""
    errors = _Errors()
    logger = logging.getLogger("noctule")
    logger.addHandler(errors)
    listeners = () if carrier == MEMORY else (ListenerSettings("127.0.0.1", 0),)
    tested = Broker(
        Settings(
            listeners=listeners,
            limits=Limits(**limits),
            carrier=Carrier.REACTOR if carrier == REACTOR else Carrier.STREAMS,
            **({"sys_interval_s": 0} | settings),  # a tick each 10 s would be many in the months that tests let pass
        ),
        **broker,
    )
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(tested.run)
            world = World(nursery, tested, carrier)
            yield world
            await world.close()
            nursery.cancel_scope.cancel()
    finally:
        logger.removeHandler(errors)
    assert errors.texts == [], "\n".join(errors.texts)
