"""A crash between every two steps: before a batch is taken, while it is under way, when it is on disk, when its
acknowledgements are out. What the clients know by then must be true of what is left."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from handlers.direct_links import V5, DirectClient
from handlers.kept_links import KeptBroker
from noctule._speedups.codec import decode_ack, decode_publish, encode_ack
from noctule.protocol import SubscriptionRequest
from noctule.protocol.connect import Will
from noctule.protocol.subscribe import Subscribe, encode_subscribe
from noctule.protocol.unsubscribe import Unsubscribe, encode_unsubscribe
from noctule.storage.operations import PutQueued, PutSubscription, PutWill

PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK = 3, 4, 5, 6, 7, 9, 11


@dataclass
class Known:
    """What the clients have been told, and so may rely on."""

    #: Payloads whose PUBACK or PUBCOMP has come, and those whose PUBREC has.
    kept: set[bytes] = field(default_factory=set)
    received: set[bytes] = field(default_factory=set)

    #: QoS 2, by what was sent; retained payloads as sent, and how many of them are acknowledged.
    exactly_once: set[bytes] = field(default_factory=set)
    retained: list[bytes] = field(default_factory=lambda: [b""])
    retained_count: int = 0

    #: Filters of ``changing``: True: subscribed; None: a change is under way.
    filters: dict[str, bool | None] = field(default_factory=dict)

    #: What ``online`` has been sent at QoS 2 by packet identifier, and what has been released towards it.
    sent: dict[int, bytes] = field(default_factory=dict)
    released: set[int] = field(default_factory=set)


class Scenario:
    """An offline session, one that is online, a publisher, and one that changes its subscriptions."""

    def __init__(self) -> None:
        self.broker = KeptBroker()
        self.known = Known()
        self.checks = 0
        self.in_flight: dict[int, tuple[bytes, int, bool]] = {}
        self.number = 0
        offline = self.broker.durable("offline", will=Will("w", b"offline", 0, False, 0))
        self._subscribe(offline, "t")
        self.broker.commit_all()
        offline.lose()
        self.online = self.broker.durable("online", will=Will("w", b"gone", 1, False, 600))
        self._subscribe(self.online, "t")
        self.publisher = self.broker.durable("publisher")
        self.changing = self.broker.durable("changing")
        self.broker.commit_all()
        self.online.received()

    def _subscribe(self, client: DirectClient, text: str) -> None:
        client.send(encode_subscribe(Subscribe(1, (SubscriptionRequest(text, 2),), None), V5))

    # --- steps ---

    def publish(self, qos: int, *, retain: bool = False) -> None:
        self.number += 1
        payload = b"%d" % self.number
        if qos == 2:
            self.known.exactly_once.add(payload)
        if retain:
            self.known.retained.append(payload)
        self.in_flight[self.number] = payload, qos, retain
        self.publisher.publish("r" if retain else "t", payload, qos, self.number, retain=retain)

    def change(self, text: str, wanted: bool) -> None:
        self.known.filters[text] = None
        if wanted:
            self._subscribe(self.changing, text)
        else:
            self.changing.send(encode_unsubscribe(Unsubscribe(1, (text,)), V5))
        self._wanted = text, wanted

    def read(self) -> list[Callable[[], object]]:
        """Take note of what has come; what the clients do next is given back."""
        known, after = self.known, list[Callable[[], object]]()
        for first, body in self.publisher.received():
            ack = decode_ack(first, body, V5)
            payload, _, retain = self.in_flight[ack.packet_id]
            if first >> 4 == PUBREC:
                known.received.add(payload)
                after.append(lambda ack=ack: self.publisher.ack(PUBREL, ack.packet_id))
            elif retain:
                known.retained_count += 1
            else:
                known.received.discard(payload)
                known.kept.add(payload)
        for first, body in self.online.received():
            if first >> 4 == PUBLISH:
                found = decode_publish(first, body, V5, True)
                answer = PUBACK if found.qos == 1 else PUBREC
                if found.qos == 2:
                    known.sent[found.packet_id] = found.payload
                after.append(
                    lambda answer=answer, found=found: self.online.send(encode_ack(answer, found.packet_id, V5))
                )
            elif first >> 4 == PUBREL:
                packet_id = decode_ack(first, body, V5).packet_id
                known.released.add(packet_id)
                after.append(lambda packet_id=packet_id: self._finish(packet_id))
        for first, _ in self.changing.received():
            assert first >> 4 in (SUBACK, UNSUBACK)
            text, wanted = self._wanted
            known.filters[text] = wanted
        return after

    def _finish(self, packet_id: int) -> None:
        self.known.sent.pop(packet_id)
        self.known.released.discard(packet_id)
        self.online.ack(PUBCOMP, packet_id)

    # --- what must be true ---

    def check(self, left: KeptBroker) -> None:
        """Everything that the clients know, of a broker that has come up after a crash now."""
        self.checks += 1
        known = self.known
        assert left.restored.problems == []
        sessions = {session.client_id: session for session in left.state.sessions}
        assert set(sessions) == {"offline", "online", "publisher", "changing"}
        queued = Counter(message.payload for _, message, *_ in sessions["offline"].kept_state()[0] if message)
        received = Counter(message.payload for _, message in sessions["publisher"].kept_state()[1])
        assert known.kept <= set(queued)
        assert known.received <= set(queued) | set(received)
        for payload in known.exactly_once:
            assert queued[payload] + received[payload] <= 1
        (retained,) = [one.payload for one in left.state.router.retained.walk(b"r")] or [b""]
        assert retained in known.retained[known.retained_count :]
        filters = {
            row.topic_filter.decode()
            for row in left.rows(PutSubscription)
            if row.session_id == sessions["changing"].store_id
        }
        assert filters >= {text for text, holds in known.filters.items() if holds}
        assert not filters & {text for text, holds in known.filters.items() if holds is False}
        rows = {row.packet_id: row for row in left.rows(PutQueued) if row.session_id == sessions["online"].store_id}
        for packet_id, payload in known.sent.items():
            assert rows[packet_id].is_released or self._payload(left, packet_id) == payload
        assert all(rows[packet_id].is_released for packet_id in known.released)
        assert "online" in {session.client_id for session in left.state.sessions if session.will}
        assert len(left.rows(PutWill)) == 1
        left.state.plane.close()

    @staticmethod
    def _payload(left: KeptBroker, packet_id: int) -> bytes | None:
        session = left.state.sessions.find("online")
        assert session is not None
        for _, message, qos, found, _ in session.kept_state()[0]:
            if qos == 2 and found == packet_id and message:
                return message.payload
        return None

    def crash_everywhere(self) -> None:
        """Take what has been collected to the disk, and crash at each step of that."""
        self.check(self.broker.crash())
        batch = self.broker.begin_commit()
        after = self.read()  # nothing of this batch may have come by now
        self.check(self.broker.crash())
        self.check(self.broker.crash(batch.operations))
        self.broker.end_commit(batch)
        after += self.read()
        self.check(self.broker.crash())
        for act in after:
            act()
            self.check(self.broker.crash())


def test_a_crash_between_every_two_steps() -> None:
    scenario = Scenario()
    scenario.crash_everywhere()
    for round_number in range(12):
        scenario.publish(1 + round_number % 2)
        scenario.check(scenario.broker.crash())
        if round_number % 3 == 0:
            scenario.publish(1, retain=True)
        scenario.change(f"f{round_number % 4}", round_number // 4 % 2 == 0)
        scenario.crash_everywhere()
    for _ in range(8):
        scenario.crash_everywhere()
    known = scenario.known
    assert len(known.kept) == 12
    assert not known.received
    assert not known.sent
    assert known.retained_count == 4
    assert scenario.checks > 100
