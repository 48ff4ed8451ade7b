"""What must be on disk before which packet, event by event; the order of acknowledgements; what a restart finds."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import trio
from handlers.direct_links import V3_1_1, V5, DirectClient
from handlers.kept_links import KeptBroker, is_over, types_sent
from noctule._speedups.codec import decode_publish, encode_publish
from noctule.api import hookimpl
from noctule.config.settings import Durability, ListenerSettings, Settings
from noctule.core.access import Action
from noctule.core.clients import Client
from noctule.core.origin import Origin
from noctule.handlers.rejudging import Rejudging
from noctule.hooks.answers import Allow, Deny
from noctule.hooks.table import HookTable, Plugin, make_table
from noctule.protocol import Connect, SubscriptionRequest, decode_connack, encode_connect
from noctule.protocol.connect import Will
from noctule.protocol.subscribe import Subscribe, encode_subscribe
from noctule.protocol.unsubscribe import Unsubscribe, encode_unsubscribe
from noctule.storage.operations import PutMessage, PutQueued, PutReceived, PutRetained, PutSession, PutWill

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK = 2, 3, 4, 5, 6, 7, 9, 11
DISCONNECT = 14


def subscribe(client: DirectClient, *filters: str, qos: int = 2, packet_id: int = 1) -> None:
    """Send SUBSCRIBE; the answer is for the test to wait for."""
    requests = tuple(SubscriptionRequest(one, qos) for one in filters)
    client.send(encode_subscribe(Subscribe(packet_id, requests, None), client.version))


def unsubscribe(client: DirectClient, *filters: str, packet_id: int = 1) -> None:
    client.send(encode_unsubscribe(Unsubscribe(packet_id, filters), client.version))


def subscribed(broker: KeptBroker, client_id: str, *filters: str, qos: int = 2) -> DirectClient:
    """A durable client with subscriptions, connected."""
    client = broker.durable(client_id)
    subscribe(client, *filters, qos=qos)
    broker.commit_all()
    assert types_sent(client) == [SUBACK]
    return client


def offline(broker: KeptBroker, client_id: str, *filters: str, qos: int = 2) -> None:
    """A durable session with subscriptions and no connection."""
    subscribed(broker, client_id, *filters, qos=qos).lose()
    broker.commit_all()


# --- the table ---------------------------------------------------------------------------


class Line(NamedTuple):
    """One line of the table: what has been before, what the client does, what that puts and what it is answered with.

    Nothing of the answer may be sent before all that was put is kept.
    """

    prepare: Callable[[KeptBroker], DirectClient]
    act: Callable[[DirectClient], object]
    kinds: list[str]
    answer: list[int]


def _publisher(broker: KeptBroker) -> DirectClient:
    return broker.connect("publisher")


def _publisher_to_offline(broker: KeptBroker) -> DirectClient:
    offline(broker, "offline", "t")
    return _publisher(broker)


def _publisher_to_two(broker: KeptBroker) -> DirectClient:
    offline(broker, "one", "t")
    offline(broker, "two", "t", qos=1)
    return _publisher(broker)


def _publisher_to_online(broker: KeptBroker) -> DirectClient:
    subscribed(broker, "online", "t", qos=1)
    return _publisher(broker)


def _publisher_to_shared(broker: KeptBroker) -> DirectClient:
    offline(broker, "one", "$share/g/t")
    offline(broker, "two", "$share/g/t")
    return _publisher(broker)


def _with_retained(broker: KeptBroker) -> DirectClient:
    publisher = _publisher(broker).publish("t", b"old", 1, retain=True)
    broker.commit_all()
    assert types_sent(publisher) == [PUBACK]
    return publisher


def _durable(broker: KeptBroker) -> DirectClient:
    return broker.durable("c")


def _releasing(broker: KeptBroker) -> DirectClient:
    offline(broker, "offline", "t")
    client = broker.durable("c").publish("t", b"m", 2, 7)
    broker.commit_all()
    assert types_sent(client) == [PUBREC]
    return client


def _subscribed(broker: KeptBroker) -> DirectClient:
    return subscribed(broker, "c", "t", "u")


def _receiving(broker: KeptBroker) -> DirectClient:
    """It has been sent a message of QoS 2 under 1 and not answered."""
    client = subscribed(broker, "c", "t")
    broker.connect("publisher").publish("t", b"m", 2).ack(PUBREL, 1)
    broker.commit_all()
    assert types_sent(client) == [PUBLISH]
    return client


LINES: dict[str, Line] = {
    "QoS 1 for an offline session": Line(
        _publisher_to_offline, lambda c: c.publish("t", b"m", 1), ["PutMessage", "PutQueued"], [PUBACK]
    ),
    "QoS 1 for two sessions is stored once": Line(
        _publisher_to_two, lambda c: c.publish("t", b"m", 1), ["PutMessage", "PutQueued", "PutQueued"], [PUBACK]
    ),
    "QoS 1 for a connected session": Line(
        _publisher_to_online, lambda c: c.publish("t", b"m", 1), ["PutMessage", "PutQueued"], [PUBACK]
    ),
    "QoS 1 for one of a share group": Line(
        _publisher_to_shared, lambda c: c.publish("t", b"m", 1), ["PutMessage", "PutQueued"], [PUBACK]
    ),
    "QoS 1 retained": Line(
        _publisher, lambda c: c.publish("t", b"m", 1, retain=True), ["PutMessage", "PutRetained"], [PUBACK]
    ),
    "QoS 1 retained in place of another": Line(
        _with_retained,
        lambda c: c.publish("t", b"m", 1, retain=True),
        ["PutMessage", "PutRetained", "DropMessage"],
        [PUBACK],
    ),
    "QoS 1 that takes back what is retained": Line(
        _with_retained, lambda c: c.publish("t", b"", 1, retain=True), ["DropRetained", "DropMessage"], [PUBACK]
    ),
    "QoS 1 retained, for an offline session": Line(
        _publisher_to_offline,
        lambda c: c.publish("t", b"m", 1, retain=True),
        ["PutMessage", "PutRetained", "PutQueued"],
        [PUBACK],
    ),
    "QoS 2 of a durable session": Line(
        _durable, lambda c: c.publish("t", b"m", 2, 7), ["PutMessage", "PutReceived"], [PUBREC]
    ),
    "PUBREL: released and queued at once": Line(
        _releasing,
        lambda c: c.ack(PUBREL, 7),
        ["DropReceived", "PutQueued"],
        [PUBCOMP],
    ),
    "SUBSCRIBE": Line(_durable, lambda c: subscribe(c, "t", "u"), ["PutSubscription"] * 2, [SUBACK]),
    "UNSUBSCRIBE": Line(_subscribed, lambda c: unsubscribe(c, "t", "u"), ["DropSubscription"] * 2, [UNSUBACK]),
    "PUBREC from a subscriber": Line(_receiving, lambda c: c.ack(PUBREC, 1), ["PutQueued", "DropMessage"], [PUBREL]),
}


@pytest.mark.parametrize("name", LINES)
def test_nothing_is_acknowledged_before_it_is_kept(name: str) -> None:
    line = LINES[name]
    broker = KeptBroker()
    client = line.prepare(broker)
    line.act(client)
    assert client.received() == [], "sent before anybody has taken the batch"
    batch = broker.begin_commit()
    assert client.received() == [], "sent before the batch is on disk"
    assert sorted(batch.kinds) == sorted(line.kinds)
    assert batch.must_sync
    broker.end_commit(batch)
    assert types_sent(client) == line.answer


def _will(delay_s: int = 0) -> Will:
    return Will("will", b"gone", 1, False, delay_s)


@pytest.mark.parametrize("version", [V3_1_1, V5])
def test_connack_waits_for_the_session_and_its_will(version: int) -> None:
    broker = KeptBroker()
    expiry = {"session_expiry_interval_s": 60} if version == V5 else {}
    client = broker.begin_connect("c", version, clean_start=False, will=_will(), **expiry)
    batch = broker.begin_commit()
    assert client.received() == []
    assert batch.kinds == ["PutSession", "PutWill"]
    broker.end_commit(batch)
    assert types_sent(client) == [CONNACK]


def test_a_session_that_goes_on_waits_for_what_is_on_its_way() -> None:
    """Its new connection must not acknowledge what its old one's batch has not kept."""
    broker = KeptBroker()
    broker.durable("c").publish("t", b"m", 2, 7).lose()
    batch = broker.begin_commit()
    again = broker.begin_connect("c", clean_start=False, session_expiry_interval_s=60)
    again.publish("t", b"m", 2, 7, dup=True)
    assert again.received() == []
    broker.end_commit(batch)
    assert again.received() == [], "the session's own row is not kept yet"
    broker.commit()
    assert types_sent(again) == [CONNACK, PUBREC]


def test_clean_start_waits_until_the_old_session_is_gone() -> None:
    broker = KeptBroker()
    offline(broker, "c", "t")
    client = broker.begin_connect("c", clean_start=True)
    assert client.received() == []
    batch = broker.commit()
    assert batch.kinds == ["DropSession"]
    assert types_sent(client) == [CONNACK]
    assert not broker.disk.rows


def test_a_message_of_qos_2_goes_out_when_its_packet_identifier_is_kept() -> None:
    broker = KeptBroker()
    client = subscribed(broker, "c", "t")
    broker.connect("publisher").publish("t", b"m", 2).ack(PUBREL, 1)
    assert client.received() == []
    broker.commit_all()
    ((first, body),) = client.received()
    sent = decode_publish(first, body, V5, True)
    assert [row.packet_id for row in broker.rows(PutQueued)] == [sent.packet_id]


@pytest.mark.parametrize(
    "act",
    [
        lambda c: c.publish("t", b"m", 1, 1),
        lambda c: c.publish("t", b"m", 2, 1).ack(PUBREL, 1),
        lambda c: subscribe(c, "x"),
        lambda c: unsubscribe(c, "x"),
        lambda c: c.send(b"\xc0\x00"),
    ],
    ids=["QoS 1", "QoS 2", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ"],
)
def test_what_needs_no_disk_is_answered_at_once(act: Callable[[DirectClient], object]) -> None:
    broker = KeptBroker()
    broker.connect("subscriber").subscribe("t")
    client = broker.connect("c")
    act(client)
    assert client.received()
    assert len(broker.journal) == 0
    assert broker.wakes == 0


def test_what_subscribers_acknowledge_is_dropped_lazily() -> None:
    broker = KeptBroker()
    client = subscribed(broker, "c", "t")
    broker.connect("publisher").publish("t", b"1", 1).publish("t", b"2", 2, 2).ack(PUBREL, 2)
    broker.commit_all()
    assert types_sent(client) == [PUBLISH, PUBLISH]
    client.ack(PUBACK, 1).ack(PUBREC, 2)
    broker.commit_all()
    client.ack(PUBCOMP, 2)
    assert types_sent(client) == [PUBREL]
    assert broker.commit().kinds == ["DropQueued"]
    assert not broker.rows(PutQueued)
    assert not broker.rows(PutMessage)


# --- order -------------------------------------------------------------------------------


def test_acknowledgements_of_one_link_leave_in_order() -> None:
    broker = KeptBroker()
    offline(broker, "offline", "kept")
    client = broker.connect("c")
    client.publish("unkept", b"", 1, 1).publish("kept", b"", 1, 2).publish("unkept", b"", 1, 3).send(b"\xc0\x00")
    assert [body[:2] for _, body in client.received()] == [b"\x00\x01"]
    first = broker.begin_commit()
    client.publish("kept", b"", 1, 4).publish("unkept", b"", 1, 5)
    assert client.received() == []
    broker.end_commit(first)
    assert [body[:2] for _, body in client.received()] == [b"\x00\x02", b"\x00\x03", b""]
    client.publish("kept", b"", 1, 6)
    assert client.received() == []
    broker.commit()
    assert [body[:2] for _, body in client.received()] == [b"\x00\x04", b"\x00\x05", b"\x00\x06"]


def test_other_links_do_not_wait() -> None:
    broker = KeptBroker()
    offline(broker, "offline", "kept")
    slow, fast = broker.connect("slow"), broker.connect("fast")
    slow.publish("kept", b"", 1)
    assert slow.received() == []
    assert types_sent(fast.publish("unkept", b"", 1)) == [PUBACK]


def test_delivery_does_not_wait_for_what_is_received() -> None:
    """A message of QoS 1 is sent on before it is on disk: what waits is its acknowledgement."""
    broker = KeptBroker()
    client = subscribed(broker, "c", "t")
    publisher = broker.connect("publisher").publish("t", b"m", 1)
    assert types_sent(client) == [PUBLISH]
    assert publisher.received() == []


def test_two_batches_that_were_put_back() -> None:
    broker = KeptBroker()
    offline(broker, "offline", "t")
    client = broker.connect("c").publish("t", b"", 1, 1)
    batch = broker.begin_commit()
    client.publish("t", b"", 1, 2)
    broker.journal.put_back(list(batch.operations), batch.must_sync)
    assert client.received() == []
    again = broker.begin_commit()
    assert again.kinds == ["PutMessage", "PutQueued"] * 2
    assert again.must_sync
    assert not broker.journal.is_usable
    broker.end_commit(again)
    assert broker.journal.is_usable
    assert [body[:2] for _, body in client.received()] == [b"\x00\x01", b"\x00\x02"]


def test_a_link_that_ends_sends_what_was_held_back_first() -> None:
    broker = KeptBroker()
    offline(broker, "offline", "t")
    client = broker.connect("c").publish("t", b"", 1).send(b"\x10\x00")  # a second CONNECT
    assert is_over(client)
    assert client.received() == []
    broker.commit()
    assert types_sent(client) == [PUBACK, DISCONNECT]


def test_a_link_that_is_closed_while_held_back_is_forgotten() -> None:
    broker = KeptBroker()
    offline(broker, "offline", "t")
    client = broker.connect("c").publish("t", b"", 1)
    client.lose()
    broker.commit()
    assert [row.qos for row in broker.rows(PutQueued)] == [1]


# --- levels ------------------------------------------------------------------------------


def _levels() -> Settings:
    return Settings(durability=Durability.DISK)


def _connect_at(broker: KeptBroker, client_id: str, level: Durability, **fields: int) -> DirectClient:
    client = broker.open()
    listener = ListenerSettings(port=1884, durability=level)  # one that the settings know nothing of
    client.link = type(client.link)(broker.state.router, broker.dispatcher, "10.0.0.9:9", Origin(listener))
    broker.state.links.add(client.link)
    return client.send(encode_connect(Connect(V5, client_id, clean_start=False, **fields)))


def test_a_listener_at_os_waits_without_a_sync() -> None:
    broker = KeptBroker()
    client = _connect_at(broker, "c", Durability.OS, session_expiry_interval_s=60)
    assert client.received() == []
    batch = broker.begin_commit()
    assert not batch.must_sync
    broker.end_commit(batch)
    assert types_sent(client) == [CONNACK]
    subscribe(client, "t")
    assert not broker.commit().must_sync
    assert types_sent(client) == [SUBACK]
    broker.connect("publisher").publish("t", b"m", 2).ack(PUBREL, 1)
    assert client.received() == []
    kinds = broker.begin_commit()
    assert kinds.must_sync, "the publisher is one of the disk's"
    broker.end_commit(kinds)
    assert types_sent(client) == [PUBLISH]
    client.ack(PUBREC, 1)
    assert not broker.commit().must_sync


def test_delivery_at_os_asks_for_no_sync() -> None:
    broker = KeptBroker()
    client = _connect_at(broker, "c", Durability.OS, session_expiry_interval_s=60)
    subscribe(client, "t")
    broker.commit_all()
    publisher = _connect_at(broker, "publisher", Durability.OS)
    publisher.publish("t", b"m", 2).ack(PUBREL, 1)
    batch = broker.begin_commit()
    assert "PutQueued" in batch.kinds
    assert not batch.must_sync


def test_a_listener_in_memory_keeps_no_sessions_and_waits_for_nothing() -> None:
    broker = KeptBroker()
    offline(broker, "offline", "t")
    client = _connect_at(broker, "c", Durability.MEMORY, session_expiry_interval_s=60)
    assert types_sent(client) == [CONNACK]
    assert len(broker.journal) == 0
    assert types_sent(client.publish("t", b"m", 1)) == [PUBACK]
    assert broker.commit().kinds == ["PutMessage", "PutQueued"], "the other session is kept all the same"


def test_a_kept_session_that_comes_by_a_listener_in_memory_waits_for_nothing() -> None:
    broker = KeptBroker()
    offline(broker, "c", "t")
    client = _connect_at(broker, "c", Durability.MEMORY, session_expiry_interval_s=60)
    assert types_sent(client) == [CONNACK]
    broker.connect("publisher").publish("t", b"m", 2).ack(PUBREL, 1)
    assert types_sent(client) == [PUBLISH]


def test_a_session_in_memory_is_kept_from_when_it_comes_by_another_listener() -> None:
    broker = KeptBroker()
    client = _connect_at(broker, "c", Durability.MEMORY, session_expiry_interval_s=60)
    subscribe(client, "t", "$share/g/u")
    publisher = broker.connect("publisher").publish("t", b"1", 1).publish("t", b"2", 2, 2).ack(PUBREL, 2)
    publisher.publish("t", b"3", 2, 3).ack(PUBREL, 3)
    client.publish("x", b"held", 2, 9)
    assert types_sent(client)[-1] == PUBREC
    client.ack(PUBREC, 3).lose()
    publisher.publish("t", b"4", 1, 4)
    assert not broker.rows(PutQueued)
    broker.durable("c").lose()
    broker.commit_all()
    again = broker.crash()
    before, after = (one.state.sessions.find("c") for one in (broker, again))
    assert before is not None
    assert after is not None
    assert sorted(again.state.router.subscriptions_of(after)) == sorted(broker.state.router.subscriptions_of(before))
    assert [bytes(m.payload) if m else None for _, m, *_ in after.kept_state()[0]] == [b"1", b"2", None, b"4"]
    assert [packet_id for packet_id, _ in after.kept_state()[1]] == [9]


# --- no room -----------------------------------------------------------------------------


def full(broker: KeptBroker) -> None:
    """The disk has no room: what has been collected comes back."""
    batch = broker.begin_commit()
    broker.journal.put_back(list(batch.operations), batch.must_sync)


def test_without_room_version_5_is_told_and_recovers() -> None:
    broker = KeptBroker()
    offline(broker, "offline", "t")
    client = broker.connect("c").publish("t", b"0", 1)
    full(broker)
    assert client.received() == []
    client.publish("t", b"1", 1, 2).publish("t", b"2", 2, 3).publish("t", b"3", 0)
    broker.commit_all()
    (_, first), (_, second), (_, third) = client.received()
    assert first == b"\x00\x01"
    assert second == b"\x00\x02\x97"
    assert third == b"\x00\x03\x97"
    assert types_sent(client.publish("t", b"4", 1, 5)) == []
    broker.commit()
    assert types_sent(client) == [PUBACK]


def test_without_room_version_3_is_closed() -> None:
    broker = KeptBroker()
    client = broker.connect("c", V3_1_1)
    broker.durable("other").lose()
    full(broker)
    assert is_over(client.publish("t", b"", 1))


def test_without_room_a_durable_connect_is_refused_and_others_are_not() -> None:
    broker = KeptBroker()
    offline(broker, "kept", "t")
    broker.durable("other").lose()
    full(broker)
    for fields in ({"session_expiry_interval_s": 60}, {"client_id": "kept", "clean_start": True}):
        refused = broker.begin_connect(**{"client_id": "c", **fields})
        ((first, body),) = refused.received()
        assert decode_connack(body, V5, first).reason_code == 0x88
    ((first, body),) = broker.begin_connect("c").received()
    assert decode_connack(body, V5, first).reason_code == 0


@pytest.mark.parametrize("has_failed", [False, True])
def test_a_message_of_qos_2_does_not_begin_without_room_and_qos_0_goes_on(has_failed: bool) -> None:
    broker = KeptBroker(inflight_max=1)
    client = subscribed(broker, "c", "t", "z")
    publisher = broker.connect("p")
    publisher.publish("t", b"1", 2, 1).ack(PUBREL, 1).publish("t", b"2", 2, 2).ack(PUBREL, 2)
    broker.commit_all()
    assert types_sent(client) == [PUBLISH]
    client.ack(PUBREC, 1)
    broker.commit_all()
    assert types_sent(client) == [PUBREL]
    if has_failed:
        broker.journal.fail()
    else:
        publisher.publish("z", b"", 0, retain=True)
        full(broker)
        client.received()
    client.ack(PUBCOMP, 1)
    assert client.received() == [], "the second would be under an identifier that is not kept"
    publisher.publish("z", b"zero")
    assert client.payloads() == [b"zero"]
    if not has_failed:
        broker.commit_all()
        client.link.output_sent()
        broker.state.plane.flush()
        broker.commit_all()
        assert client.payloads() == [b"2"]


def test_a_repeated_message_of_qos_2_is_not_refused_without_room() -> None:
    """Its identifier is in use: were it refused, its client would use the identifier for another message."""
    broker = KeptBroker()
    client = broker.durable("c", V5).publish("t", b"", 2, 7)
    broker.commit_all()
    assert types_sent(client) == [PUBREC]
    broker.durable("other").lose()
    full(broker)
    ((_, body),) = client.publish("t", b"", 2, 7, dup=True).received()
    assert body in (b"\x00\x07", b"\x00\x07\x10")


def test_short_of_room_what_makes_room_is_kept() -> None:
    broker = KeptBroker(inflight_max=1)
    client = subscribed(broker, "c", "t")
    publisher = broker.connect("p").publish("t", b"", 1)
    publisher.publish("t", b"", 2, 3).ack(PUBREL, 3)
    broker.commit_all()
    assert types_sent(client) == [PUBLISH]
    assert len(publisher.received()) == 3
    broker.journal.run_short()
    assert [body for _, body in publisher.publish("t", b"", 1, 2).received()] == [b"\x00\x02\x97"]
    client.ack(PUBACK, 1)
    assert broker.commit().kinds == ["DropQueued", "DropMessage", "PutQueued"]
    assert types_sent(client) == [PUBLISH], "what goes out makes room"
    assert broker.journal.takes_messages


# --- a store that has failed -------------------------------------------------------------


def test_after_a_failure_qos_0_goes_on_and_the_rest_is_refused() -> None:
    broker = KeptBroker()
    client = subscribed(broker, "c", "t")
    broker.journal.fail()
    publisher = broker.connect("p")
    assert [body for _, body in publisher.publish("t", b"", 1, 5).publish("t", b"", 2, 6).received()] == [
        b"\x00\x05\x83",
        b"\x00\x06\x83",
    ]
    publisher.publish("t", b"zero")
    assert client.payloads() == [b"zero"]
    assert client.subscribe("x") == (0x83,)
    assert client.unsubscribe("t") == (0x83,)
    ((first, body),) = broker.begin_connect("d", session_expiry_interval_s=60).received()
    assert decode_connack(body, V5, first).reason_code == 0x88
    assert len(broker.journal) == 0


def test_after_a_failure_pubrel_is_not_confirmed() -> None:
    """PUBCOMP would promise that the message is where it belongs, and a restart would find it unreleased for ever."""
    broker = KeptBroker()
    client = _releasing(broker)
    broker.journal.fail()
    client.ack(PUBREL, 7)
    assert client.told_why() == 0x83


def test_after_a_failure_pubrec_is_not_answered() -> None:
    """After PUBREL the client forgets the identifier, and a restart would send it the message again."""
    broker = KeptBroker()
    client = _receiving(broker)
    broker.journal.fail()
    client.ack(PUBREC, 1)
    assert client.told_why() == 0x83


def test_after_a_failure_version_3_is_closed_where_it_cannot_be_told() -> None:
    broker = KeptBroker()
    client = broker.durable("c", V3_1_1)
    subscribe(client, "t")
    broker.commit_all()
    assert types_sent(client) == [SUBACK]
    broker.journal.fail()
    subscribe(client, "u")
    ((first, body),) = client.received()
    assert (first >> 4, body[2:]) == (SUBACK, b"\x80")
    unsubscribe(client, "t")
    assert is_over(client)
    assert client.received() == []


def test_after_a_failure_nothing_that_was_held_back_leaves() -> None:
    broker = KeptBroker()
    offline(broker, "offline", "t")
    client = broker.connect("c").publish("x", b"", 1, 1).publish("t", b"", 1, 2)
    broker.begin_commit()
    broker.journal.fail()
    (held,) = broker.state.plane.take_held_back()
    assert held is client.link
    client.link.forget_held_back()
    assert [body for _, body in client.received()] == [b"\x00\x01\x10"]
    assert types_sent(client.send(b"\xc0\x00")) == [13], "what is written from now on is in its place"


# --- back-pressure -----------------------------------------------------------------------


def publishes(count: int, topic: bytes, qos: int, size: int = 1_000, *, retain: bool = False) -> bytes:
    return b"".join(
        encode_publish(topic, bytes(size), V5, qos, retain, False, number if qos else 0)
        for number in range(1, count + 1)
    )


def test_who_publishes_more_than_the_disk_takes_is_not_read() -> None:
    broker = KeptBroker(waiting_max_bytes=10_000)
    offline(broker, "offline", "t")
    client = broker.connect("c").send(publishes(30, b"t", 1))
    assert client.link.is_stalled
    assert broker.journal.collected_bytes < 12_000
    seen = 0
    for _ in range(10):
        broker.commit()
        seen += len(client.received())
    assert seen == 30
    assert not client.link.is_stalled
    assert len(broker.rows(PutQueued)) == 30


def test_a_retained_flood_of_qos_0_is_slowed_down_too() -> None:
    broker = KeptBroker(waiting_max_bytes=10_000)
    client = broker.connect("c").send(publishes(30, b"t", 0, retain=True))
    assert client.link.is_stalled
    assert broker.journal.collected_bytes < 12_000
    for _ in range(10):
        broker.commit()
    assert not client.link.is_stalled
    assert len(broker.rows(PutMessage)) == 1


def test_subscriptions_are_slowed_down_too() -> None:
    broker = KeptBroker(waiting_max_bytes=10_000)
    client = broker.durable("c")
    request = (SubscriptionRequest("a/" * 90 + "x", 0),)
    client.send(b"".join(encode_subscribe(Subscribe(1, request, None), V5) for _ in range(100)))
    assert client.link.is_stalled
    assert broker.journal.collected_bytes < 12_000
    seen = 0
    for _ in range(100):
        broker.commit()
        client.link.go_on()
        seen += len(client.received())
    assert seen == 100


def test_a_publisher_who_is_sent_messages_all_the_time_goes_on() -> None:
    """Each batch holds something back on its link: that must not keep its own packets waiting for ever."""
    broker = KeptBroker(waiting_max_bytes=3_000)
    client = subscribed(broker, "c", "in")
    offline(broker, "offline", "t")
    other = broker.connect("other")
    client.send(publishes(12, b"t", 1))
    assert client.link.is_stalled
    for number in range(1, 13):
        batch = broker.begin_commit()
        other.publish("in", b"", 2, number).ack(PUBREL, number)
        broker.end_commit(batch)
    assert not client.link.is_stalled


def test_what_may_not_be_published_is_not_held_without_limit() -> None:
    """Below version 5 QoS 2 runs its course where it is refused too, and what is held is kept."""
    broker = KeptBroker(receive_maximum=5)
    client = broker.durable("c", V3_1_1)
    session = broker.state.sessions.find("c")
    assert session is not None
    session.access = Rules()
    for number in range(1, 11):
        assert not is_over(client.publish("t", b"", 2, number))
    assert is_over(client.publish("t", b"", 2, 11))
    assert session.unreleased == 10


def test_a_link_that_is_not_read_is_not_silent() -> None:
    broker = KeptBroker(waiting_max_bytes=3_000)
    offline(broker, "offline", "t")
    client = broker.connect("c", keep_alive_s=10).send(publishes(12, b"t", 1))
    assert client.link.is_stalled
    broker.advance(60)
    assert not is_over(client)
    broker.commit_all()
    broker.advance(14)
    assert not is_over(client)
    broker.advance(14)
    assert is_over(client)


# --- what is left after a restart --------------------------------------------------------


def test_the_will_of_a_session_that_was_connected_is_due_after_its_delay() -> None:
    broker = KeptBroker()
    offline(broker, "watcher", "will")
    broker.durable("c", will=_will(5))
    assert broker.rows(PutWill)[0].delay_interval_s == 5
    again = broker.crash()
    watcher = again.durable("watcher")
    again.advance(4)
    again.commit_all()
    assert watcher.payloads() == []
    again.advance(2)
    again.commit_all()
    assert watcher.payloads() == [b"gone"]
    assert not again.rows(PutWill)
    assert again.crash().state.sessions.find("c").will is None  # type: ignore[union-attr]


def test_a_will_whose_time_came_while_the_broker_was_down() -> None:
    broker = KeptBroker()
    offline(broker, "watcher", "will")
    broker.durable("c", will=_will(50)).lose()
    broker.commit_all()
    again = broker.crash(ahead_s=broker.journal.wall_clock_ahead_s + 60)
    watcher = again.durable("watcher")
    again.advance(0.1)
    again.commit_all()
    assert watcher.payloads() == [b"gone"]


class Rules:
    """Lets ``good`` publish, and nobody else."""

    def publish_rights(self, topic: bytes) -> int:
        return 0

    def may_receive(self, topic: bytes) -> bool:
        return True

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        return None

    def rule_of(self, action: object, topic: str) -> str:
        return "none"


class JudgingPlugin:
    """Knows the rules by the user's name, and where to ask for them or for single answers."""

    def __init__(self) -> None:
        self.asked: list[Client] = []

    @hookimpl
    async def load_access(self, client: Client) -> Rules | None:
        self.asked.append(client)
        return Rules() if client.user_name == "bad" else None


class AskedPlugin:
    @hookimpl
    async def authorize(self, client: Client, action: Action, topic: str) -> Allow | Deny:
        return Deny("bad") if client.user_name == "bad" else Allow()


class NoTurns:
    def begin_turn(self) -> None: ...

    def end_turn(self) -> None: ...


@pytest.mark.parametrize("plugin", [JudgingPlugin, AskedPlugin])
@pytest.mark.parametrize("user_name", ["bad", "good"])
def test_the_will_of_a_session_that_was_kept_is_judged_before_it_is_published(plugin: type, user_name: str) -> None:
    broker = KeptBroker()
    offline(broker, "watcher", "will")
    broker.durable("c", will=_will(5), user_name=user_name)
    hooks = make_table([Plugin("test", plugin())])
    if plugin is JudgingPlugin and user_name == "good":
        hooks = HookTable()  # whom no plugin has rules for may do nothing, where any has
    again = broker.crash(hooks=hooks)
    sessions = list(again.state.sessions)
    trio.run(Rejudging(again.dispatcher.means, NoTurns()).judge_again, sessions)
    assert len(again.state.router.subscriptions_of(again.state.sessions.find("watcher"))) == 1  # type: ignore[arg-type]
    again.advance(6)
    session = again.state.sessions.find("watcher")
    assert session is not None
    assert len(session.kept_state()[0]) == (user_name == "good")


def test_the_time_of_a_session_that_was_connected_runs_from_the_first_restart() -> None:
    broker = KeptBroker()
    broker.durable("c", session_expiry_interval_s=60, will=_will(30))
    for _ in range(7):
        broker.advance(10)
        again = broker.crash(ahead_s=broker.journal.wall_clock_ahead_s + 10)
        again.advance(0)
        again.commit_all()
        broker = again
    assert broker.state.sessions.find("c") is None


def test_after_disconnect_there_is_no_will() -> None:
    broker = KeptBroker()
    broker.durable("c", will=_will()).disconnect()
    broker.commit_all()
    assert not broker.rows(PutWill)


def test_disconnect_may_change_how_long_the_session_lives() -> None:
    broker = KeptBroker()
    broker.durable("c").disconnect(session_expiry_interval_s=7)
    broker.commit_all()
    (row,) = broker.rows(PutSession)
    assert row.expiry_interval_s == 7
    broker.durable("c").disconnect(session_expiry_interval_s=0)
    broker.commit_all()
    assert not broker.disk.rows


@pytest.mark.parametrize("down_s", [30, 90])
def test_a_session_expires_by_the_wall_clock(down_s: int) -> None:
    broker = KeptBroker()
    broker.durable("c", session_expiry_interval_s=60).lose()
    broker.commit_all()
    again = broker.crash(ahead_s=broker.journal.wall_clock_ahead_s + down_s)
    again.advance(0)
    assert (again.state.sessions.find("c") is not None) == (down_s < 60)
    again.advance(40)
    again.commit_all()
    assert not again.rows(PutSession)


def _expiring(interval_s: int) -> bytes:
    return b"\x02" + interval_s.to_bytes(4, "big")


@pytest.mark.parametrize("interval_s", [0, 1, 60])
def test_messages_expire_by_the_wall_clock(interval_s: int) -> None:
    broker = KeptBroker()
    offline(broker, "offline", "t")
    publisher = broker.connect("p")
    topic = b"\x00\x01t"
    properties = _expiring(interval_s)
    body = topic + b"\x00\x01" + bytes([len(properties)]) + properties + b"m"
    publisher.send(bytes([0x33, len(body)]) + body)
    broker.commit_all()
    for down_s in (30, 90):
        again = broker.crash(ahead_s=broker.journal.wall_clock_ahead_s + down_s)
        again.advance(0)
        client = again.durable("offline")
        is_alive = down_s < interval_s
        found = [first >> 4 for first, _ in client.behind_connack]
        assert found == ([PUBLISH] if is_alive else [])
        again.commit_all()
        assert len(again.rows(PutQueued)) == is_alive
        assert len(again.rows(PutRetained)) == is_alive


def test_a_message_of_qos_2_from_a_client_is_published_once() -> None:
    """A crash between any two steps of both flows."""
    broker = KeptBroker()
    offline(broker, "offline", "t")
    broker.durable("c").publish("t", b"m", 2, 7)
    broker.commit_all()
    again = broker.crash()
    client = again.durable("c")
    client.publish("t", b"m", 2, 7, dup=True)
    assert types_sent(client) == [PUBREC]
    client.ack(PUBREL, 7)
    collected = again.begin_commit()
    for third, has_queued in ((again.crash(), False), (again.crash(collected.operations), True)):
        assert len(third.rows(PutQueued)) == has_queued
        assert len(third.rows(PutReceived)) == (not has_queued)
        client = third.durable("c").ack(PUBREL, 7)
        third.commit_all()
        assert types_sent(client) == [PUBCOMP]
        assert len(third.rows(PutQueued)) == 1
        assert not third.rows(PutReceived)


def test_a_message_of_qos_2_to_a_client_is_sent_again_under_its_identifier() -> None:
    broker = KeptBroker()
    _receiving(broker)
    again = broker.crash()
    client = again.durable("c")
    ((first, body),) = client.behind_connack
    sent = decode_publish(first, body, V5, True)
    assert (sent.packet_id, sent.dup, sent.payload) == (1, True, b"m")
    client.ack(PUBREC, 1)
    again.commit_all()
    assert types_sent(client) == [PUBREL]
    third = again.crash()
    client = third.durable("c")
    assert client.behind_connack == [(0x62, b"\x00\x01")]
    client.ack(PUBCOMP, 1)
    third.commit_all()
    assert not third.rows(PutQueued)
    assert not third.rows(PutMessage)


def test_what_a_share_group_sent_to_a_session_that_ends_goes_to_another() -> None:
    broker = KeptBroker()
    offline(broker, "one", "$share/g/t")
    publisher = broker.connect("p").publish("t", b"1", 1).publish("t", b"2", 2, 2).ack(PUBREL, 2)
    broker.commit_all()
    offline(broker, "two", "$share/g/t")
    broker.connect("one", clean_start=True)
    broker.commit_all()
    again = broker.crash()
    session = again.state.sessions.find("two")
    assert session is not None
    assert [message.payload for _, message, *_ in session.kept_state()[0] if message] == [b"1", b"2"]
    assert len(again.rows(PutMessage)) == 2
    again.connect("two", clean_start=True)
    again.commit_all()
    assert not again.disk.rows, "rows that nobody refers to stay for ever"
    assert publisher.received()


def test_rows_of_a_session_go_with_it() -> None:
    broker = KeptBroker()
    offline(broker, "c", "t")
    publisher = broker.connect("p").publish("t", b"1", 1).publish("t", b"2", 2, 2).ack(PUBREL, 2)
    client = broker.durable("c")
    assert [first >> 4 for first, _ in client.behind_connack] == [PUBLISH, PUBLISH]
    client.publish("x", b"", 2, 5)
    broker.commit_all()
    assert publisher.received()
    client.disconnect(session_expiry_interval_s=0)
    broker.commit_all()
    assert not broker.disk.rows
