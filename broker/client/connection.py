"""One connection that a server has accepted: the tasks that read it, write it and keep it alive.

Nobody but the writing task touches the stream's sending side, so that a caller who is cancelled never leaves half a
packet on the wire. The reading task writes nothing and waits for nobody who waits for it.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio
from noctule._speedups.codec import FrameScanner
from noctule.client.errors import ClientError, DisconnectedError, NoAnswerError
from noctule.client.handshake import Established
from noctule.protocol import (
    CAPABILITIES,
    PINGREQ,
    Connack,
    Disconnect,
    PacketError,
    PacketType,
    ProtocolVersion,
    check_pingresp,
    decode_disconnect,
    describe,
    encode_disconnect,
)
from trio.lowlevel import ParkingLot

#: How many bytes may wait to be sent before ``publish`` waits for the network.
OUTPUT_LIMIT_BYTES: Final = 65_536

#: How long a caller that is being cancelled is held up to say goodbye, and how long the server is given to close
#: its side once we have, in seconds. A server acts on DISCONNECT at once (3.14.4).
GOODBYE_S: Final = 1.0


class Receiver(Protocol):
    """Who gets what arrives."""

    def take(self, connection: "Connection", first: int, body: bytes) -> None:
        """Act on one packet; PacketError for the server's fault, which ends the connection."""

    async def until_room(self, connection: "Connection") -> None:
        """Return when the next packet may be read."""

    def log(self, text: str, *arguments: object) -> None:
        """Write to the log what a packet was."""


class Connection:
    """One connection, from CONNACK to its end. ``run`` carries it; everything else returns at once."""

    def __init__(self, established: Established, receiver: Receiver, timeout_s: float) -> None:
        self.connack: Connack = established.connack
        #: Why nothing more can be sent or received; None while all is well.
        self.failure: ClientError | None = None
        #: Whether DISCONNECT has been said: nothing goes behind it [MQTT-3.14.4-2].
        self.is_leaving = False
        #: How many messages of QoS 1 and 2 were sent here and are not acknowledged completely.
        self.unacknowledged = 0
        #: Topic names by the server's aliases, which last as long as the connection.
        self.topic_of_alias: dict[int, str] = {}

        self._stream = established.stream
        self._scanner: FrameScanner = established.scanner
        self._packets = established.packets
        self._receiver = receiver
        self._timeout_s = timeout_s
        self._version: ProtocolVersion = established.request.version
        # [MQTT-3.1.2-21]: the server's Keep Alive, where it names one, is the one to use.
        server_keep_alive_s = established.connack.server_keep_alive_s
        asked_s = established.request.keep_alive_s
        self._keep_alive_s = asked_s if server_keep_alive_s is None else server_keep_alive_s

        self._output = bytearray()
        self._sending = False
        self._message_waits = False
        self._message_is_sent = False
        self._output_is_cut = False
        self._output_lot = ParkingLot()  # the writing task, waiting for bytes
        self._changed_lot = ParkingLot()  # who waits for bytes to be gone, or for the end
        self._last_sent_at = trio.current_time()
        self._last_received_at = trio.current_time()
        #: Whether the reading task waits for room; then silence proves nothing.
        self.reading_is_paused = False

    @property
    def has_room(self) -> bool:
        """Whether little enough waits to be sent for more to be added."""
        return len(self._output) <= OUTPUT_LIMIT_BYTES

    @property
    def has_unsent(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._output) or self._sending

    @property
    def has_unsent_message(self) -> bool:
        """Whether among it, or among what was lost with the connection, there is a message of QoS 0."""
        return self._message_waits or self._message_is_sent

    def send(self, packet: bytes, *, is_message: bool = False) -> None:
        """Have the packet sent; it is lost if the connection ends before. ``is_message``: a message of QoS 0."""
        if self.is_leaving or self.failure is not None:
            return
        self._output += packet
        self._message_waits = self._message_waits or is_message
        self._output_lot.unpark()

    def fail(self, failure: ClientError) -> None:
        """End the connection; the first reason is the one that counts."""
        if self.failure is not None:
            return
        self.failure = failure
        self._changed_lot.unpark_all()

    async def changed(self) -> None:
        """Return when something has been sent, or the connection has ended."""
        await self._changed_lot.park()

    async def leave(self, goodbye: Disconnect, within_s: float) -> None:
        """Send what waits and DISCONNECT; then give the server a moment to close, so that it has read all of it."""
        if self.is_leaving:
            return
        if self.failure is None:
            self.send(encode_disconnect(goodbye, self._version))
            self._receiver.log("sending DISCONNECT")
        self.is_leaving = True
        with trio.move_on_after(within_s):
            while self.has_unsent and not self._output_is_cut:
                await self._changed_lot.park()
        with trio.move_on_after(min(within_s, GOODBYE_S)):
            while self.failure is None:
                await self._changed_lot.park()

    async def run(self) -> ClientError:
        """Carry the connection until it ends; why it did comes back, and the stream is closed.

        Raises nothing for whatever a peer or a network does.
        """
        try:
            async with trio.open_nursery() as nursery:
                tasks: tuple[Callable[[], Awaitable[None]], ...] = (self._read, self._write, self._keep_alive)
                for task in tasks:
                    nursery.start_soon(task)
                while (failure := self.failure) is None:
                    await self._changed_lot.park()
                # What is to be said last is sent: a DISCONNECT that tells the server of its fault.
                with trio.move_on_after(GOODBYE_S):
                    while self.has_unsent and not self._output_is_cut:
                        await self._changed_lot.park()
                nursery.cancel_scope.cancel()
        finally:
            self._output_is_cut = True
            self.fail(DisconnectedError("this client has left"))
            self._changed_lot.unpark_all()
            await trio.aclose_forcefully(self._stream)
        return failure

    async def _write(self) -> None:
        try:
            while True:
                while not self._output:
                    await self._output_lot.park()
                data = bytes(self._output)
                self._output.clear()
                self._sending = True
                self._message_is_sent, self._message_waits = self._message_waits, False
                await self._stream.send_all(data)
                self._sending = self._message_is_sent = False
                self._last_sent_at = trio.current_time()
                self._changed_lot.unpark_all()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._output_is_cut = True
            self._changed_lot.unpark_all()
            self.fail(DisconnectedError("the connection broke off"))

    async def _read(self) -> None:
        packets, self._packets = self._packets, []
        try:
            while True:
                for first, body in packets:
                    self._take(first, body)
                    await self._receiver.until_room(self)
                    if self.failure is not None and not self.is_leaving:
                        return
                data = await self._stream.receive_some()
                if not data:
                    self.fail(DisconnectedError("the server closed the connection"))
                    return
                self._last_received_at = trio.current_time()
                packets = self._scanner.feed(data)
        except PacketError as error:
            if CAPABILITIES[self._version].has_reason_codes:
                self.send(encode_disconnect(Disconnect(error.reason_code), self._version))
            self.fail(DisconnectedError(f"the server broke the protocol: {error}"))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.fail(DisconnectedError("the connection broke off"))

    def _take(self, first: int, body: bytes) -> None:
        """Act on what concerns the connection itself, and hand on the rest."""
        packet_type = first >> 4
        if packet_type == PacketType.PINGRESP:
            check_pingresp(body, first)
            self._receiver.log("received PINGRESP")
        elif packet_type == PacketType.DISCONNECT:
            packet = decode_disconnect(body, self._version, first, from_server=True)
            self._receiver.log("received DISCONNECT (%d)", packet.reason_code)
            text = f"the server ended the connection: {describe(packet.reason_code)}"
            if packet.reason_string is not None:
                text += f" ({packet.reason_string})"
            if packet.server_reference is not None:
                text += f"; it names {packet.server_reference}"
            self.fail(DisconnectedError(text, packet.reason_code))
        else:
            self._receiver.take(self, first, body)

    def reading_resumed(self) -> None:
        """The reading task goes on after a pause that was ours: the server has not been silent."""
        self.reading_is_paused = False
        self._last_received_at = trio.current_time()

    async def _keep_alive(self) -> None:
        """Send PINGREQ when nothing else was sent for the Keep Alive [MQTT-3.1.2-20]; fail if the server is silent."""
        if self._keep_alive_s == 0:
            return
        while True:
            await trio.sleep_until(self._last_sent_at + self._keep_alive_s)
            if trio.current_time() < self._last_sent_at + self._keep_alive_s:
                continue
            asked_at = trio.current_time()
            self.send(PINGREQ)
            self._receiver.log("sending PINGREQ")
            await trio.sleep(min(self._timeout_s, self._keep_alive_s))
            if self._last_received_at < asked_at and not self.reading_is_paused:
                self.fail(NoAnswerError("the server does not answer PINGREQ"))
                return
