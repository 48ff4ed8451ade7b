"""Shared subscriptions beside ordinary ones, whatever the members do: each message once for each group and subscriber.

Which member gets a message is the broker's choice. So copies are counted: as many as there are ordinary subscribers
and groups, none for a client that was not entitled to it. Subscribing, leaving and coming back are mixed in every
order, with ordinary and shared subscriptions to the same filters.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from fuzz import model, wire
from handlers.direct_links import START_S, DirectBroker
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from noctule._speedups.link import Link
from noctule.config.settings import Limits, Settings, ShareStrategy
from noctule.core.state import make_state
from noctule.handlers.dispatch import Dispatcher

CLIENT_IDS = ("a", "b", "c", "d")
TOPICS = ("t", "t/u")
PLAIN = (*TOPICS, "#", "t/+")
FILTERS = (*PLAIN, *(f"$share/{group}/{one}" for group in ("g", "h") for one in PLAIN))


class SharingBroker(DirectBroker):
    """One with a way of its own to choose the member that gets a message."""

    def __init__(self, strategy: ShareStrategy) -> None:
        super().__init__()
        self.state = make_state(Settings(limits=Limits(inflight_max=2), share_strategy=strategy))
        self.dispatcher = Dispatcher(self.state)
        self.state.plane.begin_turn(START_S)


#: The others choose by a hash that is another one in each run: nothing that fails could be repeated.
STRATEGIES = (ShareStrategy.ROUND_ROBIN, ShareStrategy.LEAST_INFLIGHT, ShareStrategy.STICKY)


@dataclass
class Member:
    """A client of version 5 with a session for good, and what it has not acknowledged."""

    filters: dict[str, int] = field(default_factory=dict)
    stream: wire.ServerStream = field(default_factory=lambda: wire.ServerStream(5))
    link: Link | None = None

    #: [packet identifier]: the answer that is due, and the payload.
    unfinished: dict[int, tuple[int, bytes]] = field(default_factory=dict)


@dataclass
class Sent:
    """A published message: the copies that there must be, and may be, and are."""

    copies: int
    allowed: Counter[str]
    seen: Counter[str] = field(default_factory=Counter)

    #: A session ended that might have had a copy. Then it is not known how many there are.
    is_uncertain: bool = False


def matches(topic_filter: str, topic: str) -> bool:
    return model.matches(topic_filter.split("/", 2)[2] if topic_filter.startswith("$share/") else topic_filter, topic)


class Shares(RuleBasedStateMachine):
    @initialize(
        strategy=st.sampled_from(STRATEGIES), filters=st.lists(st.sampled_from(FILTERS), min_size=4, max_size=4)
    )
    def begin(self, strategy: ShareStrategy, filters: list[str]) -> None:
        self.broker = SharingBroker(strategy)
        self.publisher = self.broker.connect("publisher")
        self.members = {client_id: Member() for client_id in CLIENT_IDS}
        self.sent: dict[bytes, Sent] = {}
        for client_id, topic_filter in zip(CLIENT_IDS, filters, strict=True):
            self.come(client_id, clean=True)
            self.subscribe(client_id, topic_filter, 1)

    # --- the parts of a step ---

    def read(self, client_id: str, packet: bytes = b"") -> list[wire.Packet]:
        """What comes, with an optional packet before it; deliveries are counted, the others handed back."""
        member = self.members[client_id]
        others: list[wire.Packet] = []
        assert member.link is not None
        member.link.feed(packet)
        self.broker.state.plane.flush()
        while data := member.link.take_output():
            for found in member.stream.read(data):
                if found.kind == wire.PUBLISH:
                    self.count(client_id, found)
                elif found.kind == wire.PUBREL:
                    member.unfinished[found.packet_id] = (wire.PUBCOMP, b"")
                else:
                    others.append(found)
            member.link.output_sent()
            self.broker.state.plane.flush()
        return others

    def count(self, client_id: str, packet: wire.Packet) -> None:
        sent = self.sent[packet.payload]
        if not packet.dup:
            sent.seen[client_id] += 1
            assert sent.is_uncertain or sent.seen[client_id] <= sent.allowed[client_id], "not entitled to it"
            assert sent.is_uncertain or sent.seen.total() <= sent.copies, "more copies than there must be"
        if packet.qos:
            unfinished = self.members[client_id].unfinished
            assert packet.dup or packet.packet_id not in unfinished
            unfinished[packet.packet_id] = (wire.PUBACK if packet.qos == 1 else wire.PUBREC, packet.payload)
            assert len(unfinished) <= 2 or packet.dup

    @invariant()
    def everything_is_read(self) -> None:
        for client_id, member in getattr(self, "members", {}).items():
            if member.link is not None:
                assert self.read(client_id) == []

    # --- steps ---

    @rule(client_id=st.sampled_from(CLIENT_IDS), topic_filter=st.sampled_from(FILTERS), qos=st.integers(0, 2))
    def subscribe(self, client_id: str, topic_filter: str, qos: int) -> None:
        if self.members[client_id].link is None:
            self.come(client_id, clean=False)
        self.members[client_id].filters[topic_filter] = qos
        (answer,) = self.read(client_id, wire.subscribe(5, 1, [(topic_filter.encode(), qos)]))
        assert (answer.kind, answer.codes) == (wire.SUBACK, (qos,))

    @precondition(lambda self: any(member.link and member.filters for member in self.members.values()))
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        those = [client_id for client_id, member in self.members.items() if member.link and member.filters]
        client_id = data.draw(st.sampled_from(those))
        topic_filter = data.draw(st.sampled_from(sorted(self.members[client_id].filters)))
        del self.members[client_id].filters[topic_filter]
        (answer,) = self.read(client_id, wire.unsubscribe(5, 1, [topic_filter.encode()]))
        assert (answer.kind, answer.codes) == (wire.UNSUBACK, (0,))

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=5), qos=st.integers(0, 2))
    def publish(self, topics: list[str], qos: int) -> None:
        packets = []
        for topic in topics:
            payload = b"%d" % len(self.sent)
            groups: dict[str, bool] = defaultdict(bool)
            sent = self.sent[payload] = Sent(0, Counter())
            for client_id, member in self.members.items():
                found = {one: granted for one, granted in member.filters.items() if matches(one, topic)}
                shared = [one for one in found if one.startswith("$share/")]
                for one in shared:
                    groups[one] |= member.link is not None or min(qos, found[one]) > 0
                plain = [granted for one, granted in found.items() if one not in shared]
                is_owed = bool(plain) and (member.link is not None or min(qos, max(plain)) > 0)
                sent.copies += is_owed
                sent.allowed[client_id] = is_owed + len(shared)
            sent.copies += sum(groups.values())
            packets.append(wire.publish(5, topic.encode(), payload, qos, 1))
            packets += [wire.acknowledge(5, wire.PUBREL, 1)] if qos == 2 else []
        self.publisher.send(*packets)
        self.publisher.received()

    @rule(client_ids=st.permutations(CLIENT_IDS), how_many=st.sampled_from([1, 2, 100]))
    def acknowledge(self, client_ids: list[str], how_many: int) -> None:
        """Two of the clients, if they are there and have anything to acknowledge: who has is the broker's choice."""
        for client_id in client_ids[:2]:
            if self.members[client_id].link is not None:
                self.finish(client_id, how_many)

    def finish(self, client_id: str, how_many: int) -> None:
        """The next answers, oldest first, as many of them."""
        unfinished = self.members[client_id].unfinished
        while unfinished and how_many:
            how_many -= 1
            packet_id, (answer, _) = next(iter(unfinished.items()))
            del unfinished[packet_id]
            assert self.read(client_id, wire.acknowledge(5, answer, packet_id)) == []

    @precondition(lambda self: any(member.link for member in self.members.values()))
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        client_id = data.draw(st.sampled_from([one for one in CLIENT_IDS if self.members[one].link]))
        member = self.members[client_id]
        assert member.link is not None
        member.link.lose("broke")
        member.link = None
        self.broker.state.plane.flush()

    @rule(client_id=st.sampled_from(CLIENT_IDS), clean=st.sampled_from([False, False, True]))
    def come(self, client_id: str, clean: bool) -> None:
        """Over the old connection, if it is there."""
        member = self.members[client_id]
        if clean:
            for sent in self.sent.values():
                sent.is_uncertain |= sent.seen.total() < sent.copies
            for _, payload in member.unfinished.values():
                if payload:
                    self.sent[payload].is_uncertain = True
            member.filters.clear()
            member.unfinished.clear()
        member.link = self.broker.open().link
        member.stream = wire.ServerStream(5)
        (answer,) = self.read(
            client_id, wire.connect(5, client_id.encode(), clean=clean, properties=[(wire.SESSION_EXPIRY, model.NEVER)])
        )
        assert answer.kind == wire.CONNACK

    def teardown(self) -> None:
        """Everybody comes and acknowledges everything: each message has found everybody it had to."""
        if not hasattr(self, "members"):
            return
        for client_id in CLIENT_IDS:
            self.come(client_id, clean=False)
        while any(member.unfinished for member in self.members.values()):
            for client_id in CLIENT_IDS:
                self.finish(client_id, 100)
        for payload, sent in self.sent.items():
            assert sent.is_uncertain or sent.seen.total() == sent.copies, payload
        state = self.broker.state
        for client_id in CLIENT_IDS:
            self.come(client_id, clean=True)
        assert state.router.filters.node_count == 0
        assert state.router.filters.shared_subscription_count == 0


Shares.TestCase.settings = settings(settings.default, stateful_step_count=40)
TestShares = Shares.TestCase
