"""Whatever clients do, in whatever order: each receives what the model of a small broker owes it, and nothing else.

Three client identifiers, each used with 3.1.1 and with 5 in turn. After each step everything that the broker has
written is read; whether and when it is acknowledged is a step of its own.
"""

import math
from typing import NamedTuple

from fuzz import model, wire
from handlers.direct_links import START_S, DirectBroker
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from noctule._speedups.link import CLOSED, ENDING, OPEN
from noctule.config.settings import Settings

CLIENT_IDS = ("a", "b", "c")
TOPICS = ("x", "x/y", "x/y/z", "$x/y", "long/enough/for/an/alias")
FILTERS = (*TOPICS, "#", "+", "x/#", "x/+", "+/y", "+/+/z", "$x/#", "will/+", "long/#")

#: Below Receive Maximum 65,535 and so what holds for 3.1.1.
INFLIGHT_MAX = 4


class Client:
    """One connection, and what its client has to do with its acknowledgements."""

    def __init__(self, broker: DirectBroker, version: int) -> None:
        self.broker = broker
        self.version = version
        self.link = broker.open().link
        self.stream = wire.ServerStream(version)
        self.receiver: model.Receiver | None = None

    def send(self, packet: bytes) -> list[wire.Packet]:
        """Send, and read everything that comes of it on this connection."""
        self.link.feed(packet)
        return self.read()

    def read(self) -> list[wire.Packet]:
        found = []
        self.broker.state.plane.flush()
        while data := self.link.take_output():
            found += self.stream.read(data)
            self.link.output_sent()
            self.broker.state.plane.flush()
        return found

    def judge(self, packets: list[wire.Packet]) -> list[wire.Packet]:
        """Check deliveries against the model; what else has come is handed back."""
        assert self.receiver is not None
        others = []
        for packet in packets:
            if packet.kind == wire.PUBLISH:
                self.receiver.publish(packet)
            elif packet.kind == wire.PUBREL:
                self.receiver.pubrel(packet)
            else:
                others.append(packet)
        return others


class Asked(NamedTuple):
    """What a CONNECT asks for; what 3.1.1 lacks is left out there."""

    version: int
    clean: bool
    expiry_s: int
    window: int | None
    aliases: int

    #: QoS, RETAIN, delay and Message Expiry Interval.
    will: tuple[int, bool, int, int | None] | None


asked_of_connect = st.builds(
    Asked,
    version=st.sampled_from([5, 5, 4]),
    clean=st.sampled_from([False, False, False, True]),
    expiry_s=st.sampled_from([model.NEVER, model.NEVER, 20, 5, 0]),
    window=st.sampled_from([None, 1, 2]),
    aliases=st.sampled_from([0, 2]),
    will=st.none()
    | st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from([0, 0, 3, 30]), st.sampled_from([None, 7])),
)

#: How the last connections ask, that finish everything.
TO_FINISH = Asked(5, False, model.NEVER, None, 0, None)
TO_END = Asked(5, True, 0, None, 0, None)


class Sequences(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.broker = DirectBroker(Settings(client_id_ownership=False), inflight_max=INFLIGHT_MAX)
        self.model = model.Broker(START_S)
        self.clients: dict[str, Client] = {}
        self.count = 0

    # --- the parts of a step ---

    def client(self, data: st.DataObject) -> tuple[Client, model.Session]:
        client_id = data.draw(st.sampled_from(sorted(self.clients)), label="client")
        return self.clients[client_id], self.model.sessions[client_id]

    def payload(self) -> bytes:
        self.count += 1
        return b"%d" % self.count

    def exchange(self, client: Client, packet: bytes, kind: int) -> wire.Packet:
        """Send a packet and give the one that answers it; deliveries may come beside it."""
        (answer,) = client.judge(client.send(packet))
        assert answer.kind == kind
        return answer

    def forget(self, client_id: str) -> None:
        """The model's session is without connection now; its client has been told, or cannot be."""
        client = self.clients.pop(client_id)
        assert client.link.state in (CLOSED, ENDING)
        client.link.close()

    def leave(self, client: Client, session: model.Session, *, publish_will: bool) -> None:
        self.model.connection_ends(session, publish_will=publish_will)
        assert client.read() == []
        self.forget(session.client_id)

    @invariant()
    def everybody_has_what_is_owed(self) -> None:
        for client in self.clients.values():
            assert client.link.state == OPEN
            assert client.judge(client.read()) == []
            assert client.receiver is not None
            client.receiver.settle()

    @invariant()
    def the_same_is_kept(self) -> None:
        state = self.broker.state
        kept = {one.client_id: one for one in state.sessions}
        assert kept.keys() == self.model.sessions.keys()
        for client_id, session in self.model.sessions.items():
            session.drop_expired(self.model.now)
            found = kept[client_id]
            assert found.connected == session.is_connected == (client_id in self.clients)
            assert found.subscription_count == len(session.subscriptions)
            assert found.unacknowledged == len(session.sent)
            assert found.unreleased == len(session.held)
            assert found.in_flight == (session.in_window if session.is_connected else 0)
            assert found.queued >= len(session.owed)  # what has expired in it goes when its turn comes
        assert state.router.retained.count == len(self.model.retained)
        assert len(state.links) == len(self.clients)

    # --- coming and going ---

    @initialize(
        data=st.data(),
        asked=st.lists(asked_of_connect, min_size=3, max_size=3),
        filters=st.lists(st.sampled_from(FILTERS), min_size=3, max_size=3),
    )
    def everybody_is_there(self, data: st.DataObject, asked: list[Asked], filters: list[str]) -> None:
        """Each with a subscription at the highest QoS, and with retained messages: an empty broker is soon explored."""
        for client_id, one, topic_filter in zip(CLIENT_IDS, asked, filters, strict=True):
            self.connect(client_id, one)
            self.model.sessions[client_id].subscriptions[topic_filter] = model.Subscription(2)
            packet = wire.subscribe(one.version, 1, [(topic_filter.encode(), 2)])
            self.exchange(self.clients[client_id], packet, wire.SUBACK)
        client, session = self.clients["a"], self.model.sessions["a"]
        for number, topic in enumerate(TOPICS):
            self.publish_one(client, session, model.Message(topic, self.payload(), number % 3, retain=True), None, True)

    @precondition(lambda self: len(self.clients) < len(CLIENT_IDS))
    @rule(data=st.data(), asked=asked_of_connect)
    def come_back(self, data: st.DataObject, asked: Asked) -> None:
        self.connect(data.draw(st.sampled_from([one for one in CLIENT_IDS if one not in self.clients])), asked)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), asked=asked_of_connect)
    def take_over(self, data: st.DataObject, asked: Asked) -> None:
        """Connect although the old connection is there."""
        self.connect(data.draw(st.sampled_from(sorted(self.clients))), asked)

    def connect(self, client_id: str, asked: Asked) -> None:
        """Over whatever connection and session there may be."""
        version, clean, expiry_s, window, aliases = asked[:5]
        old = self.clients.get(client_id)
        session, present = self.model.connect(client_id, clean=clean)
        session.version = version
        session.window = INFLIGHT_MAX
        properties: list[tuple[int, object]] = []
        will_packet = None
        if version == 5:
            session.expiry_s = expiry_s
            session.window = min(window or INFLIGHT_MAX, INFLIGHT_MAX)
            properties += [(wire.SESSION_EXPIRY, expiry_s)] if expiry_s else []
            properties += [(wire.RECEIVE_MAXIMUM, window)] if window else []
            properties += [(wire.ALIAS_MAXIMUM, aliases)] if aliases else []
        else:
            session.expiry_s = 0 if clean else model.NEVER
        if asked.will is not None:
            qos, retain, delay_s, will_expiry_s = asked.will if version == 5 else (*asked.will[:2], 0, None)
            message = model.Message(f"will/{client_id}", self.payload(), qos, retain)
            session.will = model.Will(message, delay_s, will_expiry_s)
            will_properties: list[tuple[int, object]] = []
            will_properties += [(wire.WILL_DELAY, delay_s)] if delay_s else []
            will_properties += [] if will_expiry_s is None else [(wire.EXPIRY, will_expiry_s)]
            will_packet = wire.Will(message.topic.encode(), message.payload, qos, retain, tuple(will_properties))
        client = Client(self.broker, version)
        client.stream.alias_maximum = aliases if version == 5 else 0
        client.receiver = model.Receiver(self.model, session)
        connack, *behind = client.send(
            wire.connect(version, client_id.encode(), clean=clean, properties=properties, will=will_packet)
        )
        assert connack.kind == wire.CONNACK
        assert connack.codes == (0,)
        assert connack.session_present == present
        if old is not None:
            told = old.read()
            assert [packet.codes for packet in told] == ([(0x8E,)] if old.version == 5 else [])
            self.forget(client_id)
        self.clients[client_id] = client
        assert client.judge(behind) == []

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """The connection breaks."""
        client, session = self.client(data)
        client.link.lose("broke")
        self.broker.state.plane.flush()
        self.leave(client, session, publish_will=True)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), code=st.sampled_from([0, 0, 4]), expiry_s=st.sampled_from([None, None, 0, 10]))
    def disconnect(self, data: st.DataObject, code: int, expiry_s: int | None) -> None:
        client, session = self.client(data)
        if client.version == 4:
            code, expiry_s = 0, None
        if session.expiry_s == 0:
            expiry_s = None  # may not be made longer
        if expiry_s is not None:
            session.expiry_s = expiry_s
        client.link.feed(wire.disconnect(client.version, code, expiry_s))
        self.broker.state.plane.flush()
        self.leave(client, session, publish_will=code != 0)

    @rule(seconds=st.sampled_from([1, 2, 3, 5, 10, 30]))
    def time_passes(self, seconds: int) -> None:
        """A second at a time, since what is sent meanwhile says how long it is still worth something."""
        for _ in range(seconds):
            self.broker.advance(1)
            self.model.advance(1)
            self.everybody_has_what_is_owed()

    # --- subscriptions ---

    @precondition(lambda self: self.clients)
    @rule(
        data=st.data(),
        filters=st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3, unique=True),
        qos=st.integers(0, 2),
        no_local=st.booleans(),
        retain_as_published=st.booleans(),
        retain_handling=st.integers(0, 2),
        identifier=st.sampled_from([0, 1, 300]),
    )
    def subscribe(
        self,
        data: st.DataObject,
        filters: list[str],
        qos: int,
        no_local: bool,
        retain_as_published: bool,
        retain_handling: int,
        identifier: int,
    ) -> None:
        client, session = self.client(data)
        subscription = model.Subscription(qos)
        if client.version == 5:
            subscription = model.Subscription(qos, no_local, retain_as_published, identifier)
        else:
            no_local = retain_as_published = False
            retain_handling = identifier = 0
        options = qos | no_local << 2 | retain_as_published << 3 | retain_handling << 4
        for topic_filter in filters:
            is_new = topic_filter not in session.subscriptions
            session.subscriptions[topic_filter] = subscription
            if retain_handling == 0 or (retain_handling == 1 and is_new):
                self.model.owe_retained(session, topic_filter, subscription)
        packet = wire.subscribe(client.version, 1, [(one.encode(), options) for one in filters], identifier)
        answer = self.exchange(client, packet, wire.SUBACK)
        assert answer.codes == (qos,) * len(filters)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), more=st.lists(st.sampled_from(FILTERS), max_size=2, unique=True))
    def unsubscribe(self, data: st.DataObject, more: list[str]) -> None:
        client, session = self.client(data)
        mine = data.draw(st.sampled_from(sorted(session.subscriptions)[:8] or FILTERS))
        filters = [mine, *(one for one in more if one != mine)]
        codes = tuple(0 if session.subscriptions.pop(one, None) else 0x11 for one in filters)
        answer = self.exchange(
            client, wire.unsubscribe(client.version, 1, [one.encode() for one in filters]), wire.UNSUBACK
        )
        assert answer.codes == (codes if client.version == 5 else ())

    # --- publishing ---

    @precondition(lambda self: self.clients)
    @rule(
        data=st.data(),
        topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=6),
        qos=st.integers(0, 2),
        retain=st.sampled_from([False, False, True]),
        is_empty=st.sampled_from([False, False, False, True]),
        expiry_s=st.sampled_from([None, None, 2, 10]),
        release=st.booleans(),
    )
    def publish(
        self,
        data: st.DataObject,
        topics: list[str],
        qos: int,
        retain: bool,
        is_empty: bool,
        expiry_s: int | None,
        release: bool,
    ) -> None:
        client, session = self.client(data)
        if client.version == 4:
            expiry_s = None
        for topic in topics:
            expires_at = math.inf if expiry_s is None else self.model.now + expiry_s
            message = model.Message(topic, b"" if is_empty else self.payload(), qos, retain, expires_at)
            self.publish_one(client, session, message, expiry_s, release)

    def publish_one(
        self, client: Client, session: model.Session, message: model.Message, expiry_s: int | None, release: bool
    ) -> None:
        qos = message.qos
        packet_id = next(i for i in range(1, 65_536) if i not in session.held)
        properties: list[tuple[int, object]] = [] if expiry_s is None else [(wire.EXPIRY, expiry_s)]
        packet = wire.publish(
            client.version,
            message.topic.encode(),
            message.payload,
            qos,
            packet_id,
            retain=message.retain,
            properties=properties,
        )
        if qos == 2:
            session.held[packet_id] = message
            self.exchange(client, packet, wire.PUBREC)
            if release:
                self.release(client, session, packet_id)
            return
        reached = self.model.publish(message, session)
        if qos == 0:
            assert client.judge(client.send(packet)) == []
        else:
            answer = self.exchange(client, packet, wire.PUBACK)
            assert answer.packet_id == packet_id
            assert answer.codes == (0,) or reached == 0

    def release(self, client: Client, session: model.Session, packet_id: int) -> None:
        message = session.held.pop(packet_id, None)
        if message is not None:
            self.model.publish(message, session)
        answer = self.exchange(client, wire.acknowledge(client.version, wire.PUBREL, packet_id), wire.PUBCOMP)
        assert answer.packet_id == packet_id
        assert answer.codes == ((0x92,) if message is None and client.version == 5 else (0,))

    @precondition(lambda self: any(self.model.sessions[one].held for one in self.clients))
    @rule(data=st.data(), again=st.booleans())
    def release_later(self, data: st.DataObject, again: bool) -> None:
        """On this connection or a later one; first, perhaps, the same message once more [MQTT-4.3.3-10]."""
        client_id = data.draw(st.sampled_from([one for one in sorted(self.clients) if self.model.sessions[one].held]))
        client, session = self.clients[client_id], self.model.sessions[client_id]
        packet_id = data.draw(st.sampled_from(sorted(session.held)))
        if again:
            message = session.held[packet_id]
            packet = wire.publish(
                client.version, message.topic.encode(), message.payload, 2, packet_id, retain=message.retain, dup=True
            )
            self.exchange(client, packet, wire.PUBREC)
        self.release(client, session, packet_id)

    # --- acknowledging ---

    @precondition(lambda self: any(self.model.sessions[one].sent for one in self.clients))
    @rule(
        data=st.data(),
        how_many=st.sampled_from([1, 1, 2, 100]),
        refuse=st.sampled_from([False, False, False, True]),
        is_early=st.booleans(),
    )
    def acknowledge(self, data: st.DataObject, how_many: int, refuse: bool, is_early: bool) -> None:
        """One step for some of what has been sent, in any order, also for what only an earlier connection has sent."""
        client_id = data.draw(st.sampled_from([one for one in sorted(self.clients) if self.model.sessions[one].sent]))
        client, session = self.clients[client_id], self.model.sessions[client_id]
        assert client.receiver is not None
        # Early: before it has been sent again, by a client that had it already.
        candidates = client.receiver.again if is_early and client.receiver.again else session.sent
        for packet_id in data.draw(st.permutations(list(candidates)))[:how_many]:
            if packet_id not in session.sent:
                continue
            delivery = session.sent[packet_id]
            code = 0x80 if refuse and client.version == 5 and delivery.awaits != wire.PUBCOMP else 0
            packet = wire.acknowledge(client.version, delivery.awaits, packet_id, code)
            if delivery.awaits == wire.PUBREC and not code:
                delivery.awaits = wire.PUBCOMP
                pubrel, *others = client.send(packet)
                assert (pubrel.kind, pubrel.packet_id, pubrel.codes) == (wire.PUBREL, packet_id, (0,))
                assert client.judge(others) == []
            else:
                del session.sent[packet_id]
                client.receiver.acknowledged(packet_id)
                assert client.judge(client.send(packet)) == []

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), kind=st.sampled_from([wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP, wire.PINGREQ]))
    def say_what_changes_nothing(self, data: st.DataObject, kind: int) -> None:
        """Above all not how much may be sent."""
        client, session = self.client(data)
        if kind == wire.PINGREQ:
            self.exchange(client, wire.PINGREQ_PACKET, wire.PINGRESP)
        elif kind == wire.PUBREL:
            self.release(client, session, 60_000)
        else:
            answers = client.send(wire.acknowledge(client.version, kind, 60_000))
            code = 0x92 if client.version == 5 else 0
            expected = [(wire.PUBREL, 60_000, (code,))] if kind == wire.PUBREC else []
            assert [(one.kind, one.packet_id, one.codes) for one in answers] == expected

    def teardown(self) -> None:
        """Everybody comes back and acknowledges everything: nothing is left over; then all end, and nothing is kept."""
        for client_id in sorted(self.model.sessions):
            if client_id not in self.clients:
                self.connect(client_id, TO_FINISH)
            client, session = self.clients[client_id], self.model.sessions[client_id]
            while session.sent:
                packet_id, delivery = next(iter(session.sent.items()))
                assert client.receiver is not None
                if delivery.awaits == wire.PUBREC:
                    delivery.awaits = wire.PUBCOMP
                    assert client.judge(client.send(wire.acknowledge(client.version, wire.PUBREC, packet_id))[1:]) == []
                awaited = delivery.awaits
                del session.sent[packet_id]
                client.receiver.acknowledged(packet_id)
                assert client.judge(client.send(wire.acknowledge(client.version, awaited, packet_id))) == []
            self.everybody_has_what_is_owed()
            assert not session.owed
        for client_id in sorted(self.clients):
            self.connect(client_id, TO_END)
            self.everybody_has_what_is_owed()
            self.clients[client_id].link.feed(wire.disconnect(5))
            self.leave(self.clients[client_id], self.model.sessions[client_id], publish_will=False)
        state = self.broker.state
        assert (len(state.sessions), len(state.links)) == (0, 0)
        assert (state.router.filters.node_count, state.router.filters.subscription_count) == (0, 0)
        self.broker.advance(100)
        assert len(state.plane.deadlines) == 0


Sequences.TestCase.settings = settings(
    settings.default, max_examples=2 * settings.default.max_examples, stateful_step_count=40
)
TestSequences = Sequences.TestCase
