"""A connection for load: no sessions, no queues, packets by the batch. Nothing here is for applications."""

import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio
from noctule._speedups.codec import decode_publish, encode_ack, encode_publish
from noctule.client.handshake import Established
from noctule.protocol import (
    FIRST_FAILURE,
    PINGREQ,
    Disconnect,
    PacketType,
    Subscribe,
    SubscriptionRequest,
    decode_suback,
    describe,
    encode_disconnect,
    encode_subscribe,
)

#: The payload begins with who sent it, its place in that sender's sequence, and when it was due in nanoseconds.
STAMP: Final = struct.Struct(">IIQ")

#: Messages of QoS 1 and 2 that one publisher has unacknowledged at most.
IN_FLIGHT: Final = 20

_RECEIVE_BYTES: Final = 262_144
_SUBSCRIBE_ID: Final = 65_535

#: How long a write that was begun may take when the run is over: half a packet would be none.
_LAST_WRITE_S: Final = 5.0


class LoadError(Exception):
    """The server did something that ends the run of this connection."""


class RawConnection:
    """One connection that was accepted. ``read`` is a task of its own; ``on_message`` gets each payload."""

    def __init__(self, established: Established, on_message: Callable[[bytes, bool], None]) -> None:
        self._stream = established.stream
        self._scanner = established.scanner
        self._packets = established.packets
        self.version = established.request.version
        self._on_message = on_message
        limit = min(IN_FLIGHT, established.connack.receive_maximum)
        self._free_ids = deque(range(1, limit + 1))
        self._freed = trio.Event()
        self._subscribed = trio.Event()
        self._send_lock = trio.Lock()
        self.session_present = established.connack.session_present
        self.unacknowledged = 0
        self._is_over = False
        #: Whether it is we who end it.
        self.is_leaving = False

    async def send(self, data: bytes) -> None:
        """Send; several tasks may."""
        async with self._send_lock:
            await self._stream.send_all(data)

    async def subscribe(self, topic_filter: str, qos: int) -> None:
        """Subscribe and wait for the answer, which ``read`` takes. LoadError if it is a refusal."""
        request = Subscribe(_SUBSCRIBE_ID, (SubscriptionRequest(topic_filter, qos),))
        await self.send(encode_subscribe(request, self.version))
        await self._subscribed.wait()

    async def packet_ids(self, count: int) -> list[int]:
        """Up to ``count`` free packet identifiers; waits until there is one. LoadError if there will be none."""
        while not self._free_ids:
            await self._change()
        return [self._free_ids.popleft() for _ in range(min(count, len(self._free_ids)))]

    async def until_acknowledged(self) -> None:
        """Wait until the server has acknowledged everything. LoadError if the connection ends before."""
        while self.unacknowledged:
            await self._change()

    async def _change(self) -> None:
        if self._is_over:
            raise LoadError("the connection ended while messages were unacknowledged")
        self._freed = trio.Event()
        await self._freed.wait()

    async def ping_forever(self, every_s: float) -> None:
        """Keep the connection alive."""
        while True:
            await trio.sleep(every_s)
            await self.send(PINGREQ)

    async def leave(self) -> None:
        """DISCONNECT, and close; nothing if it has ended."""
        if self._is_over or self.is_leaving:
            return
        self.is_leaving = True
        with trio.move_on_after(1), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.send(encode_disconnect(Disconnect(), self.version))
        await trio.aclose_forcefully(self._stream)

    async def read(self) -> None:
        """Read until it is cancelled. LoadError when the server ends the connection or refuses something."""
        try:
            await self._read_on()
        finally:
            self._is_over = True
            self._freed.set()
            await trio.aclose_forcefully(self._stream)

    async def _read_on(self) -> None:
        packets, self._packets = self._packets, []
        version = self.version
        while True:
            answers = bytearray()
            for first, body in packets:
                kind = first >> 4
                if kind == PacketType.PUBLISH:
                    publish = decode_publish(first, body, version, True)
                    self._on_message(publish.payload, publish.retain)
                    if publish.qos:
                        answer = PacketType.PUBACK if publish.qos == 1 else PacketType.PUBREC
                        answers += encode_ack(answer, publish.packet_id, version)
                elif PacketType.PUBACK <= kind <= PacketType.PUBCOMP:
                    answers += self._acknowledged(kind, body)
                else:
                    self._take_other(kind, first, body)
            if answers:
                await self.send(bytes(answers))
            data = await self._stream.receive_some(_RECEIVE_BYTES)
            if not data:
                raise LoadError("the server closed the connection")
            packets = self._scanner.feed(data)

    def _acknowledged(self, kind: int, body: bytes) -> bytes:
        packet_id = body[0] << 8 | body[1]
        code = body[2] if len(body) > 2 else 0
        if kind == PacketType.PUBREL:
            return encode_ack(PacketType.PUBCOMP, packet_id, self.version)
        if kind == PacketType.PUBREC and code < FIRST_FAILURE:
            return encode_ack(PacketType.PUBREL, packet_id, self.version)
        if code >= FIRST_FAILURE:
            raise LoadError(f"the server refuses a message: {describe(code)}")
        self._free_ids.append(packet_id)
        self.unacknowledged -= 1
        self._freed.set()
        return b""

    def _take_other(self, kind: int, first: int, body: bytes) -> None:
        if kind == PacketType.SUBACK:
            for code in decode_suback(body, self.version, first).reason_codes:
                if code >= FIRST_FAILURE:
                    raise LoadError(f"the server refuses a subscription: {describe(code)}")
            self._subscribed.set()
        elif kind == PacketType.DISCONNECT:
            raise LoadError(f"the server ended the connection: {describe(body[0] if body else 0)}")


class Publisher:
    """Makes the messages of one publisher: a number, a sequence, and padding to the size."""

    def __init__(self, connection: RawConnection, number: int, topic: str, qos: int, size: int, retain: bool) -> None:
        self.connection = connection
        self.number = number
        self.sequence = 0
        #: Deliveries that its messages should bring and that have not come.
        self.outstanding = 0
        self.progress = trio.Event()
        self.deliveries_per_message = 1
        self._topic = topic.encode()
        self._qos = qos
        self._padding = bytes(max(size - STAMP.size, 0))
        self._retain = retain

    async def publish(self, due_ns: list[int]) -> int:
        """Send a message for each of these times, as many as may be in flight; how many it were."""
        ids = [0] * len(due_ns) if self._qos == 0 else await self.connection.packet_ids(len(due_ns))
        version = self.connection.version
        batch = bytearray()
        for packet_id, due in zip(ids, due_ns, strict=False):
            payload = STAMP.pack(self.number, self.sequence, due) + self._padding
            self.sequence = (self.sequence + 1) & 0xFFFF_FFFF
            batch += encode_publish(self._topic, payload, version, self._qos, self._retain, False, packet_id)
        # Before it is sent: the first deliveries may be there before the write has returned.
        self.outstanding += len(ids) * self.deliveries_per_message
        if self._qos:
            self.connection.unacknowledged += len(ids)
        with trio.CancelScope(shield=True), trio.move_on_after(_LAST_WRITE_S):
            await self.connection.send(bytes(batch))
        return len(ids)


def now_ns() -> int:
    """The time that stamps are made of; it means something within this process alone."""
    return time.perf_counter_ns()
