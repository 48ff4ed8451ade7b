"""A small broker as it should be: what each client may and must receive. The oracle of ``test_sequences``.

It does not say in which packet or turn something comes, but what a session is owed, in which order within a topic and
a QoS, and what may be on its way at once. Plain lists and dicts; a filter is matched level by level.
"""

import math
from dataclasses import dataclass, field

from fuzz import wire

NEVER = 0xFFFFFFFF


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a Topic Filter matches a Topic Name (4.7)."""
    if topic.startswith("$") != topic_filter.startswith("$"):
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for i, one in enumerate(wanted):
        if one == "#":
            return True
        if i == len(levels) or one not in ("+", levels[i]):
            return False
    return len(wanted) == len(levels)


@dataclass(frozen=True)
class Message:
    """An application message, with the time at which it expires."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    expires_at: float = math.inf


@dataclass(frozen=True)
class Subscription:
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    identifier: int = 0


@dataclass
class Delivery:
    """A message that a session is owed, as it is to arrive."""

    message: Message
    qos: int
    retain: bool
    identifiers: tuple[int, ...]

    #: What the session owes the broker next, once it is sent: PUBACK, PUBREC, PUBCOMP.
    awaits: int = 0

    #: Whether it was sent on the connection that there is now.
    is_fresh: bool = True


@dataclass
class Will:
    message: Message
    delay_s: int

    #: How long the message is worth delivering once it is published; None: for good.
    expiry_s: int | None = None


@dataclass
class Session:
    client_id: str
    is_connected: bool = False
    version: int = 5
    expiry_s: int = 0
    ends_at: float = math.inf
    window: int = 65_535
    will: Will | None = None
    will_at: float = math.inf
    subscriptions: dict[str, Subscription] = field(default_factory=dict)

    #: Not sent yet, oldest first.
    owed: list[Delivery] = field(default_factory=list)

    #: Sent and not finished, by packet identifier, oldest first.
    sent: dict[int, Delivery] = field(default_factory=dict)

    #: QoS 2 messages of the client's that it has not released.
    held: dict[int, Message] = field(default_factory=dict)

    @property
    def in_window(self) -> int:
        return sum(delivery.is_fresh for delivery in self.sent.values())

    def owe(self, message: Message, qos: int, retain: bool, identifiers: tuple[int, ...]) -> None:
        if self.is_connected or qos:
            self.owed.append(Delivery(message, qos, retain, tuple(sorted(identifiers))))

    def drop_expired(self, now: float) -> None:
        self.owed = [delivery for delivery in self.owed if delivery.message.expires_at > now]


class Broker:
    """Sessions, retained messages and Wills, at a time that is set from outside."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, Message] = {}

    # --- messages ---

    def publish(self, message: Message, source: Session | None) -> int:
        """Owe the message to every session that it reaches; how many there are."""
        if message.expires_at <= self.now:
            return 0
        if message.retain:
            self.retained.pop(message.topic, None)
            if message.payload:
                self.retained[message.topic] = message
        reached = 0
        for session in self.sessions.values():
            found = [
                one
                for topic_filter, one in session.subscriptions.items()
                if matches(topic_filter, message.topic) and not (one.no_local and session is source)
            ]
            if found:
                reached += 1
                session.owe(
                    message,
                    min(message.qos, max(one.qos for one in found)),
                    message.retain and any(one.retain_as_published for one in found),
                    tuple(one.identifier for one in found if one.identifier),
                )
        return reached

    def owe_retained(self, session: Session, topic_filter: str, subscription: Subscription) -> None:
        for message in self.retained.values():
            if matches(topic_filter, message.topic) and message.expires_at > self.now:
                identifiers = (subscription.identifier,) if subscription.identifier else ()
                session.owe(message, min(message.qos, subscription.qos), True, identifiers)

    # --- sessions ---

    def connect(self, client_id: str, *, clean: bool) -> tuple[Session, bool]:
        """The session of a client that connects, and whether it was there before; whoever had it is gone."""
        session = self.sessions.get(client_id)
        if session is not None and session.is_connected:
            self.connection_ends(session, publish_will=True)
            session = self.sessions.get(client_id)
        if session is not None and clean:
            self.end(session)
            session = None
        present = session is not None
        if session is None:
            session = self.sessions[client_id] = Session(client_id)
        session.is_connected = True
        session.will = None  # it is back in time
        session.will_at = session.ends_at = math.inf
        for delivery in session.sent.values():
            delivery.is_fresh = False
        return session, present

    def connection_ends(self, session: Session, *, publish_will: bool) -> None:
        session.is_connected = False
        session.owed = [delivery for delivery in session.owed if delivery.qos]
        if not publish_will:
            session.will = None
        if session.will is not None:
            session.will_at = self.now + session.will.delay_s
        session.ends_at = math.inf if session.expiry_s == NEVER else self.now + session.expiry_s
        self.look_at(session)

    def look_at(self, session: Session) -> None:
        """Do what is due for a session without connection."""
        if session.ends_at <= self.now:
            self.end(session)
        elif session.will_at <= self.now:
            self._publish_will(session)

    def end(self, session: Session) -> None:
        del self.sessions[session.client_id]
        self._publish_will(session)

    def _publish_will(self, session: Session) -> None:
        will, session.will, session.will_at = session.will, None, math.inf
        if will is not None:
            message = will.message
            expires_at = math.inf if will.expiry_s is None else self.now + will.expiry_s
            self.publish(Message(message.topic, message.payload, message.qos, message.retain, expires_at), session)

    # --- time ---

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            waiting = [session for session in self.sessions.values() if not session.is_connected]
            due = min(waiting, key=lambda one: min(one.ends_at, one.will_at), default=None)
            if due is None or min(due.ends_at, due.will_at) > until:
                break
            self.now = min(due.ends_at, due.will_at)
            self.look_at(due)
        self.now = until
        for message in list(self.retained.values()):
            if message.expires_at <= until:
                del self.retained[message.topic]


class Receiver:
    """Judges what one session receives against what it is owed; each rule that is broken is an AssertionError."""

    def __init__(self, broker: Broker, session: Session) -> None:
        self.broker = broker
        self.session = session
        #: What has to be sent again on this connection, in the order in which it was sent first.
        self.again = [packet_id for packet_id, delivery in session.sent.items()]

    def publish(self, packet: wire.Packet) -> None:
        session = self.session
        session.drop_expired(self.broker.now)
        if packet.dup:
            delivery = self._sent_again(packet.packet_id)
            assert delivery.awaits in (wire.PUBACK, wire.PUBREC), "a message that has arrived is sent again"
            self._check(packet, delivery)
            return
        like = [one for one in session.owed if (one.message.topic.encode(), one.qos) == (packet.topic, packet.qos)]
        assert like, "nothing is owed of this topic and QoS"
        delivery = like[0]  # [MQTT-4.6.0-5] [MQTT-4.6.0-6]
        if packet.qos:
            assert packet.packet_id not in session.sent, "the packet identifier is in use"
            assert session.in_window < session.window, "more than the Receive Maximum at once"
            assert not self.again, "something new before what has to be sent again"
        self._check(packet, delivery)
        session.owed.remove(delivery)
        if packet.qos:
            delivery.awaits = wire.PUBACK if packet.qos == 1 else wire.PUBREC
            session.sent[packet.packet_id] = delivery

    def pubrel(self, packet: wire.Packet) -> None:
        """PUBREL: the answer to a PUBREC (taken out of the count by ``answer_pubrec``), or again after reconnecting."""
        delivery = self._sent_again(packet.packet_id)
        assert delivery.awaits == wire.PUBCOMP, "PUBREL without PUBREC"

    def settle(self) -> None:
        """Nothing more comes for now: whatever may be sent has been."""
        session = self.session
        session.drop_expired(self.broker.now)
        if session.in_window < session.window:
            assert not self.again, "not sent again"
            assert not session.owed, "not delivered"
        # Behind what the window holds back QoS 0 may wait, too: retained messages go before it.

    def acknowledged(self, packet_id: int) -> None:
        """The client has finished a delivery, or the part of it that it may have to be told again."""
        if packet_id in self.again:
            self.again.remove(packet_id)

    def _sent_again(self, packet_id: int) -> Delivery:
        assert packet_id in self.again, "sent again without need"
        delivery = self.session.sent[packet_id]
        same_kind = [
            one
            for one in self.again
            if (self.session.sent[one].awaits == wire.PUBCOMP) == (delivery.awaits == wire.PUBCOMP)
        ]
        assert same_kind[0] == packet_id, "not in the order in which it was sent first"  # [MQTT-4.6.0-1]
        assert self.session.in_window < self.session.window
        self.again.remove(packet_id)
        delivery.is_fresh = True
        return delivery

    def _check(self, packet: wire.Packet, delivery: Delivery) -> None:
        message = delivery.message
        assert packet.payload == message.payload
        assert packet.topic.decode() == message.topic
        assert packet.qos == delivery.qos
        assert packet.retain == delivery.retain
        if self.session.version == 5:
            assert tuple(sorted(packet.values(wire.SUBSCRIPTION_IDENTIFIER))) == delivery.identifiers
            left = [] if message.expires_at == math.inf else [max(0, message.expires_at - self.broker.now)]
            assert packet.values(wire.EXPIRY) == left  # [MQTT-3.3.2-6]
