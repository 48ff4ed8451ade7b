"""What a caller has of a session with a server: publish, subscribe, receive, request."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from noctule._speedups.codec import encode_publish
from noctule.client.authentication import AuthenticationMethod
from noctule.client.errors import SubscriptionRefusedError, UnsupportedByServerError
from noctule.client.message import Message
from noctule.client.outgoing import Flight
from noctule.client.reauthentication import Reauthentication
from noctule.client.request_response import Requests
from noctule.client.session import Session
from noctule.client.subscription import Subscription
from noctule.protocol import (
    FIRST_FAILURE,
    VARIABLE_BYTE_INTEGER_MAXIMUM,
    Connack,
    Disconnect,
    PacketError,
    PacketType,
    PropertyId,
    ProtocolVersion,
    ReasonCode,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    check_topic_name,
    encode_property_block,
    split_filter,
)


class Client:
    """A session with a server, over one connection after the other. Made by ``connect`` and ``open_client``.

    Several tasks may use it at once. While the connection is lost and made again, callers wait. Every method that
    sends raises NoAnswerError if what it waits for does not come within ``timeout_s``, and DisconnectedError once the
    connection has ended for good without our doing. A caller who is cancelled while it waits for an answer leaves
    the connection sound; whether the server acted is then not known.

    ``async for message in client`` takes the messages that no ``subscription`` takes, as ``receive`` does one by one,
    and ends when the context manager is left.
    """

    def __init__(self, session: Session, authentication: AuthenticationMethod | None = None) -> None:
        self._session = session
        self._authentication = authentication
        self._responses = Requests(self)
        session.intercept = self._responses.take
        self._last_identifier = VARIABLE_BYTE_INTEGER_MAXIMUM + 1

    @property
    def goodbye(self) -> Disconnect:
        """What is said at the end; may be set. A reason code of 0x04 has the server publish the Will."""
        return self._session.goodbye

    @goodbye.setter
    def goodbye(self, goodbye: Disconnect) -> None:
        self._session.goodbye = goodbye

    @property
    def client_id(self) -> str:
        """The Client Identifier; the server's choice where the caller left it open and the version tells."""
        return self._session.client_id

    @property
    def connack(self) -> Connack:
        """What the server answered to the last CONNECT: its limits, and whether it had a session."""
        return self._session.connack

    @property
    def version(self) -> ProtocolVersion:
        """The version of MQTT that is spoken."""
        return self._session.version

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._session.is_connected

    async def wait_connected(self) -> None:
        """Return when there is a connection. DisconnectedError, or what ended it, if there will be none."""
        await self._session.usable_connection()

    # Publishing.

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
        topic_alias: int | None = None,
        properties: Mapping[PropertyId, Any] | None = None,
    ) -> int:
        """Publish a message; properties are left out below version 5.

        At QoS 0 returns once the message is on its way out and little waits before it; at QoS 1 and 2 once the
        server has acknowledged it, on whichever connection. Returns the reason code of the acknowledgement: 0x00, or
        0x10 if nobody has subscribed to it. ``properties`` are further ones by their identifiers; they win.

        Raises PublishRefusedError if the server will not have the message, UnsupportedByServerError if it is
        beyond what the server said it can do, SessionLostError if the server lost the session in the middle of QoS 2,
        ValueError if it cannot be a message at all: the caller's fault.
        """
        try:
            check_topic_name(topic)
        except PacketError as error:
            raise ValueError(f"{topic!r}: {error}") from None
        if not 0 <= qos <= 2:
            raise ValueError(f"QoS is 0, 1 or 2, not {qos}")
        self._check_supported(qos, retain, topic_alias)
        first = again = b""
        if self._session.capabilities.has_properties:
            values: dict[PropertyId, Any] = {
                PropertyId.PAYLOAD_FORMAT_INDICATOR: 1 if payload_is_text else None,
                PropertyId.MESSAGE_EXPIRY_INTERVAL: message_expiry_interval_s,
                PropertyId.CONTENT_TYPE: content_type,
                PropertyId.RESPONSE_TOPIC: response_topic,
                PropertyId.CORRELATION_DATA: correlation_data,
                PropertyId.USER_PROPERTY: tuple(user_properties),
            }
            values.update(properties or {})
            again = encode_property_block(values, PacketType.PUBLISH)
            alias = {PropertyId.TOPIC_ALIAS: topic_alias}
            first = encode_property_block(alias, PacketType.PUBLISH) + again
        name = topic.encode()
        # At QoS 1 and 2 with a stand-in identifier: a message that cannot be sent must not take a real one.
        packet = encode_publish(name, payload, self._session.version, qos, retain, False, 1 if qos else 0, first)
        self._session.check_size(packet)
        if qos == 0:
            async with self._session.waiting("room to send"):
                connection = await self._session.usable_connection()
                connection.send(packet, is_message=True)
                self._session.log_publish("sending", False, 0, retain, 0, topic, payload)
            return ReasonCode.SUCCESS
        flight: Flight | None = None
        try:
            async with self._session.waiting("the acknowledgement of a message"):
                connection = await self._session.usable_connection()
                flight = self._session.outgoing.open(name, payload, qos, retain, first, again)
                self._session.pump(connection)
                await flight.ended.wait()
        finally:
            if flight is not None:
                self._session.outgoing.forget(flight)
        return flight.outcome()

    async def request(
        self,
        topic: str,
        payload: bytes = b"",
        qos: int = 0,
        *,
        timeout_s: float | None = None,
        response_topic: str | None = None,
        content_type: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> Message:
        """Publish a request and wait for its response, told from others by its Correlation Data (4.10).

        ``response_topic``: where responses are to come, the same one for many requests; None: one that nobody else
        has, below the server's Response Information where it gave some. ``timeout_s``: of the response; None: the
        client's.

        Raises NoAnswerError if no response comes, SubscriptionRefusedError if the server does not let us hear
        responses, ValueError below version 5, and what ``publish`` raises.
        """
        if not self._session.capabilities.has_properties:
            raise ValueError("requests and responses need MQTT version 5")
        return await self._responses.ask(
            topic,
            payload,
            qos,
            self._session.timeout_s if timeout_s is None else timeout_s,
            response_topic,
            content_type,
            tuple(user_properties),
        )

    async def respond(self, request: Message, payload: bytes = b"", qos: int = 0, **properties: Any) -> int:
        """Answer a request that was received; ``properties`` and the rest as in ``publish``.

        ValueError if the message asks for no response.
        """
        if request.response_topic is None:
            raise ValueError("the message has no Response Topic: nobody waits for a response")
        return await self.publish(
            request.response_topic, payload, qos, correlation_data=request.correlation_data, **properties
        )

    # Subscribing.

    async def subscribe(
        self,
        filters: str | SubscriptionRequest | Iterable[str | SubscriptionRequest],
        qos: int = 0,
        *,
        subscription_identifier: int | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> tuple[int, ...]:
        """Subscribe to one filter or several, in one packet; the messages come to ``receive`` and ``async for``.

        ``qos`` is that of the filters given as text. Returns the server's reason codes in the order of the filters:
        the QoS that is granted, or 0x80 and above. Raises ValueError for a filter that is not well formed. A
        subscription that was granted is made again when the server has lost the session.
        """
        entries = _entries(filters, qos)
        request = Subscribe(1, entries, subscription_identifier, tuple(user_properties))
        codes = await self._session.ask(request, len(entries))
        self._session.standing.granted(request, codes)
        return codes

    async def unsubscribe(
        self, filters: str | Iterable[str], *, user_properties: Iterable[tuple[str, str]] = ()
    ) -> tuple[int, ...]:
        """Give up subscriptions. Returns the server's reason codes in the order of the filters; none below version 5.

        Raises ValueError for a filter that is not well formed.
        """
        names = (filters,) if isinstance(filters, str) else tuple(filters)
        for name in names:
            _check_filter(name)

        request = Unsubscribe(1, names, tuple(user_properties))
        self._session.standing.given_up(names)
        count = len(names) if self._session.capabilities.has_reason_codes else 0
        return await self._session.ask(request, count)

    @asynccontextmanager
    async def subscription(
        self, filters: str | SubscriptionRequest | Iterable[str | SubscriptionRequest], qos: int = 0
    ) -> AsyncIterator[Subscription]:
        """Subscribe for as long as the block lasts, with a row of messages of its own: ``async for`` over it.

        A row that is not emptied stops the reading of the connection, and so, by TCP, the server. What is left in
        it at the end is let go. Raises SubscriptionRefusedError if the server refuses one of the filters.
        """
        entries = _entries(filters, qos)
        names = tuple(entry.filter for entry in entries)
        identifier: int | None = None
        if self._session.capabilities.has_properties and self._session.connack.subscription_identifiers_available:
            # Counted down from the top, where a caller's own numbers will not be.
            self._last_identifier -= 1
            identifier = self._last_identifier
        # Before the answer: a retained message may come before it [MQTT-3.8.4-4].
        subscription = Subscription(self._session, names, identifier, ())
        self._session.subscriptions.append(subscription)
        try:
            subscription.reason_codes = await self.subscribe(entries, subscription_identifier=identifier)
            _check_granted(names, subscription.reason_codes)
            yield subscription
            if not self._session.is_leaving:
                await self.unsubscribe(names)
        except BaseException:
            # Whoever is in a hurry does not wait for the answer; and it may be the connection that has failed.
            self._session.unsubscribe_and_go(names)
            raise
        finally:
            self._session.subscriptions.remove(subscription)
            while (arrival := subscription.mailbox.pop()) is not None:
                self._session.taken(arrival)

    # Receiving.

    async def receive(self) -> Message:
        """The next message that no ``subscription`` takes, in the order of arrival; waits for it without limit.

        A message of QoS 1 or 2 is acknowledged when it is taken, not before: what nobody takes stays the server's.
        Raises DisconnectedError if the connection has ended for good and no message is left.
        """
        return await self._session.take_from(self._session.mailbox)

    def __aiter__(self) -> "Client":
        """The client itself: every task that iterates takes the next message that nobody has taken."""
        return self

    async def __anext__(self) -> Message:
        """As ``receive``; ends when we have left."""
        return await self._session.next_from(self._session.mailbox)

    # Authentication.

    async def reauthenticate(self) -> None:
        """Authenticate again on the connection that there is (4.12.1), by the method that ``connect`` was given.

        Raises AuthenticationError if the server does not prove what it should, DisconnectedError if it refuses us,
        ValueError without a method: the caller's fault.
        """
        if self._authentication is None:
            raise ValueError("there is no method of authentication to repeat")
        if self._session.reauthentication is not None:
            raise ValueError("a re-authentication is going on")
        async with self._session.waiting("the end of the re-authentication"):
            connection = await self._session.usable_connection()
            self._session.reauthentication = Reauthentication(self._authentication(), connection, self._session.version)
            try:
                await self._session.reauthentication.run()
            finally:
                self._session.reauthentication = None
            self._session.check_alive()

    def _check_supported(self, qos: int, retain: bool, topic_alias: int | None) -> None:
        if qos > self._session.connack.maximum_qos:  # [MQTT-3.2.2-11]
            raise UnsupportedByServerError(f"the server takes no more than QoS {self._session.connack.maximum_qos}")
        if retain and not self._session.connack.retain_available:  # [MQTT-3.2.2-14]
            raise UnsupportedByServerError("the server keeps no retained messages")
        if topic_alias is not None and topic_alias > self._session.connack.topic_alias_maximum:  # [MQTT-3.2.2-17]
            limit = self._session.connack.topic_alias_maximum
            raise UnsupportedByServerError(f"the Topic Alias {topic_alias}; the server takes no more than {limit}")


def _entries(
    filters: str | SubscriptionRequest | Iterable[str | SubscriptionRequest], qos: int
) -> tuple[SubscriptionRequest, ...]:
    if isinstance(filters, str | SubscriptionRequest):
        filters = (filters,)
    entries = tuple(SubscriptionRequest(one, qos) if isinstance(one, str) else one for one in filters)
    for entry in entries:
        _check_filter(entry.filter)
    return entries


def _check_filter(text: str) -> None:
    try:
        split_filter(text)
    except PacketError as error:
        raise ValueError(f"{text!r}: {error}") from None


def _check_granted(filters: tuple[str, ...], reason_codes: tuple[int, ...]) -> None:
    for name, code in zip(filters, reason_codes, strict=True):
        if code >= FIRST_FAILURE:
            raise SubscriptionRefusedError(name, code)
