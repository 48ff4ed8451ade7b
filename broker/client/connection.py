"""One connection of a client: the handshake, the tasks that read, write and keep it alive, and what a caller can do.

Three tasks belong to a connection, and the context manager that opened it owns them: they end before it does.
Nobody but the writing task touches the stream's sending side, so that a caller who is cancelled never leaves half a
packet on the wire. The reading task writes nothing and waits for nobody who waits for it.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio
from noctule._speedups.codec import FrameScanner, Publish, decode_ack, decode_publish, encode_ack, encode_publish
from noctule.client.errors import (
    ClientError,
    DisconnectedError,
    NoAnswerError,
    PublishRefusedError,
    RefusedError,
    UnreachableError,
    UnsupportedByServerError,
)
from noctule.client.message import Message, message_of, properties_of
from noctule.protocol import (
    CAPABILITIES,
    FIRST_FAILURE,
    PINGREQ,
    VARIABLE_BYTE_INTEGER_MAXIMUM,
    Capabilities,
    Connack,
    Connect,
    Disconnect,
    PacketError,
    PacketType,
    PropertyId,
    ProtocolVersion,
    ReasonCode,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
    Will,
    check_pingresp,
    check_topic_name,
    decode_connack,
    decode_disconnect,
    decode_property_block,
    decode_suback,
    decode_unsuback,
    describe,
    encode_connect,
    encode_disconnect,
    encode_property_block,
    encode_subscribe,
    encode_unsubscribe,
    split_filter,
)
from trio.lowlevel import ParkingLot

#: How long an answer of the server's is waited for where the caller has not said, in seconds. Well above what a
#: server needs to sync its disk under load, well below what a person takes for a hang.
ANSWER_TIMEOUT_S: Final = 30.0

#: How many messages are held for a caller who does not take them; past it reading stops, and TCP slows the server.
MESSAGE_BUFFER: Final = 1_000

#: How many bytes may wait to be sent before ``publish`` waits for the network.
OUTPUT_LIMIT_BYTES: Final = 65_536

#: How long a caller that is being cancelled is held up to say goodbye, and how long the server is given to close
#: its side once we have, in seconds. A server acts on DISCONNECT at once (3.14.4).
GOODBYE_S: Final = 1.0

#: The largest packet there can be, in bytes: a first byte, four of Remaining Length, and as many as those can say.
_LARGEST_PACKET_BYTES: Final = 1 + 4 + VARIABLE_BYTE_INTEGER_MAXIMUM

_PACKET_IDENTIFIERS: Final = 65_535

#: At DEBUG every packet, in the words of Mosquitto's clients.
_log: Final = logging.getLogger("noctule.client")


@dataclass(slots=True, eq=False)
class _Request:
    """A packet that carries a packet identifier until the server has answered it."""

    #: What answers it; of QoS 2 first PUBREC, then PUBCOMP.
    expected: PacketType

    #: Set when there is nothing more to wait for: the answer has come, or the connection has ended.
    ended: trio.Event
    is_answered: bool = False
    reason_codes: tuple[int, ...] = ()
    reason_string: str | None = None


class Client:
    """A connection that the server has accepted. Made by ``connect`` and ``open_client``.

    Several tasks may use it at once. Every method that sends raises DisconnectedError once the connection has ended
    without our doing, and NoAnswerError if the server does not answer within ``timeout_s``. A caller who is
    cancelled while it waits for an answer leaves the connection sound; whether the server acted is then not known.

    ``async for message in client`` takes the messages that arrive, as ``receive`` does one by one, and ends when
    the context manager is left.
    """

    def __init__(
        self, stream: trio.abc.Stream, request: Connect, connack: Connack, scanner: FrameScanner, timeout_s: float
    ) -> None:
        self._stream = stream
        self._capabilities: Capabilities = CAPABILITIES[request.version]
        self._version = request.version
        self._connack = connack
        self._client_id = connack.assigned_client_identifier or request.client_id
        self._scanner = scanner
        self._timeout_s = timeout_s
        self._alias_maximum = request.topic_alias_maximum
        # [MQTT-3.1.2-21]: the server's Keep Alive, where it names one, is the one to use.
        server_keep_alive_s = connack.server_keep_alive_s
        self._keep_alive_s = request.keep_alive_s if server_keep_alive_s is None else server_keep_alive_s

        # Why nothing more can be sent or received; None while all is well.
        self._failure: ClientError | None = None
        self._leaving = False

        self._output = bytearray()
        self._sending = False
        self._output_is_cut = False
        self._output_lot = ParkingLot()  # the writing task, waiting for bytes
        self._drained_lot = ParkingLot()  # callers, waiting for them to be gone
        self._last_sent_at = trio.current_time()
        self._last_received_at = trio.current_time()

        self._requests: dict[int, _Request] = {}
        self._last_packet_id = 0
        self._send_quota = connack.receive_maximum
        self._quota_lot = ParkingLot()
        self._callers_waiting = 0

        self._messages: deque[tuple[Publish, Message]] = deque()
        self._message_lot = ParkingLot()  # callers, waiting for a message
        self._room_lot = ParkingLot()  # the reading task, waiting for room
        self._reading_is_paused = False
        self._received_qos_2: set[int] = set()
        self._topic_of_alias: dict[int, str] = {}

        # Shielded, so that a caller who is cancelled still has somebody to send its goodbye.
        self._tasks_scope = trio.CancelScope(shield=True)

    @property
    def client_id(self) -> str:
        """The Client Identifier; the server's choice where the caller left it open and the version tells."""
        return self._client_id

    @property
    def connack(self) -> Connack:
        """What the server answered to CONNECT: its limits, and whether it had a session."""
        return self._connack

    @property
    def version(self) -> ProtocolVersion:
        """The version of MQTT that is spoken."""
        return self._version

    async def publish(
        self,
        topic: str,
        payload: bytes = b"",
        qos: int = 0,
        retain: bool = False,
        *,
        payload_is_text: bool = False,
        message_expiry_interval_s: int | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> int:
        """Publish a message; properties are left out below version 5.

        At QoS 0 returns once the message is on its way out and little waits before it; at QoS 1 and 2 once the
        server has acknowledged it. Returns the reason code of the acknowledgement: 0x00, or 0x10 if nobody has
        subscribed to it.

        Raises PublishRefusedError if the server will not have the message, UnsupportedByServerError if it is
        beyond what the server said it can do, ValueError if it cannot be a message at all: the caller's fault.
        """
        try:
            check_topic_name(topic)
        except PacketError as error:
            raise ValueError(f"{topic!r}: {error}") from None
        if qos > self._connack.maximum_qos:  # [MQTT-3.2.2-11]
            raise UnsupportedByServerError(f"the server takes no more than QoS {self._connack.maximum_qos}")
        if retain and not self._connack.retain_available:  # [MQTT-3.2.2-14]
            raise UnsupportedByServerError("the server keeps no retained messages")
        properties = b""
        if self._capabilities.has_properties:
            properties = encode_property_block(
                {
                    PropertyId.PAYLOAD_FORMAT_INDICATOR: 1 if payload_is_text else None,
                    PropertyId.MESSAGE_EXPIRY_INTERVAL: message_expiry_interval_s,
                    PropertyId.CONTENT_TYPE: content_type,
                    PropertyId.RESPONSE_TOPIC: response_topic,
                    PropertyId.CORRELATION_DATA: correlation_data,
                    PropertyId.USER_PROPERTY: tuple(user_properties),
                },
                PacketType.PUBLISH,
            )
        name = topic.encode()
        if qos == 0:
            packet = encode_publish(name, payload, self._version, 0, retain, properties=properties)
            self._check_size(packet)
            async with self._waiting("room to send"):
                await self._until_room_to_send()
                self._send(packet)
                self._log_publish("sending", False, 0, retain, 0, topic, payload)
            return ReasonCode.SUCCESS
        # Encoded with a stand-in identifier first: a message that cannot be sent must not take a real one.
        self._check_size(encode_publish(name, payload, self._version, qos, retain, False, 1, properties))
        async with self._waiting("the acknowledgement of a message"):
            await self._until_room_to_send()
            await self._park_while(lambda: self._send_quota == 0, self._quota_lot)  # [MQTT-4.9.0-1]
            expected = PacketType.PUBACK if qos == 1 else PacketType.PUBREC
            packet_id, request = self._new_request(expected)
            self._send_quota -= 1
            self._send(encode_publish(name, payload, self._version, qos, retain, False, packet_id, properties))
            self._log_publish("sending", False, qos, retain, packet_id, topic, payload)
            await self._until_answered(request)
        code = request.reason_codes[0]
        if code >= FIRST_FAILURE:
            raise PublishRefusedError(code, request.reason_string)
        return code

    async def subscribe(
        self,
        filters: str | SubscriptionRequest | Iterable[str | SubscriptionRequest],
        qos: int = 0,
        *,
        subscription_identifier: int | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> tuple[int, ...]:
        """Subscribe to one filter or several, in one packet.

        ``qos`` is that of the filters given as text. Returns the server's reason codes in the order of the filters:
        the QoS that is granted, or 0x80 and above. Raises ValueError for a filter that is not well formed.
        """
        if isinstance(filters, str | SubscriptionRequest):
            filters = (filters,)
        entries = tuple(SubscriptionRequest(one, qos) if isinstance(one, str) else one for one in filters)
        for entry in entries:
            _check_filter(entry.filter)

        def packet(packet_id: int) -> bytes:
            request = Subscribe(packet_id, entries, subscription_identifier, tuple(user_properties))
            return encode_subscribe(request, self._version)

        return await self._ask("SUBSCRIBE", PacketType.SUBACK, packet, len(entries))

    async def unsubscribe(
        self, filters: str | Iterable[str], *, user_properties: Iterable[tuple[str, str]] = ()
    ) -> tuple[int, ...]:
        """Give up subscriptions. Returns the server's reason codes in the order of the filters; none below version 5.

        Raises ValueError for a filter that is not well formed.
        """
        names = (filters,) if isinstance(filters, str) else tuple(filters)
        for name in names:
            _check_filter(name)

        def packet(packet_id: int) -> bytes:
            return encode_unsubscribe(Unsubscribe(packet_id, names, tuple(user_properties)), self._version)

        count = len(names) if self._capabilities.has_reason_codes else 0
        return await self._ask("UNSUBSCRIBE", PacketType.UNSUBACK, packet, count)

    async def receive(self) -> Message:
        """The next message, in the order of arrival; waits for it without limit.

        A message of QoS 1 or 2 is acknowledged when it is taken, not before: what nobody takes stays the server's.
        Raises DisconnectedError if the connection has ended and no message is left.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._messages:
            self._check_alive()
            await self._message_lot.park()
        publish, message = self._messages.popleft()
        self._room_lot.unpark()
        if publish.qos:
            self._answer(PacketType.PUBACK if publish.qos == 1 else PacketType.PUBREC, publish.packet_id)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return message

    def __aiter__(self) -> "Client":
        """The client itself: every task that iterates takes the next message that nobody has taken."""
        return self

    async def __anext__(self) -> Message:
        """As ``receive``; ends when we have left."""
        try:
            return await self.receive()
        except DisconnectedError:
            if self._leaving:
                raise StopAsyncIteration from None
            raise

    # What callers wait for.

    @asynccontextmanager
    async def _waiting(self, what: str) -> AsyncIterator[None]:
        """Bound a caller's wait. Meanwhile reading goes on although messages pile up: this caller may be the one
        who takes them, and the answer that it waits for stands behind them."""
        self._callers_waiting += 1
        self._room_lot.unpark()
        try:
            with trio.fail_after(self._timeout_s):
                await trio.lowlevel.checkpoint()
                self._check_alive()
                yield
        except trio.TooSlowError:
            raise NoAnswerError(f"waited {self._timeout_s:g} s in vain for {what}") from None
        finally:
            self._callers_waiting -= 1

    async def _park_while(self, condition: Callable[[], bool], lot: ParkingLot) -> None:
        while condition():
            self._check_alive()
            await lot.park()
        self._check_alive()

    async def _until_room_to_send(self) -> None:
        await self._park_while(lambda: len(self._output) > OUTPUT_LIMIT_BYTES, self._drained_lot)

    async def _ask(
        self, asked: str, expected: PacketType, packet_with: Callable[[int], bytes], codes_expected: int
    ) -> tuple[int, ...]:
        self._check_size(packet_with(1))  # ValueError before an identifier is taken
        async with self._waiting(expected.name):
            await self._until_room_to_send()
            packet_id, request = self._new_request(expected)
            self._send(packet_with(packet_id))
            self._log(f"sending {asked} (Mid: {packet_id})")
            await self._until_answered(request)
        if len(request.reason_codes) != codes_expected:  # [MQTT-3.8.4-6]
            raise DisconnectedError(f"{expected.name} has not one reason code for each filter")
        return request.reason_codes

    async def _until_answered(self, request: _Request) -> None:
        await request.ended.wait()
        if not request.is_answered:
            self._check_alive()

    def _check_alive(self) -> None:
        """Raise why the connection has ended, if it has."""
        if self._failure is not None:
            raise self._failure.with_traceback(None)  # it is raised for each caller, and each starts its own
        if self._leaving:
            raise DisconnectedError("this client has left")

    def _check_size(self, packet: bytes) -> None:
        limit = self._connack.maximum_packet_size
        if limit is not None and len(packet) > limit:  # [MQTT-3.2.2-15]
            raise UnsupportedByServerError(f"a packet of {len(packet)} bytes; the server takes no more than {limit}")

    def _new_request(self, expected: PacketType) -> tuple[int, _Request]:
        if len(self._requests) >= _PACKET_IDENTIFIERS:
            raise NoAnswerError("every packet identifier is in use: the server answers nothing")
        packet_id = self._last_packet_id
        while True:  # [MQTT-2.2.1-4]
            packet_id = packet_id % _PACKET_IDENTIFIERS + 1
            if packet_id not in self._requests:
                break
        self._last_packet_id = packet_id
        request = _Request(expected, trio.Event())
        self._requests[packet_id] = request
        return packet_id, request

    # The tasks. None of them raises for anything that a peer or a network does: that is kept in _failure.

    def _send(self, packet: bytes) -> None:
        if self._leaving:  # [MQTT-3.14.4-2]: nothing behind DISCONNECT
            return
        self._output += packet
        self._output_lot.unpark()

    def _answer(self, packet_type: PacketType, packet_id: int, reason_code: int = ReasonCode.SUCCESS) -> None:
        self._send(encode_ack(packet_type, packet_id, self._version, reason_code))
        self._log(f"sending {packet_type.name} (m{packet_id}, rc{reason_code:d})")

    def _log(self, text: str) -> None:
        _log.debug("Client %s %s", self._client_id or "(null)", text)

    def _log_publish(
        self, what: str, dup: bool, qos: int, retain: bool, packet_id: int, topic: str, payload: bytes
    ) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            flags = f"d{dup:d}, q{qos}, r{retain:d}, m{packet_id}"
            self._log(f"{what} PUBLISH ({flags}, '{topic}', ... ({len(payload)} bytes))")

    def _fail(self, failure: ClientError) -> None:
        """End the connection for every caller, those who wait included; the first reason is the one that counts."""
        if self._failure is not None:
            return
        self._failure = failure
        for request in self._requests.values():
            request.ended.set()
        for lot in (self._drained_lot, self._quota_lot, self._message_lot, self._room_lot):
            lot.unpark_all()

    async def _run_tasks(self, packets: list[tuple[int, bytes]]) -> None:
        with self._tasks_scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_task, packets)
                nursery.start_soon(self._write_task)
                nursery.start_soon(self._keep_alive_task)

    async def _write_task(self) -> None:
        try:
            while True:
                while not self._output:
                    await self._output_lot.park()
                data = bytes(self._output)
                self._output.clear()
                self._sending = True
                await self._stream.send_all(data)
                self._sending = False
                self._last_sent_at = trio.current_time()
                self._drained_lot.unpark_all()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._output_is_cut = True
            self._drained_lot.unpark_all()
            self._fail(DisconnectedError("the connection broke off"))

    async def _read_task(self, packets: list[tuple[int, bytes]]) -> None:
        """Read until the connection ends; ``packets`` are those that came with CONNACK."""
        try:
            while True:
                for first, body in packets:
                    self._take(first, body)
                    await self._until_room_for_messages()
                    if self._failure is not None and not self._leaving:
                        return
                data = await self._stream.receive_some()
                if not data:
                    self._fail(DisconnectedError("the server closed the connection"))
                    return
                self._last_received_at = trio.current_time()
                packets = self._scanner.feed(data)
        except PacketError as error:
            if self._capabilities.has_reason_codes:
                self._send(encode_disconnect(Disconnect(error.reason_code), self._version))
            self._fail(DisconnectedError(f"the server broke the protocol: {error}"))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._fail(DisconnectedError("the connection broke off"))

    async def _until_room_for_messages(self) -> None:
        while len(self._messages) >= MESSAGE_BUFFER and not self._callers_waiting and self._failure is None:
            self._reading_is_paused = True
            await self._room_lot.park()
        if self._reading_is_paused:
            self._reading_is_paused = False
            self._last_received_at = trio.current_time()

    async def _keep_alive_task(self) -> None:
        """Send PINGREQ when nothing else was sent for the Keep Alive [MQTT-3.1.2-20]; fail if the server is silent."""
        if self._keep_alive_s == 0:
            return
        while True:
            await trio.sleep_until(self._last_sent_at + self._keep_alive_s)
            if trio.current_time() < self._last_sent_at + self._keep_alive_s:
                continue
            asked_at = trio.current_time()
            self._send(PINGREQ)
            self._log("sending PINGREQ")
            await trio.sleep(min(self._timeout_s, self._keep_alive_s))
            # Silence proves nothing while it is we who do not read.
            if self._last_received_at < asked_at and not self._reading_is_paused:
                self._fail(NoAnswerError("the server does not answer PINGREQ"))
                return

    # What arrives.

    def _take(self, first: int, body: bytes) -> None:
        """Act on one packet of the server's; PacketError for its fault."""
        packet_type = first >> 4
        if packet_type == PacketType.PUBLISH:
            self._take_publish(first, body)
        elif PacketType.PUBACK <= packet_type <= PacketType.PUBCOMP:
            self._take_ack(first, body)
        elif packet_type == PacketType.SUBACK:
            self._take_answer(PacketType.SUBACK, decode_suback(body, self._version, first))
        elif packet_type == PacketType.UNSUBACK:
            self._take_answer(PacketType.UNSUBACK, decode_unsuback(body, self._version, first))
        elif packet_type == PacketType.PINGRESP:
            check_pingresp(body, first)
            self._log("received PINGRESP")
        elif packet_type == PacketType.DISCONNECT:
            packet = decode_disconnect(body, self._version, first, from_server=True)
            self._log(f"received DISCONNECT ({packet.reason_code:d})")
            text = f"the server ended the connection: {describe(packet.reason_code)}"
            if packet.reason_string is not None:
                text += f" ({packet.reason_string})"
            self._fail(DisconnectedError(text, packet.reason_code))
        else:
            raise PacketError(ReasonCode.PROTOCOL_ERROR, f"a server does not send packet type {packet_type} here")

    def _take_publish(self, first: int, body: bytes) -> None:
        publish = decode_publish(first, body, self._version, True)
        values = properties_of(publish)
        topic = publish.topic.decode()
        alias = values.get(PropertyId.TOPIC_ALIAS, 0)
        if alias:
            if alias > self._alias_maximum:  # [MQTT-3.1.2-26]
                raise PacketError(ReasonCode.TOPIC_ALIAS_INVALID, f"the Topic Alias {alias}", "MQTT-3.1.2-26")
            if topic:
                self._topic_of_alias[alias] = topic
            elif alias in self._topic_of_alias:
                topic = self._topic_of_alias[alias]
            else:
                raise PacketError(ReasonCode.PROTOCOL_ERROR, f"the Topic Alias {alias} stands for nothing")
        self._log_publish(
            "received", publish.dup, publish.qos, publish.retain, publish.packet_id, topic, publish.payload
        )
        if self._leaving:
            return
        if publish.qos == 2:
            if publish.packet_id in self._received_qos_2:  # [MQTT-4.3.3-10]: the message is ours already
                self._answer(PacketType.PUBREC, publish.packet_id)
                return
            self._received_qos_2.add(publish.packet_id)
        self._messages.append((publish, message_of(publish, topic, values)))
        self._message_lot.unpark()

    def _take_ack(self, first: int, body: bytes) -> None:
        ack = decode_ack(first, body, self._version)
        self._log(f"received {PacketType(ack.packet_type).name} (Mid: {ack.packet_id}, RC:{ack.reason_code})")
        packet_id = ack.packet_id
        if ack.packet_type == PacketType.PUBREL:
            known = packet_id in self._received_qos_2
            self._received_qos_2.discard(packet_id)
            code = ReasonCode.SUCCESS if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
            self._answer(PacketType.PUBCOMP, packet_id, code)
            return
        request = self._requests.get(packet_id)
        if request is None or request.expected != ack.packet_type:
            # Of a session that was here before us. A PUBREC must have its PUBREL all the same  [MQTT-4.3.3-4].
            if ack.packet_type == PacketType.PUBREC and ack.reason_code < FIRST_FAILURE:
                code = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
                self._answer(PacketType.PUBREL, packet_id, code)
            return
        if ack.packet_type == PacketType.PUBREC and ack.reason_code < FIRST_FAILURE:
            request.expected = PacketType.PUBCOMP
            request.reason_codes = (ack.reason_code,)
            self._answer(PacketType.PUBREL, packet_id)
            return
        if ack.packet_type != PacketType.PUBCOMP:
            request.reason_codes = (ack.reason_code,)
        if ack.properties:
            values = decode_property_block(ack.properties, ack.packet_type)
            request.reason_string = values.get(PropertyId.REASON_STRING)
        del self._requests[packet_id]
        request.is_answered = True
        request.ended.set()
        self._send_quota += 1
        self._quota_lot.unpark()

    def _take_answer(self, packet_type: PacketType, packet: Suback | Unsuback) -> None:
        self._log(f"received {packet_type.name}")
        request = self._requests.get(packet.packet_id)
        if request is None or request.expected is not packet_type:
            raise PacketError(ReasonCode.PROTOCOL_ERROR, f"{packet_type.name} for nothing that was asked")
        request.reason_codes = packet.reason_codes
        request.reason_string = packet.reason_string
        del self._requests[packet.packet_id]
        request.is_answered = True
        request.ended.set()

    # The end.

    async def _leave(self, within_s: float) -> None:
        """Send what waits and DISCONNECT; then give the server a moment to close, so that it has read all of it."""
        if self._leaving:
            return
        if self._failure is None:
            self._send(encode_disconnect(Disconnect(), self._version))
            self._log("sending DISCONNECT")
        self._leaving = True
        self._room_lot.unpark_all()
        with trio.move_on_after(within_s):
            while self._has_unsent and not self._output_is_cut:
                await self._drained_lot.park()
        with trio.move_on_after(min(within_s, GOODBYE_S)):
            while self._failure is None:
                await self._message_lot.park()

    @property
    def _has_unsent(self) -> bool:
        return bool(self._output) or self._sending

    def _check_all_sent(self) -> None:
        if self._has_unsent:
            raise self._failure or NoAnswerError("the server does not read what is sent")


@asynccontextmanager
async def open_client(
    stream: trio.abc.Stream, request: Connect, *, timeout_s: float = ANSWER_TIMEOUT_S
) -> AsyncIterator[Client]:
    """Speak MQTT over ``stream``, of whatever kind, as ``request`` says; the stream is closed in every case.

    Gives the client once the server has accepted it. On the way out everything that was published is sent, then
    DISCONNECT, so that the Will is not published; where the block is cancelled that has ``GOODBYE_S`` at most.

    Raises RefusedError if the server refuses, NoAnswerError if it is silent for ``timeout_s``, DisconnectedError if
    it hangs up or breaks the protocol, ValueError if ``request`` cannot be written: the caller's fault. At the end
    of the block DisconnectedError or NoAnswerError if messages of QoS 0 are left that could not be sent.
    """
    try:
        try:
            with trio.fail_after(timeout_s):
                client, packets = await _shake_hands(stream, request, timeout_s)
        except trio.TooSlowError:
            raise NoAnswerError(f"waited {timeout_s:g} s in vain for the answer to CONNECT") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise DisconnectedError("the connection broke off before the server's answer") from None
        # The nursery is left by hand so that what the caller's block raises comes out as it is, not in a group:
        # the tasks raise nothing, but for our own mistakes.
        manager = trio.open_nursery()
        nursery = await manager.__aenter__()
        try:
            nursery.start_soon(client._run_tasks, packets)
            yield client
            await client._leave(timeout_s)
            client._check_all_sent()
        except (Exception, BaseExceptionGroup, trio.Cancelled, KeyboardInterrupt):
            with trio.CancelScope(shield=True):
                await client._leave(GOODBYE_S)
            raise
        finally:
            client._leaving = True
            client._fail(DisconnectedError("this client has left"))
            client._tasks_scope.cancel()
            await manager.__aexit__(None, None, None)
    finally:
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def connect(
    host: str,
    port: int = 1883,
    *,
    client_id: str = "",
    version: int = ProtocolVersion.V5,
    clean_start: bool = True,
    keep_alive_s: int = 60,
    user_name: str | None = None,
    password: bytes | None = None,
    will: Will | None = None,
    session_expiry_interval_s: int = 0,
    receive_maximum: int = MESSAGE_BUFFER,
    maximum_packet_size: int | None = None,
    user_properties: Iterable[tuple[str, str]] = (),
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> AsyncIterator[Client]:
    """Connect to a server over TCP; as ``open_client`` from there on.

    ``version``: 3, 4 or 5 (``ProtocolVersion``). ``timeout_s`` bounds the connection, the server's answer to
    CONNECT, and each answer after it. Raises UnreachableError if there is no connection, and what ``open_client``
    raises.
    """
    request = Connect(
        version=ProtocolVersion(version),
        client_id=client_id,
        clean_start=clean_start,
        keep_alive_s=keep_alive_s,
        will=will,
        user_name=user_name,
        password=password,
        session_expiry_interval_s=session_expiry_interval_s,
        receive_maximum=receive_maximum,
        maximum_packet_size=maximum_packet_size,
        user_properties=tuple(user_properties),
    )
    encode_connect(request)  # ValueError before anything is asked of the network
    try:
        with trio.fail_after(timeout_s):
            stream = await trio.open_tcp_stream(host, port)
    except trio.TooSlowError:
        raise UnreachableError(f"{host}:{port} cannot be reached within {timeout_s:g} s") from None
    except OSError as error:
        raise UnreachableError(f"{host}:{port} cannot be reached: {_reason_of(error)}") from error
    async with open_client(stream, request, timeout_s=timeout_s) as client:
        yield client


async def _shake_hands(
    stream: trio.abc.Stream, request: Connect, timeout_s: float
) -> tuple[Client, list[tuple[int, bytes]]]:
    """The client, and the packets that came together with CONNACK."""
    scanner = FrameScanner(request.maximum_packet_size or _LARGEST_PACKET_BYTES)
    who = request.client_id or "(null)"
    _log.debug("Client %s sending CONNECT", who)
    await stream.send_all(encode_connect(request))
    packets: list[tuple[int, bytes]] = []
    try:
        while not packets:
            data = await stream.receive_some()
            if not data:
                raise DisconnectedError("the server closed the connection without an answer to CONNECT")
            packets = scanner.feed(data)
        first, body = packets[0]
        if first >> 4 != PacketType.CONNACK:  # [MQTT-3.2.0-1]
            raise DisconnectedError(f"the server's first packet is not CONNACK but of type {first >> 4}")
        connack = decode_connack(body, request.version, first)
    except PacketError as error:
        raise DisconnectedError(f"the server broke the protocol: {error}") from error
    # The byte is there: decode_connack has read it.
    _log.debug("Client %s received CONNACK (%d)", connack.assigned_client_identifier or who, body[1])
    if connack.reason_code != ReasonCode.SUCCESS:
        raise RefusedError(connack.reason_code, body[1], connack.reason_string)
    return Client(stream, request, connack, scanner, timeout_s), packets[1:]


def _check_filter(text: str) -> None:
    try:
        split_filter(text)
    except PacketError as error:
        raise ValueError(f"{text!r}: {error}") from None


def _reason_of(error: OSError) -> str:
    """What the system says, of the first of several attempts where it was several (one for each address)."""
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    told = cause if isinstance(cause, OSError) else error
    if isinstance(told, socket.gaierror) or not told.errno:
        return told.strerror or str(told)
    return os.strerror(told.errno)
