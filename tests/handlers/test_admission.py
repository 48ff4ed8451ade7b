"""What CONNACK tells whom, the Keep Alive that holds, bridges, and where refusals have a reason."""

import dataclasses
from typing import Any

import pytest
from handlers.direct_links import V3_1, V3_1_1, V5, DirectBroker, DirectClient
from noctule._speedups.link import ENDING, OPEN
from noctule.protocol import (
    Connack,
    Connect,
    ProtocolVersion,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
    decode_connack,
    decode_suback,
    decode_unsuback,
    encode_connack,
    encode_connect,
    encode_subscribe,
    encode_unsubscribe,
)

version_3 = pytest.mark.parametrize("version", [V3_1, V3_1_1], ids=["3.1", "3.1.1"])


def broker_set_to(**settings: Any) -> DirectBroker:
    broker = DirectBroker()
    broker.state.settings = dataclasses.replace(broker.state.settings, **settings)
    return broker


def connack_for(broker: DirectBroker, packet: Connect) -> Connack:
    connack = broker.open(packet.version).connect(packet)
    assert connack is not None
    return connack


# --- Keep Alive ---


@pytest.mark.parametrize(("asked", "told"), [(0, 60), (61, 60), (65_535, 60), (60, None), (1, None)])
def test_a_keep_alive_above_the_maximum_is_replaced(asked: int, told: int | None) -> None:
    """[MQTT-3.2.2-21] [MQTT-3.2.2-22]: and the server's own is what counts."""
    broker = broker_set_to(keep_alive_max_s=60)
    client = broker.connect("c", keep_alive_s=asked)
    assert client.connack is not None
    assert client.connack.server_keep_alive_s == told
    holds = told or asked
    broker.advance(1.5 * holds - 0.001)
    assert client.link.state == OPEN
    broker.advance(0.001)
    assert client.told_why() == 0x8D


def test_without_a_maximum_the_clients_keep_alive_holds() -> None:
    """[MQTT-3.2.2-22]"""
    broker = DirectBroker()
    for asked in (0, 1, 65_535):
        connack = broker.connect("c", keep_alive_s=asked).connack
        assert connack is not None
        assert connack.server_keep_alive_s is None


@version_3
def test_older_clients_above_the_maximum_are_refused(version: ProtocolVersion) -> None:
    """As Mosquitto does: they cannot be told of another one."""
    broker = broker_set_to(keep_alive_max_s=60)
    old = broker.connect("c", version, keep_alive_s=60)
    for asked in (0, 61):
        client = broker.open(version)
        client.send(encode_connect(Connect(version, "c", keep_alive_s=asked)))
        assert client.received() == [(0x20, b"\x00\x02")]
        assert client.link.state == ENDING
    assert old.link.state == OPEN


# --- Response Information ---


def test_response_information_is_for_who_asks() -> None:
    """[MQTT-3.1.2-28]"""
    broker = DirectBroker()
    assert connack_for(broker, Connect(V5, "c")).response_information is None
    asking = Connect(V5, "me", request_response_information=True)
    assert connack_for(broker, asking).response_information == "response/me/"
    off = broker_set_to(response_information=False)
    assert connack_for(off, asking).response_information is None


def test_response_information_has_the_name_that_was_assigned() -> None:
    connack = connack_for(DirectBroker(), Connect(V5, "", request_response_information=True))
    assert connack.response_information == f"response/{connack.assigned_client_identifier}/"


@pytest.mark.parametrize("name", ["a+b", "#", "x" * 65_526], ids=["plus", "hash", "long"])
def test_a_name_that_cannot_be_in_a_topic_gets_none(name: str) -> None:
    connack = connack_for(DirectBroker(connect_max_bytes=100_000), Connect(V5, name, request_response_information=True))
    assert (connack.reason_code, connack.response_information) == (0, None)


# --- the client's Maximum Packet Size ---


@pytest.mark.parametrize("name", ["", "c", "c" * 30], ids=["assigned", "short", "long"])
def test_connack_is_never_larger_than_the_client_takes(name: str) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.2.2-19] [MQTT-3.2.2-20]: what it has to know is there, or it does not come in."""
    broker = broker_set_to(keep_alive_max_s=60)
    accepted: list[Connack] = []
    for limit in range(1, 120):
        client = broker.open()
        client.send(encode_connect(Connect(V5, name, maximum_packet_size=limit, request_response_information=True)))
        packets = client.received()
        assert all(2 + len(body) <= limit for _, body in packets)
        assert len(packets) == (1 if limit >= 5 else 0)
        if client.link.state == OPEN:
            connack = decode_connack(packets[0][1], V5)
            assert connack.server_keep_alive_s == 60
            assert (connack.assigned_client_identifier is None) == bool(name)
            accepted.append(connack)
        elif packets:
            assert decode_connack(packets[0][1], V5).reason_code == 0x83
            assert not accepted
    sizes = [len(encode_connack(connack, V5)) for connack in accepted]
    assert sizes == sorted(sizes)
    assert (accepted[0].response_information, accepted[0].maximum_packet_size) == (None, None)
    assert accepted[-1].response_information is not None
    assert accepted[-1].topic_alias_maximum > 0


def test_a_refused_connack_changes_nothing() -> None:
    broker = broker_set_to(keep_alive_max_s=60)
    old = broker.connect("c")
    connack_for(broker, Connect(V5, "c", maximum_packet_size=7))
    assert old.link.state == OPEN


# --- bridges ---


@version_3
def test_a_bridge_does_not_get_its_own_messages_back_and_sees_what_is_retained(version: ProtocolVersion) -> None:
    """As with Mosquitto: No Local and Retain As Published, which 3.x cannot ask for."""
    broker = DirectBroker()
    bridge = broker.connect("bridge", version, is_bridge=True)
    plain = broker.connect("plain", version)
    bridge.subscribe("t")
    plain.subscribe("t")
    bridge.publish("t", b"own", retain=True)
    assert bridge.publishes() == []
    assert [(found.payload, found.retain) for found in plain.publishes()] == [(b"own", False)]
    plain.publish("t", b"other", retain=True)
    assert [(found.payload, found.retain) for found in bridge.publishes()] == [(b"other", True)]
    assert [(found.payload, found.retain) for found in plain.publishes()] == [(b"other", False)]


def test_a_bridges_shared_subscription_is_one_like_any_other() -> None:
    """[MQTT-3.8.3-4]: No Local and a shared subscription do not go together."""
    broker = DirectBroker()
    bridge = broker.connect("bridge", V3_1_1, is_bridge=True)
    assert bridge.subscribe("$share/g/t") == (2,)
    bridge.publish("t", b"own")
    assert bridge.payloads() == [b"own"]


# --- why ---


def subscribed(client: DirectClient, *filters: str) -> Suback:
    requests = tuple(SubscriptionRequest(text) for text in filters)
    client.send(encode_subscribe(Subscribe(1, requests), client.version))
    ((first, body),) = client.received()
    return decode_suback(body, client.version, first)


def unsubscribed(client: DirectClient, *filters: str) -> Unsuback:
    client.send(encode_unsubscribe(Unsubscribe(1, filters), client.version))
    ((first, body),) = client.received()
    return decode_unsuback(body, client.version, first)


def test_suback_and_unsuback_say_why() -> None:
    client = DirectBroker().connect("c")
    suback = subscribed(client, "a/#/b", "t", "b#", "c+")
    assert suback.reason_codes == (0x8F, 0, 0x8F, 0x8F)
    assert suback.reason_string is not None
    assert suback.reason_string.count("#") == 1  # each reason once
    assert "'+'" in suback.reason_string
    unsuback = unsubscribed(client, "a/#/b", "t")
    assert unsuback.reason_codes == (0x8F, 0)
    assert unsuback.reason_string is not None
    assert subscribed(client, "t").reason_string is None
    assert unsubscribed(client, "t", "never").reason_string is None


def test_who_does_not_want_to_know_is_told_in_connack_and_disconnect_alone() -> None:
    """[MQTT-3.1.2-29]"""
    client = DirectBroker().connect("c", request_problem_information=False)
    assert subscribed(client, "a/#/b").reason_string is None
    assert unsubscribed(client, "a/#/b").reason_string is None
    client.send(encode_connect(Connect(V5, "d")))
    ((first, body),) = client.received()
    assert first == 0xE0
    assert b"second CONNECT" in body


@pytest.mark.parametrize("limit", range(16, 80, 7))
def test_a_reason_is_left_out_where_it_does_not_fit(limit: int) -> None:
    """[MQTT-3.9.2-1] [MQTT-3.11.2-1]"""
    client = DirectBroker().connect("c", maximum_packet_size=limit)
    for packet in (subscribed(client, "a/#/b"), unsubscribed(client, "a/#/b")):
        assert packet.reason_codes == (0x8F,)
    assert client.link.state == OPEN


@version_3
def test_older_versions_have_no_reasons(version: ProtocolVersion) -> None:
    client = DirectBroker(subscriptions_max=1).connect("c", version)
    client.send(encode_subscribe(Subscribe(1, (SubscriptionRequest("a"), SubscriptionRequest("b"))), version))
    failure = b"\x80" if version == V3_1_1 else b"\x00"
    ((first, body),) = client.received()
    assert (first, body[:3], len(body)) == (0x90, b"\x00\x01\x00", 4)
    assert body[3:] in (failure, b"\x80")


def test_a_full_session_says_so() -> None:
    client = DirectBroker(subscriptions_max=1).connect("c")
    suback = subscribed(client, "a", "b", "c")
    assert suback.reason_codes == (0, 0x97, 0x97)
    assert suback.reason_string == "more subscriptions than a session may have"
