"""One connection of a bridge: the other broker on one side, the session here on the other, packets crossing."""

import logging
from collections.abc import Iterable
from typing import Final

import trio
from noctule._speedups.codec import encode_publish
from noctule.bridges.crossing import Crossing, CrossingLimits
from noctule.bridges.doubtful_identifiers import DoubtfulIdentifiers
from noctule.bridges.here import LocalSession, log_refused
from noctule.bridges.local_end import LocalEnd
from noctule.bridges.pacing import Pace
from noctule.bridges.remote import Preparation, subscribe_packets, unsubscribe_packets
from noctule.client.connection import GOODBYE_S, Connection
from noctule.client.handshake import Established
from noctule.config.bridges import Notifications
from noctule.config.limits import BRIDGE_INBOX_MAX_BYTES
from noctule.protocol import (
    PINGREQ,
    Disconnect,
    PacketError,
    PacketType,
    ReasonCode,
    decode_connack,
    decode_disconnect,
    decode_suback,
    decode_unsuback,
    describe,
)

_ACKNOWLEDGEMENTS: Final = (PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP)

_logger = logging.getLogger("noctule.bridges")


class Span:
    """``run`` carries it until either side ends it or ``end`` is called."""

    def __init__(
        self,
        preparation: Preparation,
        local: LocalSession,
        established: Established,
        doubtful: DoubtfulIdentifiers | None,
        early: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        """``early``: messages of QoS 0 of this broker's that wait already."""
        settings = preparation.settings
        connack = established.connack
        self.has_opened = False
        #: When a message was last taken from either side, on trio's clock.
        self.last_message_at = trio.current_time()
        self._settings = settings
        self._version = established.request.version
        self._connack = connack
        self._local = local
        self._doubtful = doubtful
        self._early = tuple(early)
        self.crossing = Crossing(
            local.topics,
            self._version,
            CrossingLimits(
                packet_max_there=_least(connack.maximum_packet_size, settings.packet_max_bytes),
                packet_max_here=local.here.state.settings.limits.packet_max_bytes,
                unreleased_max=local.here.state.settings.limits.receive_maximum,
                unreleased_max_bytes=local.here.state.settings.limits.queue_max_bytes,
                qos_max_there=connack.maximum_qos,
                sends_retained=settings.outgoing_retain and connack.retain_available,
            ),
            doubtful,
            self._log_dropped,
        )
        self._connection = Connection(established, self, settings.answer_timeout_s)
        self._end_here = LocalEnd(self._take_here, self._until_sent)
        self._pace: Pace | None = None
        if settings.rate_max_per_s is not None:
            self._pace = Pace(settings.rate_max_per_s, self._connection.send, self._drop_for_rate)
        self._held = bytearray()  # of the other broker's, until this one has accepted the bridge
        self._is_present = False
        self._answered = trio.Event()  # by this broker, to CONNECT
        self._over = trio.Event()
        self._why = ""
        #: Whether it was ended so that another connection takes its place without a wait.
        self.is_followed_at_once = False
        self._keep_alive_s = 0
        self._quiet_until = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether both brokers have the bridge."""
        return self.has_opened and not self._over.is_set()

    def end(self, why: str, *, is_followed_at_once: bool = False) -> None:
        """End it; the first reason is the one that counts."""
        if not self._why:
            self._why = why
            self.is_followed_at_once = is_followed_at_once
        self._over.set()
        self._answered.set()

    async def run(self, opened: trio.Event) -> str:
        """Carry messages until the end; why it came is returned. ``opened`` is set when both brokers have accepted."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._carry_there)
            nursery.start_soon(self._carry_here)
            await self._open()
            if not self._over.is_set():
                opened.set()
                if self._pace is not None:
                    nursery.start_soon(self._pace.run)
                if self._keep_alive_s:
                    nursery.start_soon(self._keep_alive_here)
            try:
                await self._over.wait()
            finally:
                await self._leave()
            nursery.cancel_scope.cancel()
        return self._why

    async def _carry_there(self) -> None:
        failure = await self._connection.run()
        self.end(str(failure))

    async def _carry_here(self) -> None:
        await self._local.serve(self._end_here, self._settings.inflight_max_there)
        self.end("this broker has ended the connection of the bridge")

    async def _open(self) -> None:
        """Connect here, and subscribe on both sides."""
        growth = max(0, self._local.topics.growth_bytes)
        packet_max = _least(self._connack.maximum_packet_size, self._settings.packet_max_bytes)
        self._keep_alive_s = self._local.here.state.settings.keep_alive_max_s
        self._local.take_over()
        self._end_here.give(
            self._local.connect_packet(
                self._version, self._connack, None if packet_max is None else max(1, packet_max - growth)
            )
        )
        with trio.move_on_after(self._settings.answer_timeout_s):
            await self._answered.wait()
        if not self._answered.is_set():
            self.end("this broker does not answer the bridge")
        session = self._local.session
        if self._over.is_set() or session is None:
            return
        self._local.take_over()
        for packet_id in session.unreleased_ids():
            if self._connack.session_present:
                self.crossing.note_unreleased(packet_id)
            else:
                # Nobody will release what the other broker's forgotten session has sent: it has arrived.
                self.crossing.release_here(packet_id)
        self._end_here.give(self.crossing.take_to_here())
        for packet in self._local.subscribe(self._version, is_present=self._is_present):
            self._end_here.give(packet)
        self._local.new_filters.clear()
        self._end_here.give(bytes(self._held))
        self._held.clear()
        self.has_opened = True
        self._subscribe_there()
        if self._settings.notifications is Notifications.BOTH:
            self._tell_there(b"1")
        for first, body in self._early:
            self._take_here(first, body)

    def _subscribe_there(self) -> None:
        topics, settings = self._local.topics, self._settings
        ids = self._local.free_packet_ids()
        stale = dict.fromkeys(self._local.stale_filters_there)
        if settings.attempt_unsubscribe:
            stale |= dict.fromkeys(topics.filters_only_out)
        for packet in unsubscribe_packets(stale, self._version, ids):
            self._connection.send(packet)
        for packet, _ in subscribe_packets(topics.filters_there, self._version, settings.retain_handling, ids):
            self._connection.send(packet)

    def _tell_there(self, state: bytes) -> None:
        topic = self._settings.state_topic.encode()
        self._connection.send(encode_publish(topic, state, self._version, 0, self._connack.retain_available))

    async def _leave(self) -> None:
        """Say goodbye to the other broker, if it is there; to this one the connection is lost, and messages wait."""
        with trio.CancelScope(shield=True):
            self._end_here.end()
            if self._connection.failure is None:
                if self._settings.notifications is Notifications.BOTH:
                    self._tell_there(b"0")
                await self._connection.leave(Disconnect(), GOODBYE_S)

    async def _keep_alive_here(self) -> None:
        """This broker wants to hear of every client."""
        while True:
            await trio.sleep(self._keep_alive_s / 2)
            self._end_here.give(PINGREQ)

    # --- from here ---

    def _take_here(self, first: int, body: bytes) -> None:
        """One packet of this broker's."""
        packet_type = first >> 4
        if packet_type == PacketType.PUBLISH:
            self.last_message_at = trio.current_time()
            self.crossing.message_from_here(first, body)
            if self._pace is not None:
                packets = self.crossing.take_to_there()
                if packets:
                    self._pace.put(packets)
        elif packet_type in _ACKNOWLEDGEMENTS:
            self.crossing.acknowledgement_from_here(first, body)
        elif packet_type == PacketType.CONNACK:
            connack = decode_connack(body, self._version, first)
            if connack.reason_code:
                self.end(f"this broker refuses the bridge: {describe(connack.reason_code)}")
            self._is_present = connack.session_present
            self._answered.set()
        elif packet_type == PacketType.SUBACK:
            codes = decode_suback(body, self._version, first).reason_codes
            log_refused(codes, f"Bridge {self._settings.name}: this broker")
        elif packet_type == PacketType.DISCONNECT:
            packet = decode_disconnect(body, self._version, first, from_server=True)
            self.end(f"this broker has ended the connection of the bridge: {describe(packet.reason_code)}")
        self._flush()

    async def _until_sent(self) -> None:
        """Return when the other side has taken what it was sent: till then messages stay in the session."""
        await trio.lowlevel.checkpoint()
        while self._connection.has_unsent and self._connection.failure is None and not self._over.is_set():
            await self._connection.changed()

    # --- from there: ``client.connection.Receiver`` ---

    def take(self, connection: Connection, first: int, body: bytes) -> None:
        """One packet of the other broker's. PacketError for its fault."""
        del connection
        packet_type = first >> 4
        if packet_type == PacketType.PUBLISH:
            self.last_message_at = trio.current_time()
            self.crossing.message_from_there(first, body)
        elif packet_type in _ACKNOWLEDGEMENTS:
            self.crossing.acknowledgement_from_there(first, body)
        elif packet_type == PacketType.SUBACK:
            codes = decode_suback(body, self._version, first).reason_codes
            log_refused(codes, f"Bridge {self._settings.name}: the other broker")
        elif packet_type == PacketType.UNSUBACK:
            decode_unsuback(body, self._version, first)
        else:
            raise PacketError(ReasonCode.PROTOCOL_ERROR, f"a packet of type {packet_type} that no client is sent")
        self._flush()

    async def until_room(self, connection: Connection) -> None:
        """Return when this broker has taken enough of what has come."""
        while (
            connection.failure is None
            and not self._over.is_set()
            and self._end_here.waiting_bytes + len(self._held) > BRIDGE_INBOX_MAX_BYTES
        ):
            connection.reading_is_paused = True
            await self._end_here.until_taken()
        if connection.reading_is_paused:
            connection.reading_resumed()

    def log(self, text: str, *arguments: object) -> None:
        """Packets are not logged."""

    # --- both ---

    def _flush(self) -> None:
        crossing = self.crossing
        if crossing.to_there:
            self._connection.send(crossing.take_to_there())
        if crossing.to_here:
            if self.has_opened:
                self._end_here.give(crossing.take_to_here())
            else:
                self._held += crossing.take_to_here()
        if crossing.why_over:
            self.end(crossing.why_over)

    def _drop_for_rate(self) -> None:
        self.crossing.dropped += 1
        self._log_dropped("dropped: a message of QoS 0 that came faster than max_messages_per_second")

    def _log_dropped(self, text: str) -> None:
        """At most once in a minute."""
        now = trio.current_time()
        if now >= self._quiet_until:
            self._quiet_until = now + 60
            _logger.warning("Bridge %s: %s (%d so far)", self._settings.name, text, self.crossing.dropped)


def _least(*limits: int | None) -> int | None:
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None
