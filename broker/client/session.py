"""A session with a server over one connection after the other: what has been asked, sent and received, and stands.

It knows what MQTT makes of a lost connection: what goes on, what is sent again, what is lost. ``Client`` is what a
caller sees of it.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import trio
from noctule._speedups.codec import decode_ack, decode_publish, encode_ack
from noctule.client.connection import Connection
from noctule.client.errors import (
    ClientError,
    DisconnectedError,
    NoAnswerError,
    SubscriptionRefusedError,
    UnsupportedByServerError,
)
from noctule.client.handshake import Established
from noctule.client.incoming import Arrival, IncomingFlows
from noctule.client.mailbox import Mailbox
from noctule.client.message import Message, message_of, properties_of
from noctule.client.outgoing import OutgoingFlows, PacketIdentifiers
from noctule.client.questions import Questions
from noctule.client.reauthentication import Reauthentication
from noctule.client.reconnecting import BackOff, Reconnect, is_final
from noctule.client.standing import StandingSubscriptions
from noctule.client.subscription import Subscription
from noctule.protocol import (
    CAPABILITIES,
    FIRST_FAILURE,
    Capabilities,
    Connect,
    Disconnect,
    PacketError,
    PacketType,
    PropertyId,
    ReasonCode,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    decode_auth,
    decode_suback,
    decode_unsuback,
    describe,
)
from trio.lowlevel import ParkingLot

#: At DEBUG every packet, in the words of Mosquitto's clients; at INFO connections lost and made again.
_log: Final = logging.getLogger("noctule.client")

#: Opens a connection for a request.
Opener: TypeAlias = Callable[[Connect], Awaitable[Established]]


@dataclass(frozen=True, slots=True)
class Repair:
    """How a lost connection is made again."""

    policy: Reconnect
    open_again: Opener


class Session:
    """The state of a client. ``run`` carries it, as a task of whoever opened it."""

    def __init__(self, established: Established, timeout_s: float, repair: Repair | None, goodbye: Disconnect) -> None:
        #: What is said at the end.
        self.goodbye = goodbye
        request = established.request
        self._request = request
        self.capabilities: Capabilities = CAPABILITIES[request.version]
        self.version = request.version
        self.connack = established.connack
        self.client_id = established.connack.assigned_client_identifier or request.client_id
        self.timeout_s = timeout_s
        self._repair = repair
        self.reauthentication: Reauthentication | None = None

        # Why nothing more can be sent or received; None while all is well or may be well again.
        self.failure: ClientError | None = None
        self.is_leaving = False
        self._last_connection = Connection(established, self, timeout_s)
        #: None while there is none.
        self.connection: Connection | None = self._last_connection
        self._change_lot = ParkingLot()  # callers, waiting for a connection or for the end of all hope
        self._callers_waiting = 0

        self._identifiers = PacketIdentifiers()
        self.outgoing = OutgoingFlows(request.version, self._identifiers)
        self._incoming = IncomingFlows()
        self._questions = Questions(request.version, self._identifiers, self.log)
        self.standing = StandingSubscriptions()
        self.subscriptions: list[Subscription] = []
        self.mailbox = Mailbox()
        self._room_lot = ParkingLot()  # the reading task, waiting for room
        #: Looks at each message before it goes into a mailbox, and takes it if that gives True.
        self.intercept: Callable[[Message], bool] = lambda _message: False

        # Shielded, so that a caller who is cancelled still has somebody to send its goodbye.
        self._tasks_scope = trio.CancelScope(shield=True)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self.connection is not None and self.connection.failure is None

    # What callers wait for.

    @asynccontextmanager
    async def waiting(self, what: str) -> AsyncIterator[None]:
        """Bound a caller's wait. Meanwhile reading goes on although messages pile up: this caller may be the one
        who takes them, and the answer that it waits for stands behind them."""
        self._callers_waiting += 1
        self._room_lot.unpark()
        try:
            with trio.fail_after(self.timeout_s):
                await trio.lowlevel.checkpoint()
                self.check_alive()
                yield
        except trio.TooSlowError:
            if not self.is_connected:
                what += "; the connection is lost and being made again"
            raise NoAnswerError(f"waited {self.timeout_s:g} s in vain for {what}") from None
        finally:
            self._callers_waiting -= 1

    async def usable_connection(self) -> Connection:
        """The connection, when there is one that little waits on."""
        while True:
            self.check_alive()
            connection = self.connection
            if connection is None or connection.failure is not None:
                await self._change_lot.park()
            elif connection.has_room:
                return connection
            else:
                await connection.changed()

    async def ask(self, request: Subscribe | Unsubscribe, codes_expected: int) -> tuple[int, ...]:
        """The reason codes of the answer; asked for again on the next connection if one is lost meanwhile.

        The packet identifier in ``request`` stands for the one that is chosen here.
        """
        self.check_size(self._questions.encoded(request))  # ValueError before an identifier is taken
        expected = PacketType.SUBACK if isinstance(request, Subscribe) else PacketType.UNSUBACK
        async with self.waiting(expected.name):
            while True:
                question = self._questions.send(await self.usable_connection(), request)
                await question.ended.wait()
                if question.is_answered:
                    break
        if len(question.reason_codes) != codes_expected:  # [MQTT-3.8.4-6]
            raise DisconnectedError(f"{expected.name} has not one reason code for each filter")
        return question.reason_codes

    def check_alive(self) -> None:
        """Raise why the connection has ended for good, if it has."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)  # it is raised for each caller, and each starts its own
        if self.is_leaving:
            raise DisconnectedError("this client has left")

    def check_size(self, packet: bytes) -> None:
        """Raise UnsupportedByServerError for a packet that the server does not take."""
        limit = self.connack.maximum_packet_size
        if limit is not None and len(packet) > limit:  # [MQTT-3.2.2-15]
            raise UnsupportedByServerError(f"a packet of {len(packet)} bytes; the server takes no more than {limit}")

    def unsubscribe_and_go(self, filters: tuple[str, ...]) -> None:
        """Give up subscriptions without waiting for the answer."""
        self.standing.given_up(filters)
        connection = self.connection
        if connection is not None and connection.failure is None:
            self._questions.send(connection, Unsubscribe(1, filters))

    def pump(self, connection: Connection) -> None:
        """Send the messages of QoS 1 and 2 that may be sent now."""
        for flight in self.outgoing.pump(connection):
            topic = flight.topic.decode()
            self.log_publish("sending", False, flight.qos, flight.retain, flight.packet_id, topic, flight.payload)

    # One connection after the other.

    async def run(self) -> None:
        """Carry the session until it ends. Raises nothing for whatever a peer or a network does."""
        with self._tasks_scope:
            repair = self._repair
            back_off = None if repair is None else BackOff(repair.policy)
            connection: Connection | None = self._last_connection
            while connection is not None:
                began_at = trio.current_time()
                failure = await connection.run()
                self._connection_lost()
                if self.is_leaving or repair is None or back_off is None or is_final(failure):
                    self.fail(failure)
                    return
                if trio.current_time() - began_at >= repair.policy.settled_after_s:
                    back_off.reset()
                connection = await self._connect_again(failure, repair, back_off)

    def _connection_lost(self) -> None:
        self.connection = None
        self._questions.connection_lost()
        if self.reauthentication is not None:
            self.reauthentication.connection_lost()

    async def _connect_again(self, failure: ClientError, repair: Repair, back_off: BackOff) -> Connection | None:
        """The next connection; None if it is given up, which everybody has then been told."""
        lost_at = trio.current_time()
        give_up_after_s = repair.policy.give_up_after_s
        request = replace(self._request, client_id=self.client_id)
        if self.capabilities.has_properties:
            request = replace(request, clean_start=False)
        while True:
            delay_s = back_off.next_delay_s()
            _log.info(
                "Client %s has no connection (%s); trying again in %.1f s",
                self.client_id or "(null)",
                failure,
                delay_s,
            )
            await trio.sleep(delay_s)
            try:
                established = await repair.open_again(request)
            except ClientError as error:
                failure = error
            except Exception as error:
                # Of a method of authentication, which is the caller's own.
                failure = DisconnectedError(f"the connection cannot be made again: {error!r}")
                failure.__cause__ = error
                self.fail(failure)
                return None
            else:
                return self._resume(established)
            too_long = give_up_after_s is not None and trio.current_time() - lost_at >= give_up_after_s
            if is_final(failure) or too_long:
                self.fail(failure)
                return None

    def _resume(self, established: Established) -> Connection:
        """Go on with the session on a new connection; begin anew where the server has lost it."""
        connack = self.connack = established.connack
        connection = self._last_connection = Connection(established, self, self.timeout_s)
        is_kept = connack.session_present
        if not self.capabilities.has_session_present:
            is_kept = not established.request.clean_start  # 3.1 does not tell
        _log.info(
            "Client %s is connected again; the server %s the session",
            self.client_id or "(null)",
            "has kept" if is_kept else "has lost",
        )
        if not is_kept:
            self.standing.is_complete = False
            self._incoming.begin_anew()
        if not self.standing.is_complete:
            self._subscribe_again(connection)
        if is_kept:
            self.outgoing.resume(connection)
        else:
            self.outgoing.begin_anew()
        self.connection = connection
        self.pump(connection)
        self._change_lot.unpark_all()
        return connection

    def _subscribe_again(self, connection: Connection) -> None:
        """Send every SUBSCRIBE; their answers are looked at as they come."""
        requests = self.standing.requests()
        self.standing.is_complete = not requests
        for request in requests:
            self._questions.send(connection, request, again=request)

    def _subscribed_again(self, request: Subscribe, reason_codes: tuple[int, ...]) -> None:
        for entry, code in zip(request.entries, reason_codes, strict=False):
            if code < FIRST_FAILURE:
                continue
            _log.warning(
                "Client %s has lost its subscription to %s: %s",
                self.client_id or "(null)",
                entry.filter,
                describe(code),
            )
            self.standing.given_up((entry.filter,))
            for subscription in self.subscriptions:
                if entry.filter in subscription.filters:
                    subscription.end(SubscriptionRefusedError(entry.filter, code))
        if not self._questions.has_repeated:
            self.standing.is_complete = True

    def fail(self, failure: ClientError) -> None:
        """There will be no connection any more: everybody is told. The first reason is the one that counts."""
        if self.failure is not None:
            return
        self.failure = failure
        self.outgoing.fail_all(failure)
        for lot in (self._change_lot, self._room_lot):
            lot.unpark_all()
        for mailbox in (self.mailbox, *(one.mailbox for one in self.subscriptions)):
            mailbox.wake_all()

    # What arrives.

    async def until_room(self, connection: Connection) -> None:
        """Return when the next packet may be read: a message more has room, or a caller waits for an answer."""
        while connection.failure is None and not self.is_leaving and self._is_full():
            connection.reading_is_paused = True
            await self._room_lot.park()
        if connection.reading_is_paused:
            connection.reading_resumed()

    def _is_full(self) -> bool:
        mailboxes = (self.mailbox, *(one.mailbox for one in self.subscriptions))
        if any(mailbox.is_overfull for mailbox in mailboxes):
            return True
        return not self._callers_waiting and any(mailbox.is_full for mailbox in mailboxes)

    def take(self, connection: Connection, first: int, body: bytes) -> None:
        """Act on one packet of the server's; PacketError for its fault."""
        packet_type = first >> 4
        if packet_type == PacketType.PUBLISH:
            self._take_publish(connection, first, body)
        elif PacketType.PUBACK <= packet_type <= PacketType.PUBCOMP:
            self._take_ack(connection, first, body)
        elif packet_type == PacketType.SUBACK:
            self._take_answer(PacketType.SUBACK, decode_suback(body, self.version, first))
        elif packet_type == PacketType.UNSUBACK:
            self._take_answer(PacketType.UNSUBACK, decode_unsuback(body, self.version, first))
        elif packet_type == PacketType.AUTH and self.reauthentication is not None:
            self.reauthentication.take(decode_auth(body, self.version, first))
        else:
            raise PacketError(ReasonCode.PROTOCOL_ERROR, f"a server does not send packet type {packet_type} here")

    def _take_publish(self, connection: Connection, first: int, body: bytes) -> None:
        publish = decode_publish(first, body, self.version, True)
        values = properties_of(publish)
        topic = publish.topic.decode()
        alias = values.get(PropertyId.TOPIC_ALIAS, 0)
        if alias:
            if alias > self._request.topic_alias_maximum:  # [MQTT-3.1.2-26]
                raise PacketError(ReasonCode.TOPIC_ALIAS_INVALID, f"the Topic Alias {alias}", "MQTT-3.1.2-26")
            if topic:
                connection.topic_of_alias[alias] = topic
            elif alias in connection.topic_of_alias:
                topic = connection.topic_of_alias[alias]
            else:
                raise PacketError(ReasonCode.PROTOCOL_ERROR, f"the Topic Alias {alias} stands for nothing")
        self.log_publish(
            "received", publish.dup, publish.qos, publish.retain, publish.packet_id, topic, publish.payload
        )
        if self.is_leaving:
            return
        arrival, is_again = self._incoming.take(publish, message_of(publish, topic, values))
        if is_again:
            self._answer(connection, PacketType.PUBREC, publish.packet_id)
        if arrival is None:
            return
        if self.intercept(arrival.message):
            self.taken(arrival)
            return
        mailboxes = [one.mailbox for one in self.subscriptions if one.wants(arrival.message)] or [self.mailbox]
        arrival.copies = len(mailboxes)
        for mailbox in mailboxes:
            mailbox.put(arrival)

    def _take_ack(self, connection: Connection, first: int, body: bytes) -> None:
        ack = decode_ack(first, body, self.version)
        text = "received %s (Mid: %d, RC:%d)"
        if ack.packet_type in (PacketType.PUBREC, PacketType.PUBREL) and ack.reason_code == ReasonCode.SUCCESS:
            text = "received %s (Mid: %d)"
        self.log(text, *(PacketType(ack.packet_type).name, ack.packet_id, ack.reason_code)[: text.count("%")])
        if ack.packet_type == PacketType.PUBREL:
            known = self._incoming.release(ack.packet_id)
            code = ReasonCode.SUCCESS if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
            self._answer(connection, PacketType.PUBCOMP, ack.packet_id, code)
            return
        has_ended, answer = self.outgoing.take_ack(ack)
        if answer is not None:
            connection.send(answer)
            self.log("sending PUBREL (m%d)", ack.packet_id)
        if has_ended:
            self.pump(connection)

    def _take_answer(self, packet_type: PacketType, packet: Suback | Unsuback) -> None:
        self.log("received %s", packet_type.name)
        if packet_type == PacketType.SUBACK:
            codes = ", ".join(f"{code:d}" for code in packet.reason_codes)
            _log.debug("Subscribed (mid: %d): %s", packet.packet_id, codes)
        question = self._questions.answer(packet_type, packet)
        if question.again is not None:
            self._subscribed_again(question.again, packet.reason_codes)

    def _answer(
        self, connection: Connection, packet_type: PacketType, packet_id: int, reason_code: int = ReasonCode.SUCCESS
    ) -> None:
        connection.send(encode_ack(packet_type, packet_id, self.version, reason_code))
        if packet_type == PacketType.PUBCOMP:
            self.log("sending PUBCOMP (m%d)", packet_id)
        else:
            self.log("sending %s (m%d, rc%d)", packet_type.name, packet_id, reason_code)

    def log(self, text: str, *arguments: object) -> None:
        """Write to the log what a packet was."""
        _log.debug(f"Client %s {text}", self.client_id or "(null)", *arguments)

    def log_publish(
        self, what: str, dup: bool, qos: int, retain: bool, packet_id: int, topic: str, payload: bytes
    ) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            flags = f"d{dup:d}, q{qos}, r{retain:d}, m{packet_id}"
            self.log("%s PUBLISH (%s, '%s', ... (%d bytes))", what, flags, topic, len(payload))

    def taken(self, arrival: Arrival) -> None:
        """A message has been taken from a mailbox."""
        self._room_lot.unpark()
        arrival.copies -= 1
        if arrival.copies == 0:
            answer = self._incoming.acknowledgement_of(arrival)
            if answer is not None and self.connection is not None:
                self._answer(self.connection, answer, arrival.message.packet_id)

    async def take_from(self, mailbox: Mailbox, subscription: Subscription | None = None) -> Message:
        """The next message of a mailbox; for subscriptions."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while (arrival := mailbox.pop()) is None:
            if subscription is not None and subscription.failure is not None:
                raise subscription.failure.with_traceback(None)
            self.check_alive()
            await mailbox.changed()
        self.taken(arrival)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return arrival.message

    async def next_from(self, mailbox: Mailbox, subscription: Subscription | None = None) -> Message:
        """As ``take_from``; StopAsyncIteration when we have left."""
        try:
            return await self.take_from(mailbox, subscription)
        except DisconnectedError:
            if self.is_leaving:
                raise StopAsyncIteration from None
            raise

    # The end.

    async def leave(self, within_s: float) -> None:
        """Say goodbye, for ``within_s`` seconds at most; for whoever opened the client."""
        if self.is_leaving:
            return
        self.is_leaving = True
        self._room_lot.unpark_all()
        if self.connection is not None:
            await self.connection.leave(self.goodbye, within_s)

    def check_all_sent(self) -> None:
        """Raise what has kept us from sending all; for whoever opened the client."""
        if self._last_connection.has_unsent_message:
            raise self._last_connection.failure or NoAnswerError("the server does not read what is sent")

    def end(self) -> None:
        """Let go of everything; for whoever opened the client."""
        self.is_leaving = True
        self.fail(DisconnectedError("this client has left"))
        self._tasks_scope.cancel()
