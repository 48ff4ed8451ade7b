"""DISCONNECT, wills, and every other way in which a connection ends."""

import pytest
from handlers.direct_links import V3_1_1, V5, DirectBroker, DirectClient
from noctule.protocol import ProtocolVersion, Will
from protocol.wire_tables.disconnect import FAULTY

every_version = pytest.mark.parametrize("version", ProtocolVersion, ids=["3.1", "3.1.1", "5"])

WILL = Will("w", b"gone", 1)


def watched() -> tuple[DirectBroker, DirectClient]:
    broker = DirectBroker()
    watching = broker.connect("watching")
    watching.subscribe("w")
    return broker, watching


@every_version
def test_a_normal_disconnect_takes_the_will_back(version: ProtocolVersion) -> None:
    """[MQTT-3.14.4-3]"""
    broker, watching = watched()
    client = broker.connect("c", version, will=WILL)
    client.disconnect()
    assert client.told_why() is None
    broker.advance(1_000)
    assert watching.publishes() == []
    assert len(broker.state.sessions) == 1


@pytest.mark.parametrize("reason_code", [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])
def test_any_other_disconnect_publishes_it(reason_code: int) -> None:
    """[MQTT-3.14.4-3]"""
    broker, watching = watched()
    broker.connect("c", will=WILL).disconnect(reason_code)
    assert watching.payloads() == [b"gone"]


@every_version
def test_a_lost_connection_publishes_it_once(version: ProtocolVersion) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.2-10]"""
    broker, watching = watched()
    client = broker.connect("c", version, will=Will("w", b"gone", 2, True), clean_start=False)
    client.lose()
    (found,) = watching.publishes()
    assert (found.payload, found.qos, found.retain) == (b"gone", 2, False)
    retained = broker.state.router.retained.get(b"w")
    assert retained is not None  # [MQTT-3.1.2-15]
    assert retained.payload == b"gone"
    broker.connect("c", version, clean_start=False).lose()
    assert watching.publishes() == []


def test_a_will_that_is_not_to_be_retained_is_not() -> None:
    """[MQTT-3.1.2-14]"""
    broker, _ = watched()
    broker.connect("c", will=WILL).lose()
    assert len(broker.state.router.retained) == 0


def test_a_protocol_error_publishes_the_will() -> None:
    broker, watching = watched()
    broker.connect("c", V3_1_1, will=WILL).send(b"\x00\x00")
    assert watching.payloads() == [b"gone"]


@pytest.mark.parametrize("new_version", [V3_1_1, V5])
@every_version
def test_a_takeover_publishes_the_will(version: ProtocolVersion, new_version: ProtocolVersion) -> None:
    """3.1.2.5: the old network connection is closed by the server without its DISCONNECT."""
    broker, watching = watched()
    broker.connect("c", version, will=WILL)
    new = broker.connect("c", new_version)
    assert watching.payloads() == [b"gone"]
    new.lose()
    assert watching.publishes() == []


def test_a_delayed_will() -> None:
    """3.1.3.2.2: after its delay, not before; its own expiry runs from then."""
    broker, watching = watched()
    will = Will("w", b"gone", 0, False, 30, b"\x02\x00\x00\x00\x05")
    broker.connect("c", will=will, session_expiry_interval_s=100).lose()
    broker.advance(29.999)
    assert watching.publishes() == []
    broker.advance(0.001)
    (found,) = watching.publishes()
    assert (found.payload, found.properties) == (b"gone", b"\x02\x00\x00\x00\x05")
    broker.advance(1_000)
    assert watching.publishes() == []
    assert broker.state.sessions.find("c") is None


@pytest.mark.parametrize(("expiry", "delay"), [(0, 30), (20, 30), (30, 30)])
def test_a_session_that_ends_first_publishes_its_will_then(expiry: int, delay: int) -> None:
    """[MQTT-3.1.2-8]: at the end of the delay or of the session, whichever is first."""
    broker, watching = watched()
    will = Will("w", b"gone", 0, False, delay)
    broker.connect("c", will=will, session_expiry_interval_s=expiry).lose()
    if expiry:
        broker.advance(expiry - 0.001)
        assert watching.publishes() == []
        broker.advance(0.001)
    assert watching.payloads() == [b"gone"]
    broker.advance(1_000)
    assert watching.publishes() == []


def test_a_client_that_is_back_in_time_cancels_its_will() -> None:
    """[MQTT-3.1.3-9]"""
    broker, watching = watched()
    will = Will("w", b"gone", 0, False, 30)
    broker.connect("c", will=will, session_expiry_interval_s=100).lose()
    broker.advance(29)
    broker.connect("c", clean_start=False, session_expiry_interval_s=100)
    broker.advance(1_000)
    assert watching.publishes() == []


def test_a_client_that_is_taken_over_in_its_own_session_keeps_quiet() -> None:
    """[MQTT-3.1.3-9]: the session goes on with a new connection before the delay is over."""
    broker, watching = watched()
    will = Will("w", b"gone", 0, False, 30)
    broker.connect("c", will=will, session_expiry_interval_s=100)
    broker.connect("c", clean_start=False, session_expiry_interval_s=100)
    broker.advance(1_000)
    assert watching.publishes() == []


def test_a_clean_start_ends_the_session_and_publishes_its_will() -> None:
    broker, watching = watched()
    will = Will("w", b"gone", 0, False, 30)
    broker.connect("c", will=will, session_expiry_interval_s=100).lose()
    broker.advance(10)
    broker.connect("c", session_expiry_interval_s=100)
    assert watching.payloads() == [b"gone"]
    broker.advance(1_000)
    assert watching.publishes() == []


def test_a_will_of_the_new_connection_replaces_the_old_one() -> None:
    broker, watching = watched()
    broker.connect("c", will=Will("w", b"old", 0, False, 30), session_expiry_interval_s=100).lose()
    broker.connect("c", clean_start=False, will=Will("w", b"new"), session_expiry_interval_s=100).lose()
    broker.advance(1_000)
    assert watching.payloads() == [b"new"]


def test_a_delayed_will_and_disconnect_04() -> None:
    broker, watching = watched()
    broker.connect("c", will=Will("w", b"gone", 0, False, 30), session_expiry_interval_s=100).disconnect(0x04)
    assert watching.publishes() == []
    broker.advance(30)
    assert watching.payloads() == [b"gone"]


def test_a_clients_own_will_reaches_its_own_session() -> None:
    """A will is queued for the very session that it is of, where that lives on and has subscribed to it."""
    broker = DirectBroker()
    client = broker.connect("c", will=WILL, session_expiry_interval_s=100)
    client.subscribe("w")
    client.lose()
    again = broker.connect("c", clean_start=False, session_expiry_interval_s=100)
    assert [first for first, _ in again.behind_connack] == [0x32]


# --- how long the session lives ---


def test_disconnect_may_change_how_long_the_session_lives() -> None:
    """3.14.2.2.2"""
    broker = DirectBroker()
    broker.connect("shorter", session_expiry_interval_s=100).disconnect(0, 10)
    broker.connect("longer", session_expiry_interval_s=100).disconnect(0, 1_000)
    broker.connect("over", session_expiry_interval_s=100).disconnect(0, 0)
    left: list[set[str]] = []
    for seconds in (0, 10, 90, 899, 1):
        broker.advance(seconds)
        left.append({session.client_id for session in broker.state.sessions})
    assert left == [{"shorter", "longer"}, {"longer"}, {"longer"}, {"longer"}, set()]


def test_disconnect_may_not_prolong_a_session_that_was_to_end() -> None:
    """3.14.2.2.2: a Protocol Error"""
    broker, watching = watched()
    client = broker.connect("c", will=WILL)
    client.disconnect(0, 10)
    assert client.told_why() == 0x82
    assert watching.payloads() == [b"gone"]
    assert broker.state.sessions.find("c") is None
    broker.connect("d").disconnect(0, 0)  # this is what it was


# --- wrong packets ---


def wrong_rows() -> list[object]:
    return [
        pytest.param(row, version, id=f"{row.name} ({version})")
        for row in FAULTY
        if not row.from_server
        for version in row.versions
    ]


@pytest.mark.parametrize(("row", "version"), wrong_rows())
def test_a_wrong_disconnect_ends_the_connection_with_its_will(row: object, version: int) -> None:
    broker, watching = watched()
    client = broker.connect("c", ProtocolVersion(version), will=WILL)
    client.send(row.wire)  # type: ignore[attr-defined]
    assert client.told_why() == (row.reason_code if version == 5 else None)  # type: ignore[attr-defined]
    assert watching.payloads() == [b"gone"]


@every_version
def test_nothing_behind_disconnect_is_looked_at(version: ProtocolVersion) -> None:
    """[MQTT-3.14.4-1]"""
    broker, watching = watched()
    client = broker.connect("c", version)
    client.send(b"\xe0\x00" + (b"\x30\x05\x00\x01w\x00x" if version == 5 else b"\x30\x04\x00\x01wx"))
    assert watching.publishes() == []
    assert client.told_why() is None


def test_an_unasked_auth_is_a_protocol_error() -> None:
    """[MQTT-4.12.0-6]"""
    client = DirectBroker().connect("c")
    client.send(b"\xf0\x00")
    assert client.told_why() == 0x82


def test_the_reason_string_is_left_out_where_it_would_be_too_large() -> None:
    """[MQTT-3.14.2-3]"""
    for limit in (25, 30, 200):
        client = DirectBroker().connect("c", maximum_packet_size=limit)
        client.received()
        client.send(b"\x00\x00")
        ((first, body),) = client.received()
        assert (first, body[0]) == (0xE0, 0x81)
        assert 2 + len(body) <= limit
        assert (len(body) > 1) == (limit == 200)


@pytest.mark.parametrize("behind", [b"\xe0\x00", b"\x00\x00"], ids=["DISCONNECT", "a wrong packet"])
def test_what_was_answered_before_the_end_is_sent(behind: bytes) -> None:
    """A client that sends all it has in one piece is told that its message was taken."""
    broker = DirectBroker()
    client = broker.connect("c", V3_1_1)
    client.send(b"\x32\x05\x00\x01t\x00\x09" + behind)
    assert client.received() == [(0x40, b"\x00\x09")]
