"""SUBSCRIBE and UNSUBSCRIBE packets that wait for their answers, on one connection."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import trio
from noctule.client.connection import Connection
from noctule.client.outgoing import PacketIdentifiers
from noctule.protocol import (
    PacketError,
    PacketType,
    ProtocolVersion,
    ReasonCode,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    encode_subscribe,
    encode_unsubscribe,
)


@dataclass(slots=True, eq=False)
class Question:
    """One packet that waits."""

    expected: PacketType

    #: Set when there is nothing more to wait for: the answer has come, or the connection has ended.
    ended: trio.Event = field(default_factory=trio.Event)
    is_answered: bool = False
    reason_codes: tuple[int, ...] = ()

    #: Of a subscription that is made again after the session was lost.
    again: Subscribe | None = None


class Questions:
    """All that wait, by packet identifier. ``log`` writes what was sent."""

    def __init__(self, version: ProtocolVersion, identifiers: PacketIdentifiers, log: Callable[..., None]) -> None:
        self._version = version
        self._identifiers = identifiers
        self._log = log
        self._waiting: dict[int, Question] = {}

    @property
    def has_repeated(self) -> bool:
        """Whether subscriptions that are made again still wait."""
        return any(one.again is not None for one in self._waiting.values())

    def encoded(self, request: Subscribe | Unsubscribe) -> bytes:
        """The packet. ValueError for what cannot be asked for."""
        if isinstance(request, Subscribe):
            return encode_subscribe(request, self._version)
        return encode_unsubscribe(request, self._version)

    def send(
        self, connection: Connection, request: Subscribe | Unsubscribe, again: Subscribe | None = None
    ) -> Question:
        """Ask; the packet identifier in ``request`` stands for the one that is chosen here."""
        packet_id = self._identifiers.take()
        expected = PacketType.SUBACK if isinstance(request, Subscribe) else PacketType.UNSUBACK
        question = self._waiting[packet_id] = Question(expected, again=again)
        connection.send(self.encoded(replace(request, packet_id=packet_id)))
        if isinstance(request, Subscribe):
            for entry in request.entries:
                options = entry.retain_handling << 4 | entry.retain_as_published << 3 | entry.no_local << 2
                text = "sending SUBSCRIBE (Mid: %d, Topic: %s, QoS: %d, Options: 0x%02x)"
                self._log(text, packet_id, entry.filter, entry.qos, options)
        else:
            for topic_filter in request.filters:
                self._log("sending UNSUBSCRIBE (Mid: %d, Topic: %s)", packet_id, topic_filter)
        return question

    def answer(self, packet_type: PacketType, packet: Suback | Unsuback) -> Question:
        """An answer has come. PacketError, the server's fault, if nobody has asked."""
        question = self._waiting.get(packet.packet_id)
        if question is None or question.expected is not packet_type:
            raise PacketError(ReasonCode.PROTOCOL_ERROR, f"{packet_type.name} for nothing that was asked")
        question.reason_codes = packet.reason_codes
        del self._waiting[packet.packet_id]
        self._identifiers.free(packet.packet_id)
        question.is_answered = True
        question.ended.set()
        return question

    def connection_lost(self) -> None:
        """No answers will come to what was asked on it."""
        for packet_id, question in self._waiting.items():
            self._identifiers.free(packet_id)
            question.ended.set()
        self._waiting.clear()
