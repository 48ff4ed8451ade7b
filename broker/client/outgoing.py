"""Messages that we send at QoS 1 and 2: their packet identifiers and where each flow stands, across connections.

A flow belongs to the session, not to the connection: where a connection is lost in the middle and the server has kept
the session, the flow goes on with the same packet identifier (4.4).
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import trio
from noctule._speedups.codec import Ack, encode_ack, encode_publish
from noctule.client.connection import Connection
from noctule.client.errors import ClientError, NoAnswerError, PublishRefusedError, SessionLostError
from noctule.protocol import (
    FIRST_FAILURE,
    PacketType,
    PropertyId,
    ProtocolVersion,
    ReasonCode,
    decode_property_block,
)

_PACKET_IDENTIFIERS: Final = 65_535


class PacketIdentifiers:
    """Gives out packet identifiers, those in use spared [MQTT-2.2.1-4]."""

    def __init__(self) -> None:
        self.last = 0
        self._used: set[int] = set()

    def take(self) -> int:
        """The next one. NoAnswerError if all are in use."""
        if len(self._used) >= _PACKET_IDENTIFIERS:
            raise NoAnswerError("every packet identifier is in use: the server answers nothing")
        packet_id = self.last
        while True:
            packet_id = packet_id % _PACKET_IDENTIFIERS + 1
            if packet_id not in self._used:
                break
        self.last = packet_id
        self._used.add(packet_id)
        return packet_id

    def free(self, packet_id: int) -> None:
        """It may be used again."""
        self._used.discard(packet_id)


@dataclass(slots=True, eq=False)
class Flight:
    """A message on its way to the server, until the server has acknowledged it completely."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool

    #: The property block; ``properties_again`` has no Topic Alias, which does not outlive a connection.
    properties: bytes
    properties_again: bytes

    packet_id: int

    #: What comes next from the server.
    expected: PacketType

    #: Whether the server may have it already; then it is sent again with DUP [MQTT-3.3.1-1].
    was_sent: bool = False

    #: The connection that it counts on against the server's Receive Maximum.
    counts_on: Connection | None = None

    #: Set when there is nothing more to wait for: it is acknowledged, or ``failure`` says why not.
    ended: trio.Event = field(default_factory=trio.Event)
    failure: ClientError | None = None
    reason_code: int = ReasonCode.SUCCESS
    reason_string: str | None = None

    def outcome(self) -> int:
        """The reason code of the acknowledgement. Raises what went wrong; PublishRefusedError for a refusal."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)
        if self.reason_code >= FIRST_FAILURE:
            raise PublishRefusedError(self.reason_code, self.reason_string)
        return self.reason_code


class OutgoingFlows:
    """The messages in flight, in the order in which they were published."""

    def __init__(self, version: ProtocolVersion, identifiers: PacketIdentifiers) -> None:
        self._version = version
        self._identifiers = identifiers
        self._flights: dict[int, Flight] = {}
        #: What is to be sent when the server's Receive Maximum allows.
        self._waiting: deque[Flight] = deque()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._flights)

    def open(
        self, topic: bytes, payload: bytes, qos: int, retain: bool, properties: bytes, properties_again: bytes
    ) -> Flight:
        """A new message, to be sent by the next ``pump``."""
        expected = PacketType.PUBACK if qos == 1 else PacketType.PUBREC
        flight = Flight(topic, payload, qos, retain, properties, properties_again, self._identifiers.take(), expected)
        self._flights[flight.packet_id] = flight
        self._waiting.append(flight)
        return flight

    def forget(self, flight: Flight) -> None:
        """Nobody waits for the message any more: it is not sent if it was not. What was sent stays in flight."""
        if not flight.was_sent and self._flights.get(flight.packet_id) is flight:
            self._waiting.remove(flight)
            self._close(flight)

    def pump(self, connection: Connection) -> list[Flight]:
        """Send what may be sent now, in order; these come back."""
        sent: list[Flight] = []
        # [MQTT-3.3.4-7] of the server, [MQTT-4.9.0-1]: no more than its Receive Maximum.
        while self._waiting and connection.unacknowledged < connection.connack.receive_maximum:
            flight = self._waiting.popleft()
            properties = flight.properties_again if flight.was_sent else flight.properties
            connection.send(
                encode_publish(
                    flight.topic,
                    flight.payload,
                    self._version,
                    flight.qos,
                    flight.retain,
                    flight.was_sent,
                    flight.packet_id,
                    properties,
                )
            )
            flight.was_sent = True
            flight.counts_on = connection
            connection.unacknowledged += 1
            sent.append(flight)
        return sent

    def take_ack(self, ack: Ack) -> tuple[bool, bytes | None]:
        """Act on PUBACK, PUBREC or PUBCOMP: whether a flow has ended, and what is to be sent."""
        flight = self._flights.get(ack.packet_id)
        if flight is None or flight.expected != ack.packet_type:
            # Of a session that was here before us. A PUBREC must have its PUBREL all the same  [MQTT-4.3.3-4].
            if ack.packet_type != PacketType.PUBREC or ack.reason_code >= FIRST_FAILURE:
                return False, None
            known = flight is not None and flight.expected is PacketType.PUBCOMP
            code = ReasonCode.SUCCESS if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
            return False, encode_ack(PacketType.PUBREL, ack.packet_id, self._version, code)
        if ack.packet_type == PacketType.PUBREC and ack.reason_code < FIRST_FAILURE:
            flight.expected = PacketType.PUBCOMP
            flight.reason_code = ack.reason_code
            return False, encode_ack(PacketType.PUBREL, ack.packet_id, self._version)
        if ack.packet_type != PacketType.PUBCOMP:
            flight.reason_code = ack.reason_code
        if ack.properties:
            values = decode_property_block(ack.properties, ack.packet_type)
            flight.reason_string = values.get(PropertyId.REASON_STRING)
        self._close(flight)
        return True, None

    def resume(self, connection: Connection) -> None:
        """The server has kept the session: go on where each flow stands, in the old order  [MQTT-4.4.0-1]."""
        self._waiting.clear()
        for flight in self._flights.values():
            flight.counts_on = None
            if flight.expected is PacketType.PUBCOMP:
                connection.send(encode_ack(PacketType.PUBREL, flight.packet_id, self._version))
            else:
                self._waiting.append(flight)

    def begin_anew(self) -> None:
        """The server has lost the session.

        A message of QoS 1 is sent as if for the first time, and so is what was never sent. Of QoS 2 it is done if
        the server has said that it has the message (PUBREC), and ends in SessionLostError if that is not known.
        """
        self._waiting.clear()
        for flight in list(self._flights.values()):
            flight.counts_on = None
            if flight.expected is PacketType.PUBCOMP:
                self._close(flight)
            elif flight.qos == 2 and flight.was_sent:
                flight.failure = SessionLostError("the server lost the session in the middle of a message of QoS 2")
                self._close(flight)
            else:
                flight.was_sent = False
                self._waiting.append(flight)

    def fail_all(self, failure: ClientError) -> None:
        """There will be no connection again: everybody is told."""
        for flight in self._flights.values():
            if not flight.ended.is_set():
                flight.failure = failure
                flight.ended.set()

    def _close(self, flight: Flight) -> None:
        del self._flights[flight.packet_id]
        self._identifiers.free(flight.packet_id)
        if flight.counts_on is not None:
            flight.counts_on.unacknowledged -= 1
            flight.counts_on = None
        flight.ended.set()
