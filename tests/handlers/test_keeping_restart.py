"""Any state survives a restart: random operations of several clients, then the broker before and after it compared."""

from typing import Any

import pytest
from handlers.direct_links import START_S, V5, DirectClient
from handlers.kept_links import AHEAD_S, KeptBroker
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from noctule._speedups.codec import decode_ack, decode_publish, encode_publish
from noctule._speedups.message import Message
from noctule.protocol import SubscriptionRequest
from noctule.protocol.connect import Will
from noctule.protocol.subscribe import Subscribe, encode_subscribe
from noctule.protocol.unsubscribe import Unsubscribe, encode_unsubscribe
from noctule.storage.operations import PutMessage, PutQueued, PutReceived, PutRetained, PutSession

PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 3, 4, 5, 6, 7

NEVER = 0xFFFFFFFF

NAMES = ("a", "b", "c")
TOPICS = ("t", "t/u", "v")
FILTERS = ("t", "t/#", "+", "#", "$share/g/t", "$share/g/#", "v")

names = st.sampled_from(NAMES)
topics = st.sampled_from(TOPICS)
filters = st.sampled_from(FILTERS)
intervals = st.sampled_from((None, 0, 30))
expiries = st.sampled_from((0, 60, 5_000, NEVER))
wills = st.none() | st.builds(
    Will,
    st.just("t/u"),
    st.just(b"will"),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from((0, 20, 400)),
)


def at_wall_clock(broker: KeptBroker, at: float) -> float | None:
    """A time of the broker's clock, comparable with one of another's; None: never."""
    return None if at == float("inf") else round(at + broker.journal.wall_clock_ahead_s, 3)


def seen(broker: KeptBroker, message: Message) -> tuple[Any, ...]:
    """A message as values: an interval that runs is what is left of it."""
    return message.topic, message.payload, message.qos, message.retain, message.properties


def state_of(broker: KeptBroker) -> dict[str, Any]:
    """Everything that is to survive."""
    state = broker.state
    found: dict[str, Any] = {"retained": sorted(seen(broker, one) for one in state.router.retained.walk(b"#"))}
    for session in state.sessions:
        if not session.store_id:
            continue
        queued, received = session.kept_state()
        is_waiting = not session.connected
        found[session.client_id] = {
            "owner": session.owner,
            "expiry": session.expiry_interval_s,
            "ends at": at_wall_clock(broker, session.ends_at) if is_waiting else None,
            "subscriptions": sorted(state.router.subscriptions_of(session)),
            "queued": [
                (position, seen(broker, message) if message else None, qos, packet_id, is_released)
                for position, message, qos, packet_id, is_released in queued
            ],
            "received": [(packet_id, seen(broker, message)) for packet_id, message in received],
            "will": session.will
            and (session.will.topic, session.will.payload, session.will.qos, session.will.will_delay_interval_s),
            "will is due": at_wall_clock(broker, session.will_due_at) if is_waiting and session.will else None,
        }
    return found


class Restarts(RuleBasedStateMachine):
    """Clients a, b and c, of whom one message in four is acknowledged late or never."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = KeptBroker(inflight_max=3, queue_max_messages=6)
        self.clients: dict[str, DirectClient] = {}
        self.unreleased: dict[str, list[int]] = {name: [] for name in NAMES}
        self.to_acknowledge: dict[str, list[tuple[int, int]]] = {name: [] for name in NAMES}
        self.number = 0

    def client(self, name: str) -> DirectClient | None:
        """Its connection, where it is open still."""
        client = self.clients.get(name)
        return client if client is not None and client.link.session is not None else None

    # --- clients ---

    @rule(name=names, clean=st.booleans(), expiry_s=expiries, will=wills, user=st.booleans())
    def connect(self, name: str, clean: bool, expiry_s: int, will: Will | None, user: bool) -> None:
        client = self.broker.begin_connect(
            name, V5, clean_start=clean, session_expiry_interval_s=expiry_s, will=will, user_name=name if user else None
        )
        self.clients[name] = client
        self.to_acknowledge[name].clear()
        if clean:
            self.unreleased[name].clear()

    @rule(name=names, expiry_s=st.none() | expiries, reason=st.sampled_from((0, 4)))
    def disconnect(self, name: str, expiry_s: int | None, reason: int) -> None:
        if client := self.client(name):
            client.disconnect(reason, expiry_s)

    @rule(name=names)
    def lose(self, name: str) -> None:
        if client := self.client(name):
            client.lose()

    @rule(
        name=names,
        text=st.sampled_from(FILTERS),
        qos=st.integers(0, 2),
        options=st.booleans(),
        number=st.integers(0, 9),
    )
    def subscribe(self, name: str, text: str, qos: int, options: bool, number: int) -> None:
        if client := self.client(name):
            no_local = options and not text.startswith("$")
            request = SubscriptionRequest(text, qos, no_local=no_local, retain_as_published=options)
            client.send(encode_subscribe(Subscribe(1, (request,), number or None), V5))

    @rule(name=names, text=filters)
    def unsubscribe(self, name: str, text: str) -> None:
        if client := self.client(name):
            client.send(encode_unsubscribe(Unsubscribe(1, (text,)), V5))

    @rule(
        name=names, topic=topics, qos=st.integers(0, 2), retain=st.booleans(), expiry_s=st.sampled_from((None, 0, 30))
    )
    def publish(self, name: str, topic: str, qos: int, retain: bool, expiry_s: int | None) -> None:
        client = self.client(name)
        if client is None:
            return
        self.number += 1
        payload = b"" if retain and self.number % 4 == 0 else b"%d" % self.number
        properties = b"" if expiry_s is None else b"\x02" + expiry_s.to_bytes(4, "big")
        packet_id = self.number if qos else 0
        client.send(encode_publish(topic.encode(), payload, V5, qos, retain, False, packet_id, properties))
        if qos == 2:
            self.unreleased[name].append(packet_id)

    @rule(name=names)
    def release(self, name: str) -> None:
        if (client := self.client(name)) and self.unreleased[name]:
            client.ack(PUBREL, self.unreleased[name].pop(0))

    @rule(name=names, count=st.integers(1, 4))
    def acknowledge(self, name: str, count: int) -> None:
        """Read what has come and answer some of it."""
        client = self.client(name)
        if client is None:
            return
        waiting = self.to_acknowledge[name]
        for first, body in client.received():
            if first >> 4 == PUBLISH:
                found = decode_publish(first, body, V5, True)
                if found.qos:
                    waiting.append((PUBACK if found.qos == 1 else PUBREC, found.packet_id))
            elif first >> 4 == PUBREL:
                waiting.append((PUBCOMP, decode_ack(first, body, V5).packet_id))
        for _ in range(min(count, len(waiting))):
            client.ack(*waiting.pop(0))

    # --- the broker ---

    @rule(seconds=st.sampled_from((1, 25, 70, 6_000)))
    def advance(self, seconds: int) -> None:
        self.broker.advance(seconds)

    @rule()
    def commit(self) -> None:
        self.broker.commit_all()

    @rule()
    def no_room(self) -> None:
        batch = self.broker.begin_commit()
        self.broker.journal.put_back(list(batch.operations), batch.must_sync)

    @rule(down_s=st.sampled_from((0, 10, 50, 100_000, -100_000)), is_clean=st.booleans())
    def restart(self, down_s: int, is_clean: bool) -> None:
        """Compare everything where all was kept; in any case what is left fits together."""
        broker = self.broker
        if is_clean:
            broker.commit_all()
        passed_s = broker.state.plane.now - START_S
        before = state_of(broker)
        self.broker = broker.crash(ahead_s=broker.journal.wall_clock_ahead_s + passed_s + down_s)
        assert self.broker.restored.problems == []
        if is_clean:
            after = state_of(self.broker)
            for client_id, values in before.items():
                # Who was connected counts as disconnected from now on.
                if client_id != "retained" and broker.state.sessions.find(client_id).connected:  # type: ignore[union-attr]
                    after[client_id]["ends at"] = after[client_id]["will is due"] = None
                assert after[client_id] == values
            assert set(after) == set(before)
        for client in self.clients.values():
            client.link.close()
        self.clients.clear()
        for waiting in (*self.unreleased.values(), *self.to_acknowledge.values()):
            waiting.clear()
        broker.state.plane.close()
        self.broker.advance(0)

    @invariant()
    @precondition(lambda self: len(self.broker.journal) == 0)
    def every_row_is_referred_to(self) -> None:
        """Nothing is left over, and nothing is missing."""
        disk = self.broker
        messages = {row.message_id for row in disk.rows(PutMessage)}
        referred = {row.message_id for kind in (PutQueued, PutReceived, PutRetained) for row in disk.rows(kind)} - {0}
        assert messages == referred
        sessions = {row.session_id for row in disk.rows(PutSession)}
        assert sessions == {session.store_id for session in disk.state.sessions if session.store_id}
        assert {row.session_id for kind in (PutQueued, PutReceived) for row in disk.rows(kind)} <= sessions

    def teardown(self) -> None:
        self.broker.state.plane.close()


@pytest.mark.timeout(60)
def test_any_state_survives() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Restarts,
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def sent_to(client: DirectClient) -> list[tuple[bytes, int, bool]]:
    """The messages that have come: payload, packet identifier, DUP."""
    return [(found.payload, found.packet_id, found.dup) for found in client.publishes()]


@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_in_flight_is_sent_again_as_it_was(qos: int, is_connected: bool) -> None:
    """[MQTT-4.4.0-1] [MQTT-3.3.1-1], whether it went out at once or waited in the queue; and behind it what did not."""
    broker = KeptBroker(inflight_max=3)
    reader = broker.durable("reader")
    reader.send(encode_subscribe(Subscribe(1, (SubscriptionRequest("t", qos),), None), V5))
    writer = broker.connect("writer")
    if not is_connected:
        reader.disconnect(0)
    for number in range(1, 6):
        writer.publish("t", b"%d" % number, qos, number)
        broker.commit_all()
        if qos == 2:
            writer.ack(PUBREL, number)
            broker.commit_all()
    reader = reader if is_connected else broker.begin_connect("reader", clean_start=False, session_expiry_interval_s=99)
    broker.commit_all()
    sent = [decode_publish(first, body, V5, True) for first, body in reader.received() if first >> 4 == PUBLISH]
    assert [(one.payload, one.packet_id) for one in sent] == [(b"1", 1), (b"2", 2), (b"3", 3)]
    reader.ack(PUBACK if qos == 1 else PUBREC, 2)
    if qos == 2:
        broker.commit_all()
        reader.ack(PUBCOMP, 2)
    broker.commit_all()
    after = broker.crash()
    again = after.durable("reader")
    found = [decode_publish(first, body, V5, True) for first, body in again.behind_connack]
    after.commit_all()
    found += again.publishes()
    assert [(one.payload, one.packet_id, one.dup) for one in found] == [
        (b"1", 1, True),
        (b"3", 3, True),
        (b"4", 4, True),
    ]
    again.ack(PUBACK if qos == 1 else PUBREC, 1)
    after.commit_all()
    if qos == 2:
        assert [first >> 4 for first, _ in again.received()] == [PUBREL]
        again.ack(PUBCOMP, 1)
        after.commit_all()
    assert sent_to(again) == [(b"5", 5, False)]


def test_the_wall_clock_is_ahead() -> None:
    """What the comparison above rests on."""
    assert at_wall_clock(KeptBroker(), START_S) == START_S + AHEAD_S
