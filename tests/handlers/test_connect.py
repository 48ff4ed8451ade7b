"""CONNECT: who comes in, under which name, with which session, and how everybody else is refused."""

import pytest
from handlers.direct_links import PINGREQ, PINGRESP, V3_1, V3_1_1, V5, DirectBroker
from noctule._speedups.link import CLOSED, ENDING, OPEN
from noctule.protocol import Connect, ProtocolVersion, Will, decode_connack, encode_connect
from protocol.wire_tables.connect import FAULTY, VALID

every_version = pytest.mark.parametrize("version", ProtocolVersion, ids=["3.1", "3.1.1", "5"])
NEVER = 0xFFFFFFFF


# --- accepted ---


@every_version
def test_the_first_answer_is_connack(version: ProtocolVersion) -> None:
    """[MQTT-3.2.0-1]"""
    broker = DirectBroker()
    client = broker.open(version)
    client.send(encode_connect(Connect(version, "c")), PINGREQ)
    (first, body), *others = client.received()
    connack = decode_connack(body, version, first)
    assert (connack.reason_code, connack.session_present) == (0, False)
    assert others == [PINGRESP]
    assert client.link.state == OPEN
    assert len(broker.state.sessions) == len(broker.state.links) == 1


def test_connack_tells_the_limits() -> None:
    broker = DirectBroker(receive_maximum=77, packet_max_bytes=12_345)
    connack = broker.connect().connack
    assert connack is not None
    assert (connack.receive_maximum, connack.maximum_packet_size) == (77, 12_345)
    assert connack.assigned_client_identifier is None


@pytest.mark.parametrize("row", VALID, ids=lambda row: row.name)
def test_every_right_connect_is_answered(row: object) -> None:
    packet: Connect = row.packet  # type: ignore[attr-defined]
    broker = DirectBroker()
    client = broker.open(packet.version)
    client.send(row.wire)  # type: ignore[attr-defined]
    ((first, body),) = client.received()
    connack = decode_connack(body, packet.version, first)
    refused = packet.authentication_method is not None
    assert connack.reason_code == (0x8C if refused else 0)
    assert len(broker.state.sessions) == (0 if refused else 1)


# --- the client identifier ---


def test_no_name_in_version_5_gets_one_and_is_told() -> None:
    """[MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]"""
    broker = DirectBroker()
    names = set()
    for _ in range(20):
        connack = broker.connect("").connack
        assert connack is not None
        assert connack.assigned_client_identifier
        assert broker.state.sessions.find(connack.assigned_client_identifier) is not None
        names.add(connack.assigned_client_identifier)
    assert len(names) == 20


def test_the_name_that_was_given_may_be_used_again() -> None:
    broker = DirectBroker()
    first = broker.connect("", session_expiry_interval_s=100)
    assert first.connack is not None
    name = first.connack.assigned_client_identifier
    assert name is not None
    first.lose()
    again = broker.connect(name, clean_start=False, session_expiry_interval_s=100)
    assert again.connack is not None
    assert again.connack.session_present


def test_no_name_in_3_1_1() -> None:
    """[MQTT-3.1.3-6] to [MQTT-3.1.3-8] of 3.1.1: with CleanSession alone."""
    broker = DirectBroker()
    broker.connect("", V3_1_1)
    client = broker.open(V3_1_1)
    connack = client.connect(Connect(V3_1_1, "", clean_start=False))
    assert connack is not None
    assert connack.reason_code == 0x85
    assert client.link.state == ENDING
    assert len(broker.state.sessions) == 1


def test_no_name_in_3_1_is_refused() -> None:
    broker = DirectBroker()
    client = broker.open(V3_1)
    client.send(encode_connect(Connect(V3_1, "")))
    assert client.received() == [(0x20, b"\x00\x02")]
    assert client.link.state == ENDING


@every_version
@pytest.mark.parametrize(
    "name", ["0123456789abcdefghijABC", "a" * 1_000, "ä/+#$", " "], ids=["23", "1000", "signs", "space"]
)
def test_names_that_are_taken(version: ProtocolVersion, name: str) -> None:
    """[MQTT-3.1.3-5]"""
    assert DirectBroker().connect(name, version).link.state == OPEN


# --- the session ---


def test_a_session_that_is_kept_is_present() -> None:
    """[MQTT-3.1.2-4] to [MQTT-3.1.2-6], [MQTT-3.2.2-2] [MQTT-3.2.2-3]"""
    broker = DirectBroker()
    present: list[bool] = []
    for clean_start, expiry in [(False, 100), (False, 100), (True, 100), (False, 0), (False, 0)]:
        client = broker.connect("c", clean_start=clean_start, session_expiry_interval_s=expiry)
        assert client.connack is not None
        present.append(client.connack.session_present)
        client.lose()
    assert present == [False, True, False, True, False]
    assert len(broker.state.sessions) == 0


def test_a_session_of_3_1_1_is_kept_without_clean_session() -> None:
    broker = DirectBroker()
    present: list[bool] = []
    for clean in (False, False, True, False):
        client = broker.connect("c", V3_1_1, clean_start=clean)
        assert client.connack is not None
        present.append(client.connack.session_present)
        client.disconnect()
    assert present == [False, True, False, False]
    assert len(broker.state.sessions) == 1
    broker.advance(1e9)  # for good
    assert len(broker.state.sessions) == 1


def test_3_1_is_not_told_of_the_session_but_has_it() -> None:
    broker = DirectBroker()
    client = broker.connect("c", V3_1, clean_start=False)
    client.subscribe("t")
    client.lose()
    broker.connect("p").publish("t", b"x", 1)
    again = broker.open(V3_1)
    again.send(encode_connect(Connect(V3_1, "c", clean_start=False)))
    assert [first for first, _ in again.received()] == [0x20, 0x32]


def test_subscriptions_and_queue_outlive_the_connection_and_a_clean_start_ends_them() -> None:
    broker = DirectBroker()
    client = broker.connect("c", session_expiry_interval_s=100)
    client.subscribe("t")
    client.lose()
    publisher = broker.connect("p")
    publisher.publish("t", b"1", 1)
    client = broker.connect("c", clean_start=False, session_expiry_interval_s=100)
    assert [first for first, _ in client.behind_connack] == [0x32]
    client.ack(4, 1).lose()
    publisher.publish("t", b"2", 1)
    client = broker.connect("c", session_expiry_interval_s=100)
    assert client.behind_connack == []
    publisher.publish("t", b"3", 1)
    assert client.received() == []


def test_a_session_expires() -> None:
    """[MQTT-3.1.2-23], 3.1.2.11.2"""
    broker = DirectBroker()
    client = broker.connect("c", session_expiry_interval_s=30)
    client.subscribe("a/b/c")
    client.lose()
    broker.advance(29.999)
    assert len(broker.state.sessions) == 1
    broker.advance(0.001)
    assert len(broker.state.sessions) == 0
    assert broker.state.router.filters.node_count == 0
    assert len(broker.state.plane.deadlines) == 0


def test_a_session_that_is_back_does_not_expire() -> None:
    broker = DirectBroker()
    broker.connect("c", session_expiry_interval_s=30).lose()
    broker.advance(20)
    broker.connect("c", clean_start=False, session_expiry_interval_s=30)
    broker.advance(1_000)
    assert len(broker.state.sessions) == 1


# --- takeover ---


@pytest.mark.parametrize("new_version", [V3_1_1, V5])
@every_version
def test_the_old_connection_of_a_name_is_closed(version: ProtocolVersion, new_version: ProtocolVersion) -> None:
    """[MQTT-3.1.4-3] of 5.0, [MQTT-3.1.4-2] of 3.1.1"""
    broker = DirectBroker()
    old = broker.connect("c", version)
    other = broker.connect("other")
    new = broker.connect("c", new_version)
    assert old.told_why() == (0x8E if version == 5 else None)
    assert old.link.state == (ENDING if version == 5 else CLOSED)
    assert new.link.state == other.link.state == OPEN
    session = broker.state.sessions.find("c")
    assert session is not None
    assert session.outlet is new.link
    old.send(PINGREQ)
    old.lose()
    assert new.send(PINGREQ).received() == [PINGRESP]
    assert len(broker.state.links) == 2


def test_a_session_that_is_taken_over_goes_on() -> None:
    broker = DirectBroker()
    old = broker.connect("c", session_expiry_interval_s=100)
    old.subscribe("t")
    broker.connect("p").publish("t", b"1", 1)
    assert len(old.publishes()) == 1
    new = broker.connect("c", clean_start=False, session_expiry_interval_s=100)
    assert new.connack is not None
    assert new.connack.session_present
    assert [first for first, _ in new.behind_connack] == [0x3A]  # PUBLISH, QoS 1, DUP


def test_a_connection_that_does_not_read_its_end_is_closed_all_the_same() -> None:
    broker = DirectBroker(end_timeout_s=2.0)
    old = broker.connect("c")
    broker.connect("c")
    broker.advance(1.999)
    assert old.link.state == ENDING
    broker.advance(0.001)
    assert old.link.state == CLOSED
    assert len(broker.state.links) == 1


def test_two_clients_that_fight_for_a_name_leave_nothing_behind() -> None:
    """R16"""
    broker = DirectBroker()
    for _ in range(200):
        broker.connect("c", session_expiry_interval_s=100).subscribe("t")
    broker.advance(10)
    assert (len(broker.state.links), len(broker.state.sessions)) == (1, 1)
    assert broker.state.router.filters.subscription_count == 1


# --- refused ---


@pytest.mark.parametrize("row", [row for row in FAULTY if row.wire[0] == 0x10], ids=lambda row: row.name)
def test_a_wrong_connect_is_refused_and_changes_nothing(row: object) -> None:
    """[MQTT-3.1.4-1]: version 5 is told why, 3.x is not; what is behind it is not looked at [MQTT-3.1.4-6]."""
    broker = DirectBroker()
    kept = broker.connect("c", session_expiry_interval_s=100)
    kept.subscribe("#")
    client = broker.open()
    wire: bytes = row.wire  # type: ignore[attr-defined]
    client.send(wire, b"\x30\x03\x00\x01tx", PINGREQ)
    packets = client.received()
    assert client.link.session is None
    assert kept.received() == []
    assert kept.link.state == OPEN
    assert len(broker.state.sessions) == 1
    code: int = row.reason_code  # type: ignore[attr-defined]
    speaks_5 = wire[2:8] == b"\x00\x04MQTT" and wire[8] >= 5
    speaks_3 = wire[2:8] == b"\x00\x04MQTT" or wire[2:10] == b"\x00\x06MQIsdp"
    if speaks_5:
        ((first, body),) = packets
        assert decode_connack(body, 5, first).reason_code == code
        assert client.link.state == ENDING
    elif code == 0x84 and speaks_3:
        assert packets == [(0x20, b"\x00\x01")]  # [MQTT-3.1.2-2] of 3.1.1
    else:
        assert packets == []
        assert client.link.state == CLOSED
    broker.advance(60)
    assert len(broker.state.links) == 1


@every_version
def test_every_prefix_of_a_connect_is_refused_or_waited_for(version: ProtocolVersion) -> None:
    """P2"""
    wire = encode_connect(Connect(version, "client", True, 60, Will("w", b"p", 1, True), "user", b"password"))
    broker = DirectBroker()
    watching = broker.connect("watching")
    watching.subscribe("w")
    for size in range(len(wire)):
        client = broker.open()
        client.send(wire[:size])
        assert client.received() == []
        client.lose()
        short = bytes((0x10, max(size - 2, 0))) + wire[2:size]
        client = broker.open()
        client.send(short)
        assert client.link.session is None or version == V3_1, size
        if client.link.session is not None:
            client.disconnect()
        client.lose()
        broker.advance(60)
    assert watching.publishes() == []
    assert len(broker.state.links) == 1


def test_an_authentication_method_is_refused() -> None:
    """[MQTT-4.12.0-1]"""
    client = DirectBroker().open()
    connack = client.connect(Connect(V5, "c", authentication_method="SCRAM-SHA-1", authentication_data=b"x"))
    assert connack is not None
    assert connack.reason_code == 0x8C
    assert client.link.state == ENDING


@pytest.mark.parametrize("limit", [5, 10, 38])
def test_a_refusal_is_no_larger_than_the_client_takes(limit: int) -> None:
    """[MQTT-3.2.2-19]"""
    client = DirectBroker().open()
    client.send(encode_connect(Connect(V5, "c", maximum_packet_size=limit, authentication_method="SCRAM-SHA-1")))
    assert all(2 + len(body) <= limit for _, body in client.received())
    assert client.link.session is None


def test_a_refused_connect_takes_nothing_over_and_arms_no_will() -> None:
    """A10, NanoMQ #2330"""
    broker = DirectBroker()
    old = broker.connect("c")
    old.subscribe("w")
    client = broker.open()
    client.connect(Connect(V5, "c", authentication_method="x", will=Will("w", b"boo")))
    client.lose()
    broker.advance(60)
    assert old.publishes() == []
    assert old.link.state == OPEN


def test_nobody_comes_in_while_the_broker_stops() -> None:
    broker = DirectBroker()
    broker.state.is_stopping = True
    connack = broker.open().connect(Connect(V5, "c"))
    assert connack is not None
    assert connack.reason_code == 0x88
    client = broker.open()
    client.send(encode_connect(Connect(V3_1_1, "c")))
    assert client.received() == [(0x20, b"\x00\x03")]
    assert len(broker.state.sessions) == 0


def test_a_will_topic_has_no_more_levels_than_a_publish_may_have() -> None:
    broker = DirectBroker(topic_levels_max=5)
    connack = broker.open().connect(Connect(V5, "c", will=Will("a/b/c/d/e/f", b"p")))
    assert connack is not None
    assert connack.reason_code == 0x90
    broker.connect("c", will=Will("a/b/c/d/e", b"p"))
    for levels in (201, 257, 32_768):
        client = DirectBroker().open()
        connack = client.connect(Connect(V5, "c", will=Will("/" * (levels - 1), b"p", 0, True)))
        assert connack is not None
        assert connack.reason_code == 0x90


# --- time ---


def test_a_connection_without_connect_is_closed_in_time() -> None:
    """R1"""
    broker = DirectBroker(connect_timeout_s=10)
    silent, slow, done = broker.open(), broker.open(), broker.open()
    wire = encode_connect(Connect(V5, "slow"))
    for byte in wire[:9]:
        slow.send(bytes((byte,)))
        broker.advance(1)
    assert not silent.is_closed
    done.connect(Connect(V5, "done"))
    broker.advance(0.999)
    assert not silent.is_closed
    assert not slow.is_closed
    broker.advance(0.001)
    assert silent.is_closed
    assert slow.is_closed
    assert silent.received() == slow.received() == []
    assert done.link.state == OPEN
    broker.advance(1_000)
    assert done.link.state == OPEN


@every_version
def test_silence_of_one_and_a_half_times_keep_alive_ends_the_connection(version: ProtocolVersion) -> None:
    """[MQTT-3.1.2-22] of 5.0, [MQTT-3.1.2-24] of 3.1.1"""
    broker = DirectBroker()
    client = broker.connect("c", version, keep_alive_s=10, will=Will("w", b"gone"))
    watching = broker.connect("watching")
    watching.subscribe("w")
    broker.advance(14)
    assert client.send(PINGREQ).received() == [PINGRESP]
    broker.advance(14.999)
    assert client.link.state == OPEN
    broker.advance(0.001)
    assert client.told_why() == (0x8D if version == 5 else None)
    assert watching.payloads() == [b"gone"]


# --- what is no CONNECT ---


@every_version
def test_a_second_connect_is_a_protocol_error(version: ProtocolVersion) -> None:
    """[MQTT-3.1.0-2]: the will is published, the connection ends."""
    broker = DirectBroker()
    watching = broker.connect("watching")
    watching.subscribe("w")
    client = broker.connect("c", version, will=Will("w", b"gone"))
    client.send(encode_connect(Connect(version, "d")))
    assert client.told_why() == (0x82 if version == 5 else None)
    assert watching.payloads() == [b"gone"]
    assert broker.state.sessions.find("d") is None


@pytest.mark.parametrize("packet_type", [packet_type for packet_type in range(16) if packet_type != 1])
def test_no_other_packet_comes_first(packet_type: int) -> None:
    """[MQTT-3.1.0-1]: and nothing is sent."""
    broker = DirectBroker()
    for wire in (bytes((packet_type << 4, 0)), bytes((packet_type << 4 | 2, 2, 0, 1))):
        client = broker.open()
        client.send(wire, encode_connect(Connect(V5, "c")))
        assert client.is_closed
        assert client.received() == []
    assert (len(broker.state.sessions), len(broker.state.links)) == (0, 0)
