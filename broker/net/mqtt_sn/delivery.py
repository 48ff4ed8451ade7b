"""Messages on their way to one device: registered where need be, one at a time, sent again until they are answered.

The specification allows one message of QoS 1 or 2 in each direction (6.6) and one REGISTER (6.5); here nothing at all
is sent behind a message that waits for its answer, so that the order stays.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from noctule.config import limits
from noctule.config.mqtt_sn import MqttSnSettings
from noctule.net.mqtt_sn.counts import Counts
from noctule.net.mqtt_sn.messages import (
    Message,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Regack,
    Register,
    ReturnCode,
    TopicId,
    TopicIdType,
)
from noctule.net.mqtt_sn.packets import encode
from noctule.net.mqtt_sn.topics import TopicIds
from noctule.net.mqtt_sn.upstream import Delivery, Upstream
from noctule.protocol.reason_codes import ReasonCode

_NEVER: Final = float("inf")

#: How much more than it has sent a device may be sent while it is not verified; as QUIC has it (RFC 9000, 8.1).
_AMPLIFICATION_MAX: Final = 3

#: How often one message is registered anew because the device does not know its topic id.
_REGISTRATIONS_MAX: Final = 3


class _Phase(Enum):
    """What the message that is under way waits for."""

    REGACK = auto()
    PUBACK = auto()
    PUBREC = auto()

    #: The broker's PUBREL.
    PUBREL = auto()
    PUBCOMP = auto()


@dataclass(slots=True)
class _Flight:
    """The message that is under way."""

    delivery: Delivery
    phase: _Phase

    #: Of the REGISTER; of the others it is the packet identifier.
    register_id: int = 0
    topic_number: int = 0
    registrations: int = 0

    #: How often what it waits for an answer to was sent.
    sent: int = 0
    dup: bool = False


class Deliveries:
    """The way to one device. ``send`` gets whole datagrams; ``random_id`` makes message ids that nobody can guess."""

    def __init__(
        self,
        settings: MqttSnSettings,
        topics: TopicIds,
        send: Callable[[bytes], None],
        random_id: Callable[[], int],
        counts: Counts,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._send = send
        self._random_id = random_id
        self._counts = counts
        self._upstream: Upstream | None = None
        self._queue: deque[Delivery | int] = deque()  # messages, and packet identifiers to release
        self._queued_bytes = 0
        self._queued_messages = 0
        self._flight: _Flight | None = None
        self._is_paused = True
        self._is_going_on = False
        self._allowance = 0
        #: When something is to be sent again; infinity where nothing is.
        self.deadline = _NEVER
        #: Whether what is under way waits until the device is heard of.
        self.is_held = False
        #: Whether the device has proven that it receives what is sent to its address.
        self.is_verified = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return self._flight is None and not self._queue

    @property
    def queued_messages(self) -> int:
        """Messages that wait, without the one under way."""
        return self._queued_messages

    @property
    def queued_bytes(self) -> int:
        """The same in bytes."""
        return self._queued_bytes

    def begin(self, upstream: Upstream) -> None:
        """A new connection: nothing of an earlier one is left."""
        self._upstream = upstream
        self._queue.clear()
        self._queued_bytes = self._queued_messages = 0
        self._finish()
        self._is_paused = False
        self.is_verified = not self._settings.verify_addresses
        self._allowance = limits.MQTT_SN_UNVERIFIED_BYTES_MAX

    def pause(self) -> None:
        """Send nothing more until ``resume``: the device sleeps."""
        self._is_paused = True
        self.deadline = _NEVER
        self.is_held = False

    def resume(self, now: float) -> None:
        """The device is awake: what was under way is sent again, then what has waited."""
        self._is_paused = False
        flight = self._flight
        if flight is None:
            self._go_on(now)
        elif flight.phase is not _Phase.PUBREL:
            flight.sent = 0
            self._transmit(flight, now)

    # --- from the broker ---

    def add(self, delivery: Delivery, now: float) -> None:
        """Take a message; where too many wait, the oldest that the broker does not keep is dropped."""
        self._queue.append(delivery)
        self._queued_messages += 1
        self._queued_bytes += delivery.size
        while (
            self._queued_messages > self._settings.buffer_max_messages
            or self._queued_bytes > self._settings.buffer_max_bytes
        ):
            if not self._drop_oldest():
                break
        self._go_on(now)

    def _drop_oldest(self) -> bool:
        for index, item in enumerate(self._queue):
            if isinstance(item, Delivery) and not item.is_kept:
                del self._queue[index]
                self._queued_messages -= 1
                self._queued_bytes -= item.size
                self._counts.messages_dropped += 1
                return True
        return False

    def release(self, packet_id: int, now: float) -> None:
        """The broker's PUBREL."""
        flight = self._flight
        if flight is not None and flight.phase is _Phase.PUBREL and flight.delivery.packet_id == packet_id:
            flight.phase = _Phase.PUBCOMP
            flight.sent = 0
            self._transmit(flight, now)
            return
        self._queue.append(packet_id)
        self._go_on(now)

    # --- from the device ---

    def heard(self, size: int, now: float) -> None:
        """A datagram of so many bytes has come from the device, and has been handled."""
        if not self.is_verified:
            self._allowance += _AMPLIFICATION_MAX * size
        flight = self._flight
        if self.is_held and flight is not None and not self._is_paused:
            if flight.sent > self._settings.retry_count:
                flight.sent = 0
            self._transmit(flight, now)

    def answered(self, message: Regack | Puback | Pubrec | Pubcomp, now: float) -> bool:
        """An answer of the device's; False where nothing waits for it."""
        flight = self._flight
        if isinstance(message, Puback) and message.message_id == 0:
            # About a message of QoS 0: the next one of this topic goes behind a REGISTER.
            self._topics.set_number_unknown(message.topic_id)
            return True
        if flight is None or self._upstream is None:
            return False
        if isinstance(message, Regack):
            return self._registered(flight, message, now)
        if message.message_id != flight.delivery.packet_id:
            return False
        if isinstance(message, Puback):
            return self._acknowledged(flight, message, now)
        if isinstance(message, Pubrec):
            if flight.phase is _Phase.PUBREC:
                self._wait_for(flight, _Phase.PUBREL)
                self._upstream.pubrec(flight.delivery.packet_id)
            elif flight.phase is _Phase.PUBCOMP:
                self._transmit(flight, now)  # it has not seen the PUBREL
            return flight.phase in (_Phase.PUBREL, _Phase.PUBCOMP)
        if flight.phase is not _Phase.PUBCOMP:
            return False
        self._finish()
        self._upstream.pubcomp(flight.delivery.packet_id)
        self._go_on(now)
        return True

    def _registered(self, flight: _Flight, message: Regack, now: float) -> bool:
        # Without its topic id some clients answer a refusal; the message id is what proves the address.
        if flight.phase is not _Phase.REGACK or message.message_id != flight.register_id:
            return False
        self.is_verified = True
        if message.return_code == ReturnCode.ACCEPTED:
            self._topics.set_known(flight.topic_number)
        elif message.return_code == ReturnCode.CONGESTION:
            return True  # it is sent again when its time has come
        topic_id = self._topics.to_send(flight.delivery.topic)
        if topic_id is None:
            self._give_up(flight, now)
        else:
            self._publish(flight, now)
        return True

    def _acknowledged(self, flight: _Flight, message: Puback, now: float) -> bool:
        """PUBACK: the answer at QoS 1, and at QoS 2 a refusal."""
        if flight.phase not in (_Phase.PUBACK, _Phase.PUBREC) or self._upstream is None:
            return False
        match message.return_code:
            case ReturnCode.ACCEPTED:
                if flight.phase is not _Phase.PUBACK:
                    return False
                self._finish()
                self._upstream.puback(flight.delivery.packet_id)
                self._go_on(now)
            case ReturnCode.CONGESTION:
                pass  # it is sent again when its time has come
            case ReturnCode.INVALID_TOPIC_ID if flight.registrations < _REGISTRATIONS_MAX:
                self._topics.set_unknown(flight.delivery.topic)
                self._register(flight, now)
            case _:
                self._give_up(flight, now)
        return True

    # --- on its way ---

    def tick(self, now: float) -> None:
        """Send again what has waited for its answer for long enough."""
        flight = self._flight
        if flight is None or now < self.deadline:
            return
        if flight.sent > self._settings.retry_count:
            self._hold()
            return
        flight.dup = flight.phase in (_Phase.PUBACK, _Phase.PUBREC)
        self._counts.retransmissions += 1
        self._transmit(flight, now)

    def _go_on(self, now: float) -> None:
        """Begin with what waits, until something has to be waited for."""
        if self._is_going_on:
            return  # what is asked for within the loop goes on in it
        self._is_going_on = True
        try:
            while self._queue and self._flight is None and not self._is_paused:
                self._next(self._queue.popleft(), now)
        finally:
            self._is_going_on = False

    def _next(self, item: Delivery | int, now: float) -> None:
        if isinstance(item, Delivery):
            self._queued_messages -= 1
            self._queued_bytes -= item.size
            self._begin(item, now)
        else:
            # Of a message that an earlier connection has delivered.
            self._flight = _Flight(Delivery("", b"", 2, packet_id=item), _Phase.PUBCOMP)
            self._transmit(self._flight, now)

    def _begin(self, delivery: Delivery, now: float) -> None:
        self._flight = flight = _Flight(delivery, _Phase.REGACK, dup=delivery.dup)
        if len(encode(self._publish_of(flight, TopicId(TopicIdType.NORMAL, 0)))) > self._settings.message_max_bytes:
            self._give_up(flight, now)
        elif not self.is_verified or self._topics.to_send(delivery.topic) is None:
            self._register(flight, now)
        else:
            self._publish(flight, now)

    def _register(self, flight: _Flight, now: float) -> None:
        number = self._topics.give(flight.delivery.topic)
        if number is None:
            self._give_up(flight, now)
            return
        flight.topic_number = number
        flight.register_id = self._random_id()
        flight.registrations += 1
        flight.sent = 0
        flight.phase = _Phase.REGACK
        if len(encode(self._register_of(flight))) > self._settings.message_max_bytes:
            self._give_up(flight, now)
            return
        self._transmit(flight, now)

    def _publish(self, flight: _Flight, now: float) -> None:
        delivery = flight.delivery
        flight.sent = 0
        if delivery.qos == 0:
            self._send_message(self._message_of(flight, _Phase.PUBACK))
            self._finish()
            self._go_on(now)
            return
        flight.phase = _Phase.PUBACK if delivery.qos == 1 else _Phase.PUBREC
        self._transmit(flight, now)

    def _transmit(self, flight: _Flight, now: float) -> None:
        """Send what the flight waits for an answer to, as far as the device may be sent anything."""
        if self._is_paused:
            return
        datagram = encode(self._message_of(flight, flight.phase))
        if not self.is_verified:
            if len(datagram) > self._allowance:
                self._hold()
                return
            self._allowance -= len(datagram)
        flight.sent += 1
        self.is_held = False
        self.deadline = now + self._settings.retry_interval_s
        self._send(datagram)

    def _message_of(self, flight: _Flight, phase: _Phase) -> Message:
        if phase is _Phase.REGACK:
            return self._register_of(flight)
        if phase is _Phase.PUBCOMP:
            return Pubrel(flight.delivery.packet_id)
        topic_id = self._topics.to_send(flight.delivery.topic)
        if topic_id is None:
            # The device has said meanwhile that it does not know the id: it says so again, and is told.
            topic_id = TopicId(TopicIdType.NORMAL, flight.topic_number)
        return self._publish_of(flight, topic_id)

    def _register_of(self, flight: _Flight) -> Register:
        return Register(flight.topic_number, flight.register_id, flight.delivery.topic)

    def _publish_of(self, flight: _Flight, topic_id: TopicId) -> Publish:
        delivery = flight.delivery
        return Publish(topic_id, delivery.payload, delivery.qos, delivery.packet_id, delivery.retain, flight.dup)

    def _send_message(self, message: Message) -> None:
        self._send(encode(message))

    def _wait_for(self, flight: _Flight, phase: _Phase) -> None:
        flight.phase = phase
        self.deadline = _NEVER
        self.is_held = False

    def _hold(self) -> None:
        self.deadline = _NEVER
        self.is_held = True

    def _finish(self) -> None:
        self._flight = None
        self.deadline = _NEVER
        self.is_held = False

    def _give_up(self, flight: _Flight, now: float) -> None:
        """The device cannot be given this message: too large, no topic id left, or it will not have it."""
        self._counts.messages_dropped += 1
        self._finish()
        if self._upstream is not None:
            code = ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR
            if flight.delivery.qos == 1:
                self._upstream.puback(flight.delivery.packet_id, code)
            elif flight.delivery.qos == 2:
                self._upstream.pubrec(flight.delivery.packet_id, code)
        self._go_on(now)
