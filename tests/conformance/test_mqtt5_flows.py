"""MQTT 5.0: the quality of service of messages in both directions: identifiers, acknowledgements, quotas, order.

Q1 to Q9 in the names are the cases of session state that other brokers got wrong.
"""

import pytest
from conformance.client import Peer, World
from conformance.marks import limits, statement
from conformance.packets import (
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Unsuback,
    properties,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    subscribe,
    unsubscribe,
)
from noctule._speedups.session import RIGHT_PUBLISH, RIGHT_QOS, RIGHT_RETAIN

KEEP = properties(session_expiry_interval=1_000)
NO_MATCH, NOT_AUTHORIZED, NOT_FOUND = 0x10, 0x87, 0x92


async def reconnect(world: World, peer: Peer, client_id: str = "c") -> Peer:
    """The connection breaks, and the client comes back to its session."""
    await peer.drop()
    again = await world.connect(client_id, clean=False, properties=KEEP)
    assert again.connack.session_present
    return again


async def subscribed(world: World, *filters: str | tuple[str, int], props: bytes = KEEP) -> Peer:
    """A client whose session outlives its connection, with subscriptions."""
    peer = await world.connect("c", properties=props)
    await peer.subscribe(*filters)
    return peer


# --- from the client ----------------------------------------------------------------------


@statement("MQTT-3.3.4-1", "MQTT-4.3.2-4", "MQTT-4.3.3-8", "MQTT-4.3.3-11", "MQTT-2.2.1-5", version=5)
async def test_each_publish_is_answered_as_its_qos_asks(world: World) -> None:
    await world.subscriber("t")
    peer = await world.connect("p")
    await peer.send(publish("t", b"x"))
    await peer.expect_nothing()
    for packet_id in (1, 2, 255, 256, 65_535):
        await peer.send(publish("t", b"x", 1, packet_id))
        await peer.expect_bytes(b"\x40\x02" + packet_id.to_bytes(2, "big"))
        await peer.send(publish("t", b"x", 2, packet_id))
        await peer.expect_bytes(b"\x50\x02" + packet_id.to_bytes(2, "big"))
        await peer.send(pubrel(packet_id))
        await peer.expect_bytes(b"\x70\x02" + packet_id.to_bytes(2, "big"))


@statement("MQTT-2.2.1-2", version=5)
async def test_at_qos_0_no_packet_identifier_is_read(world: World) -> None:
    """Where it would stand there are the properties, and then the payload, whatever it looks like."""
    subscriber = await world.subscriber("t")
    peer = await world.connect("p")
    await peer.send(b"\x30\x06\x00\x01t\x00\x00\x01")
    assert (await subscriber.expect(Publish)) == Publish("t", b"\0\1")


@statement("MQTT-4.3.1-1", version=5)
async def test_a_message_of_qos_0_byte_by_byte(world: World) -> None:
    subscriber = await world.subscriber(("t", 0))
    peer = await world.connect("p")
    for qos in (0, 1, 2):
        await peer.publish("t", b"x", qos, dup=bool(qos))
        await subscriber.expect_bytes(b"\x30\x05\x00\x01t\x00x")


@statement("MQTT-4.3.2-5", version=5)
@pytest.mark.parametrize("dup", [False, True])
async def test_q2_after_puback_the_same_identifier_is_a_new_message(world: World, dup: bool) -> None:
    subscriber = await world.subscriber("t")
    peer = await world.connect("p")
    for payload in (b"one", b"two", b"two"):
        await peer.send(publish("t", payload, 1, 7, dup=dup))
        assert await peer.expect(Puback) == Puback(7)
    assert await subscriber.payloads() == [b"one", b"two", b"two"]


@statement("MQTT-4.3.3-10", version=5)
async def test_a_qos_2_publish_that_comes_again_is_delivered_once(world: World) -> None:
    """Whatever DUP says, and on this connection and the next."""
    subscriber = await world.subscriber("t")
    peer = await world.connect("c", properties=KEEP)
    for dup in (False, True, False, True):
        await peer.send(publish("t", b"once", 2, 7, dup=dup))
        assert await peer.expect(Pubrec) == Pubrec(7)
    peer = await reconnect(world, peer)
    await peer.send(publish("t", b"once", 2, 7, dup=True), publish("t", b"another", 2, 8))
    assert await peer.received() == [Pubrec(7), Pubrec(8)]
    await peer.send(pubrel(7))
    assert await peer.expect(Pubcomp) == Pubcomp(7)
    assert await subscriber.payloads() == [b"once"]
    await peer.send(pubrel(7))
    assert await peer.expect(Pubcomp) == Pubcomp(7, NOT_FOUND)
    await subscriber.expect_nothing()
    await peer.send(pubrel(8))
    assert await subscriber.payloads() == [b"another"]


@statement("MQTT-4.3.3-12", version=5)
@pytest.mark.parametrize("dup", [False, True])
async def test_q2_after_pubcomp_the_same_identifier_is_a_new_message(world: World, dup: bool) -> None:
    subscriber = await world.subscriber("t")
    peer = await world.connect("p")
    for payload in (b"one", b"two", b"two"):
        await peer.send(publish("t", payload, 2, 7, dup=dup), pubrel(7))
        assert await peer.received() == [Pubrec(7), Pubcomp(7)]
    assert await subscriber.payloads() == [b"one", b"two", b"two"]


@statement("MQTT-4.3.3-10", "MQTT-4.3.2-4", version=5)
@pytest.mark.parametrize("qos", [1, 2])
async def test_q1_a_message_with_dup_that_was_never_seen_is_new(world: World, qos: int) -> None:
    subscriber = await world.subscriber("t")
    peer = await world.connect("p")
    assert await peer.publish("t", b"x", qos, dup=True) == 0
    assert await subscriber.payloads() == [b"x"]


@statement("MQTT-4.3.3-10", "MQTT-2.2.1-3", version=5)
async def test_q2_qos_1_and_qos_2_under_one_identifier(world: World) -> None:
    """A client may not use an identifier twice. Here it does, and neither message gets into the other's way."""
    subscriber = await world.subscriber("t")
    peer = await world.connect("p")
    await peer.send(publish("t", b"two", 2, 7), publish("t", b"one", 1, 7), publish("t", b"two", 2, 7, dup=True))
    assert await peer.received() == [Pubrec(7), Puback(7), Pubrec(7)]
    await peer.send(pubrel(7))
    assert await peer.expect(Pubcomp) == Pubcomp(7)
    assert await subscriber.payloads() == [b"one", b"two"]


@statement("5-unnumbered-unknown-ack", "MQTT-3.7.2-1", version=5)
async def test_q3_pubrel_without_publish_is_completed_as_not_found(world: World) -> None:
    peer = await world.connect("p")
    for data in (pubrel(7), pubrel(7, NOT_FOUND), pubrel(7, 0, properties(reason_string="why"))):
        await peer.send(data)
        assert await peer.expect(Pubcomp) == Pubcomp(7, NOT_FOUND)
    await peer.send(publish("t", b"x", 2, 7), pubrel(7), pubrel(7))
    assert await peer.received() == [Pubrec(7, NO_MATCH), Pubcomp(7), Pubcomp(7, NOT_FOUND)]


@statement("MQTT-4.6.0-2", "MQTT-4.6.0-3", version=5)
async def test_acknowledgements_come_in_the_order_of_the_messages(world: World) -> None:
    await world.subscriber("t")
    peer = await world.connect("p")
    order = [5, 1, 4, 2, 3, 65_535, 9]
    await peer.send(*(publish("t", b"x", 1, packet_id) for packet_id in order))
    assert await peer.received() == [Puback(packet_id) for packet_id in order]
    await peer.send(*(publish("t", b"x", 2, packet_id) for packet_id in order))
    assert await peer.received() == [Pubrec(packet_id) for packet_id in order]
    await peer.send(*(publish("t", b"x", 1 + packet_id % 2, 100 + packet_id) for packet_id in order[:5]))
    assert await peer.received() == [(Puback, Pubrec)[packet_id % 2](100 + packet_id) for packet_id in order[:5]]
    await peer.send(*(pubrel(packet_id) for packet_id in reversed(order)))
    assert await peer.received() == [Pubcomp(packet_id) for packet_id in reversed(order)]


@statement("MQTT-3.3.4-7", version=5)
@limits(receive_maximum=3)
async def test_an_over_run_of_our_receive_maximum_is_slowed_down_before_it_is_a_fault(world: World) -> None:
    """docs/conformance.md: up to twice the maximum PUBREC is held back; beyond that it is DISCONNECT 0x93."""
    subscriber = await world.subscriber("t")
    peer = await world.connect("p")
    assert peer.connack.properties["receive_maximum"] == 3
    for packet_id in range(1, 7):
        await peer.send(publish("t", b"%d" % packet_id, 2, packet_id))
    assert await peer.received() == [Pubrec(1), Pubrec(2), Pubrec(3)]
    await peer.send(pubrel(2))
    assert await peer.received() == [Pubcomp(2)]
    await peer.send(pubrel(1), pubrel(3))
    found = await peer.received()
    assert [one for one in found if type(one) is Pubcomp] == [Pubcomp(1), Pubcomp(3)]
    # Three are left, which is no over-run any more.
    assert [one for one in found if type(one) is Pubrec] == [Pubrec(4), Pubrec(5), Pubrec(6)]
    await peer.send(pubrel(4), pubrel(5), pubrel(6))
    assert await peer.received() == [Pubcomp(4), Pubcomp(5), Pubcomp(6)]
    assert await subscriber.payloads() == [b"2", b"1", b"3", b"4", b"5", b"6"]
    await peer.send(*(publish("t", b"", 2, packet_id) for packet_id in range(11, 14)))
    assert await peer.received() == [Pubrec(11), Pubrec(12), Pubrec(13)]


@statement("MQTT-3.3.4-7", version=5)
@limits(receive_maximum=3)
async def test_beyond_twice_our_receive_maximum_the_connection_ends(world: World) -> None:
    subscriber = await world.subscriber("t")
    peer = await world.connect("p")
    await peer.send(*(publish("t", b"%d" % packet_id, 2, packet_id) for packet_id in range(1, 8)))
    found = [await peer.receive() for _ in range(3)]
    assert found == [Pubrec(1), Pubrec(2), Pubrec(3)]
    await peer.expect_end(0x93)
    await subscriber.expect_nothing()


@statement("MQTT-3.3.4-7", "MQTT-4.3.3-10", version=5)
@limits(receive_maximum=2)
async def test_who_repeats_itself_at_the_receive_maximum_does_not_over_run_it(world: World) -> None:
    subscriber = await world.subscriber("t")
    peer = await world.connect("p")
    for _ in range(5):
        await peer.send(publish("t", b"a", 2, 1), publish("t", b"b", 2, 2), publish("t", b"q1", 1, 3))
        assert await peer.received() == [Pubrec(1), Pubrec(2), Puback(3)]
    await peer.send(pubrel(1), pubrel(2))
    assert await peer.received() == [Pubcomp(1), Pubcomp(2)]
    assert await subscriber.payloads() == [b"q1"] * 5 + [b"a", b"b"]


@statement("MQTT-3.3.4-7", version=5)
@limits(receive_maximum=2)
async def test_a_held_back_pubrec_comes_after_a_reconnect_when_the_client_asks_again(world: World) -> None:
    subscriber = await world.subscriber("t")
    peer = await world.connect("c", properties=KEEP)
    await peer.send(*(publish("t", b"%d" % packet_id, 2, packet_id) for packet_id in (1, 2, 3)))
    assert await peer.received() == [Pubrec(1), Pubrec(2)]
    peer = await reconnect(world, peer)
    await peer.send(publish("t", b"3", 2, 3, dup=True))
    await peer.send(pubrel(1), pubrel(2))
    found = await peer.received()
    assert [one for one in found if type(one) is Pubcomp] == [Pubcomp(1), Pubcomp(2)]
    assert [one for one in found if type(one) is not Pubcomp] == [Pubrec(3)]
    await peer.send(pubrel(3))
    assert await peer.received() == [Pubcomp(3)]
    assert await subscriber.payloads() == [b"1", b"2", b"3"]


@statement("MQTT-4.3.3-13", version=5)
async def test_q9_the_handshake_goes_on_although_the_message_has_expired(world: World) -> None:
    """From the client: its message expires before PUBREL. To the client: after it was sent."""
    peer = await subscribed(world, "t")
    publisher = await world.connect("p")
    short = properties(message_expiry_interval=5)
    await publisher.send(publish("t", b"x", 2, 7, properties=short))
    assert await publisher.expect(Pubrec) == Pubrec(7)
    await world.after(10)
    await publisher.send(publish("t", b"x", 2, 7, dup=True, properties=short))
    assert await publisher.expect(Pubrec) == Pubrec(7)
    await publisher.send(pubrel(7))
    assert await publisher.expect(Pubcomp) == Pubcomp(7)
    for message in await peer.messages():  # released late: whether it is still delivered is open
        await peer.acknowledge(message)
    await publisher.publish("t", b"y", 2, properties=short)
    found = await peer.expect(Publish)
    await world.after(10)
    await peer.send(pubrec(found.packet_id))
    assert await peer.expect(Pubrel) == Pubrel(found.packet_id)
    await peer.send(pubcomp(found.packet_id))
    await peer.expect_nothing()


@statement("MQTT-3.3.2-5", version=5)
async def test_q9_a_qos_2_message_that_expires_before_its_release_is_not_delivered(world: World) -> None:
    """It has passed its time before delivery to anybody has begun, since delivery begins at PUBREL."""
    peer = await subscribed(world, "t")
    publisher = await world.connect("p")
    await publisher.send(publish("t", b"x", 2, 7, properties=properties(message_expiry_interval=5)))
    await publisher.expect(Pubrec)
    await world.after(10)
    await publisher.send(pubrel(7))
    assert await publisher.expect(Pubcomp) == Pubcomp(7)
    await peer.expect_nothing()


# --- to the client ------------------------------------------------------------------------


@statement("MQTT-4.3.2-2", "MQTT-4.3.2-3", "MQTT-2.2.1-4", version=5)
async def test_a_message_of_qos_1_byte_by_byte(world: World) -> None:
    subscriber = await world.subscriber(("t", 1))
    peer = await world.connect("p")
    for packet_id, qos in ((1, 1), (2, 2), (3, 1)):
        await peer.publish("t", b"x", qos, dup=True)
        await subscriber.expect_bytes(b"\x32\x07\x00\x01t\x00" + bytes([packet_id]) + b"\x00x")


@statement("MQTT-4.3.3-2", "MQTT-4.3.3-3", "MQTT-4.3.3-4", "MQTT-4.3.3-5", version=5)
async def test_a_message_of_qos_2_byte_by_byte(world: World) -> None:
    subscriber = await world.subscriber("t")
    peer = await world.connect("p")
    await peer.publish("t", b"x", 2, dup=True)
    await subscriber.expect_bytes(b"\x34\x07\x00\x01t\x00\x01\x00x")
    for _ in range(2):  # a PUBREC that is repeated is answered again
        await subscriber.send(pubrec(1))
        await subscriber.expect_bytes(b"\x62\x02\x00\x01")
    await subscriber.send(pubcomp(1))
    await subscriber.expect_nothing()


@statement("MQTT-4.3.2-1", "MQTT-4.3.3-1", "MQTT-2.2.1-4", version=5)
@limits(inflight_max=65_535)
async def test_no_identifier_is_used_twice_at_a_time(world: World) -> None:
    """Beyond 65,535 messages, with gaps of identifiers that stay in use."""
    subscriber = await world.subscriber(("t", 2))
    publisher = await world.connect("p")
    open_ids: set[int] = set()
    sent = 0
    for turn in range(75):
        await publisher.send(*(publish("t", b"x", 1 + number % 2, 1 + number) for number in range(1_000)))
        await publisher.send(*(pubrel(1 + number) for number in range(1, 1_000, 2)))
        await publisher.received()
        answers = []
        for message in await subscriber.messages():
            assert message.packet_id not in open_ids
            sent += 1
            if sent % 500 == 0:
                open_ids.add(message.packet_id)  # never answered
            elif message.qos == 1:
                answers.append(puback(message.packet_id))
            else:
                answers += [pubrec(message.packet_id), pubcomp(message.packet_id)]
        await subscriber.send(*answers)
        for answer in await subscriber.received():
            assert type(answer) is Pubrel
        assert turn or not subscriber.connack.session_present
    assert sent == 75_000
    assert len(open_ids) == 150


@statement("MQTT-4.4.0-1", "MQTT-3.3.1-1", "MQTT-4.3.2-3", "MQTT-4.3.3-3", "MQTT-4.6.0-1", version=5)
async def test_what_was_not_acknowledged_is_sent_again_with_dup_and_in_order(world: World) -> None:
    peer = await subscribed(world, "t")
    publisher = await world.connect("p")
    for number in range(6):
        await publisher.publish("t", b"%d" % number, 1 + number % 2)
    first = await peer.messages()
    assert [(one.payload, one.dup) for one in first] == [(b"%d" % number, False) for number in range(6)]
    await world.after(500)
    await peer.expect_nothing()  # at no other time than a reconnect
    await peer.send(puback(first[2].packet_id))
    peer = await reconnect(world, peer)
    again = await peer.messages()
    assert [(one.payload, one.qos, one.packet_id, one.dup) for one in again] == [
        (one.payload, one.qos, one.packet_id, True) for one in first if one != first[2]
    ]
    peer = await reconnect(world, peer)
    assert await peer.messages() == again


@statement("MQTT-4.4.0-1", "MQTT-4.3.3-5", "MQTT-4.3.3-6", version=5)
async def test_pubrel_is_sent_again_and_not_publish(world: World) -> None:
    peer = await subscribed(world, "t")
    publisher = await world.connect("p")
    for payload in (b"a", b"b"):
        await publisher.publish("t", payload, 2)
    first, second = await peer.messages()
    await peer.send(pubrec(first.packet_id))
    assert await peer.expect(Pubrel) == Pubrel(first.packet_id)
    for _ in range(2):
        peer = await reconnect(world, peer)
        assert await peer.received() == [
            Pubrel(first.packet_id),
            Publish("t", b"b", 2, dup=True, packet_id=second.packet_id),
        ]
    await peer.send(pubcomp(first.packet_id))
    peer = await reconnect(world, peer)
    assert [type(one) for one in await peer.received()] == [Publish]


@statement("MQTT-4.3.3-6", "MQTT-4.3.3-4", version=5)
async def test_a_pubrec_for_what_was_released_before_a_reconnect_gets_its_pubrel(world: World) -> None:
    peer = await subscribed(world, "t")
    await (await world.connect("p")).publish("t", b"x", 2)
    message = await peer.expect(Publish)
    await peer.send(pubrec(message.packet_id))
    await peer.expect(Pubrel)
    peer = await reconnect(world, peer)
    await peer.expect(Pubrel)
    await peer.send(pubrec(message.packet_id))
    assert await peer.expect(Pubrel) == Pubrel(message.packet_id)
    await peer.send(pubcomp(message.packet_id))
    peer = await reconnect(world, peer)
    await peer.expect_nothing()


@statement("MQTT-4.4.0-2", "MQTT-4.3.3-4", version=5)
@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_refused_message_is_not_sent_again(world: World, code: int, qos: int) -> None:
    """PUBREC of 0x80 and above gets no PUBREL, and frees the identifier and its place in the quota."""
    props = KEEP + properties(receive_maximum=1)
    peer = await subscribed(world, ("t", qos), props=props)
    publisher = await world.connect("p")
    for payload in (b"a", b"b"):
        await publisher.publish("t", payload, qos)
    first = await peer.expect(Publish)
    await peer.send((puback if qos == 1 else pubrec)(first.packet_id, code))
    second = await peer.expect(Publish)
    assert second.payload == b"b"
    peer = await reconnect(world, peer)
    assert await peer.messages() == [Publish("t", b"b", qos, dup=True, packet_id=second.packet_id)]


@statement("MQTT-4.4.0-1", "MQTT-4.4.0-2", version=5)
async def test_an_acknowledgement_that_says_nobody_matched_is_one(world: World) -> None:
    peer = await subscribed(world, "t")
    publisher = await world.connect("p")
    for qos in (1, 2):
        await publisher.publish("t", b"x", qos)
        message = await peer.expect(Publish)
        if qos == 1:
            await peer.send(puback(message.packet_id, NO_MATCH))
        else:
            await peer.send(pubrec(message.packet_id, NO_MATCH))
            await peer.expect(Pubrel)
            await peer.send(pubcomp(message.packet_id, NOT_FOUND))
    peer = await reconnect(world, peer)
    await peer.expect_nothing()


@statement("MQTT-4.3.3-7", version=5)
async def test_what_was_sent_once_does_not_expire(world: World) -> None:
    peer = await subscribed(world, "t")
    publisher = await world.connect("p")
    for qos in (1, 2):
        await publisher.publish("t", b"x", qos, properties=properties(message_expiry_interval=5))
    assert len(await peer.messages()) == 2
    await peer.drop()
    await world.after(10)
    again = await world.connect("c", clean=False, properties=KEEP)
    assert [(one.qos, one.dup) for one in await again.messages()] == [(1, True), (2, True)]


# --- quotas -------------------------------------------------------------------------------


@statement("MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2", version=5)
@pytest.mark.parametrize("maximum", [1, 2, 5])
@pytest.mark.parametrize("qos", [1, 2])
async def test_the_clients_receive_maximum_bounds_what_is_in_flight(world: World, maximum: int, qos: int) -> None:
    peer = await subscribed(world, "t", props=KEEP + properties(receive_maximum=maximum))
    publisher = await world.connect("p")
    for number in range(10):
        await publisher.publish("t", b"%d" % number, qos)
    in_flight = await peer.messages()
    arrived = list(in_flight)
    assert len(in_flight) == maximum
    while in_flight:
        message = in_flight.pop(0)
        if qos == 1:
            await peer.send(puback(message.packet_id))
        else:
            await peer.send(pubrec(message.packet_id))
            assert await peer.expect(Pubrel) == Pubrel(message.packet_id)
            await peer.expect_nothing()  # PUBREC does not make room, PUBCOMP does
            await peer.send(pubcomp(message.packet_id))
        more = await peer.messages()
        assert len(more) == (1 if len(arrived) < 10 else 0)
        in_flight += more
        arrived += more
    assert [one.payload for one in arrived] == [b"%d" % number for number in range(10)]


@statement("MQTT-4.9.0-3", "MQTT-3.3.4-10", version=5)
async def test_at_quota_0_everything_else_goes_on(world: World) -> None:
    """PINGREQ, SUBSCRIBE, UNSUBSCRIBE, the client's own messages, and QoS 0 to it."""
    peer = await subscribed(world, "t", ("zero", 0), props=KEEP + properties(receive_maximum=1))
    publisher = await world.connect("p")
    await publisher.publish("t", b"1", 2)
    await publisher.publish("t", b"2", 1)
    first = await peer.expect(Publish)
    await peer.expect_alive()
    assert await peer.subscribe("u") == [2]
    assert await peer.unsubscribe("u") == [0]
    await peer.send(publish("x", b"", 1, 70), publish("x", b"", 2, 71), pubrel(71))
    assert await peer.received() == [Puback(70, NO_MATCH), Pubrec(71, NO_MATCH), Pubcomp(71)]
    await publisher.publish("x", b"")
    await peer.expect_nothing()
    await peer.send(pubrec(first.packet_id))
    assert await peer.expect(Pubrel) == Pubrel(first.packet_id)
    await peer.send(pubcomp(first.packet_id))
    assert await peer.payloads() == [b"2"]


@statement("MQTT-4.9.0-3", "MQTT-3.3.4-10", version=5)
async def test_at_quota_0_messages_of_qos_0_are_delivered(world: World) -> None:
    """The quota is of QoS 1 and 2: nothing that the specification counts holds QoS 0 back."""
    peer = await subscribed(world, "t", ("zero", 0), props=KEEP + properties(receive_maximum=1))
    publisher = await world.connect("p")
    await publisher.publish("t", b"1", 1)
    await publisher.publish("t", b"2", 1)
    await peer.expect(Publish)
    await publisher.publish("zero", b"now")
    assert await peer.payloads() == [b"now"]


@statement("5-unnumbered-unknown-ack", "MQTT-4.9.0-2", "MQTT-3.6.2-1", version=5)
async def test_q3_acknowledgements_for_unknown_identifiers_leave_the_quota_alone(world: World) -> None:
    peer = await subscribed(world, "t", props=KEEP + properties(receive_maximum=2))
    publisher = await world.connect("p")
    for number in range(5):
        await publisher.publish("t", b"%d" % number, 1)
    first, second = await peer.messages()
    unknown = 999
    await peer.send(*[puback(unknown), pubcomp(unknown), pubrec(unknown, 0x80)] * 5)
    await peer.expect_nothing()
    await peer.send(pubrec(unknown))
    assert await peer.received() == [Pubrel(unknown, NOT_FOUND)]
    await peer.send(puback(first.packet_id), puback(first.packet_id), puback(first.packet_id))
    assert [one.payload for one in await peer.messages()] == [b"2"]
    await peer.send(puback(second.packet_id))
    assert [one.payload for one in await peer.messages()] == [b"3"]


@statement("5-unnumbered-wrong-ack", version=5)
async def test_q3_an_acknowledgement_of_another_kind_ends_the_connection(world: World) -> None:
    """PUBACK for QoS 2, PUBREC and PUBCOMP for QoS 1, PUBCOMP before PUBREC; the message is sent again afterwards."""
    for qos, wrong in ((2, puback), (1, pubrec), (1, pubcomp), (2, pubcomp)):
        peer = await subscribed(world, ("t", qos))
        await (await world.connect("p")).publish("t", b"x", qos)
        message = await peer.expect(Publish)
        await peer.send(wrong(message.packet_id))
        await peer.expect_end(0x82)
        again = await world.connect("c", clean=False, properties=KEEP)
        assert await again.messages() == [Publish("t", b"x", qos, dup=True, packet_id=message.packet_id)]
        await again.disconnect(0, properties(session_expiry_interval=0))


@statement("5-unnumbered-wrong-ack", version=5)
async def test_q3_a_puback_after_pubrec_ends_the_connection(world: World) -> None:
    peer = await subscribed(world, "t")
    await (await world.connect("p")).publish("t", b"x", 2)
    message = await peer.expect(Publish)
    await peer.send(pubrec(message.packet_id), puback(message.packet_id))
    assert await peer.expect(Pubrel) == Pubrel(message.packet_id)
    await peer.expect_end(0x82)


@statement("MQTT-4.9.0-1", "MQTT-4.4.0-1", version=5)
async def test_the_quota_of_a_resumed_session_is_that_of_its_new_connect(world: World) -> None:
    """More was in flight than the client takes now: it is sent again bit by bit."""
    peer = await subscribed(world, "t")
    publisher = await world.connect("p")
    for number in range(5):
        await publisher.publish("t", b"%d" % number, 1)
    assert len(await peer.messages()) == 5
    await peer.drop()
    await publisher.publish("t", b"5", 1)
    again = await world.connect("c", clean=False, properties=KEEP + properties(receive_maximum=2))
    in_flight = await again.messages()
    assert [one.payload for one in in_flight] == [b"0", b"1"]
    arrived = list(in_flight)
    while in_flight:
        await again.send(puback(in_flight.pop(0).packet_id))
        more = await again.messages()
        arrived += more
        in_flight += more
        assert len(in_flight) <= 2
    assert [(one.payload, one.dup) for one in arrived] == [(b"%d" % n, n < 5) for n in range(6)]


# --- order --------------------------------------------------------------------------------


@statement("MQTT-4.6.0-5", "MQTT-4.6.0-6", version=5)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
async def test_messages_arrive_in_the_order_in_which_they_were_sent(world: World, qos: int, granted: int) -> None:
    exact = await world.subscriber(("t/1", granted), client_id="exact")
    wide = await world.subscriber(("#", granted), client_id="wide")
    publisher = await world.connect("p")
    numbers = range(300)
    for number in numbers:
        await publisher.send(publish("t/1", b"%d" % number, qos, 1 + number))
        if qos == 2:
            await publisher.send(pubrel(1 + number))
    for peer in (exact, wide):
        assert [int(one) for one in await peer.payloads()] == list(numbers)


@statement("MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-4.5.0-1", version=5)
async def test_messages_that_wait_stay_in_order(world: World) -> None:
    """In flight, waiting for the quota, waiting for the client, and new: one row."""
    props = KEEP + properties(receive_maximum=3)
    peer = await subscribed(world, "t", props=props)
    publisher = await world.connect("p")
    for number in range(10):
        await publisher.publish("t", b"%d" % number, 1)
    assert len(await peer.messages()) == 3
    await peer.drop()
    for number in range(10, 20):
        await publisher.publish("t", b"%d" % number, 1)
    peer = await world.connect("c", clean=False, properties=props)
    arrived = []
    for number in range(20, 30):
        await publisher.publish("t", b"%d" % number, 1)
    while found := await peer.messages():
        arrived += [int(one.payload) for one in found]
        await peer.send(*(puback(one.packet_id) for one in found))
    assert arrived == list(range(30))


@statement("MQTT-4.6.0-4", version=5)
async def test_pubrels_come_in_the_order_of_the_pubrecs(world: World) -> None:
    peer = await subscribed(world, "t")
    publisher = await world.connect("p")
    for _ in range(6):
        await publisher.publish("t", b"x", 2)
    identifiers = [one.packet_id for one in await peer.messages()]
    order = [identifiers[at] for at in (3, 0, 5, 1, 4, 2)]
    await peer.send(*(pubrec(packet_id) for packet_id in order))
    assert await peer.received() == [Pubrel(packet_id) for packet_id in order]


# --- subscriptions that change under way --------------------------------------------------


@statement("MQTT-3.10.4-3", "MQTT-3.10.4-2", version=5)
async def test_q7_what_was_in_flight_is_finished_after_unsubscribe(world: World) -> None:
    """Also across a reconnect; what waits for the quota may come or not, and nothing new is added."""
    peer = await subscribed(world, "t")
    publisher = await world.connect("p")
    for qos in (1, 2, 2):
        await publisher.publish("t", b"%d" % qos, qos)
    one, two, three = await peer.messages()
    await peer.send(pubrec(three.packet_id))
    await peer.expect(Pubrel)
    await peer.send(unsubscribe("t", packet_id=9))
    assert await peer.expect(Unsuback) == Unsuback(9, [0])
    await publisher.publish("t", b"new", 1)
    await peer.expect_nothing()
    peer = await reconnect(world, peer)
    assert await peer.received() == [
        Publish("t", b"1", 1, dup=True, packet_id=one.packet_id),
        Publish("t", b"2", 2, dup=True, packet_id=two.packet_id),
        Pubrel(three.packet_id),
    ]
    await peer.send(puback(one.packet_id), pubrec(two.packet_id), pubcomp(three.packet_id))
    assert await peer.received() == [Pubrel(two.packet_id)]
    await peer.send(pubcomp(two.packet_id))
    await peer.expect_nothing()


@statement("MQTT-3.8.4-3", "MQTT-4.4.0-1", version=5)
async def test_q6_a_lower_qos_does_not_touch_what_is_in_flight(world: World) -> None:
    peer = await subscribed(world, "t")
    publisher = await world.connect("p")
    await publisher.publish("t", b"two", 2)
    message = await peer.expect(Publish)
    await peer.send(subscribe(("t", 0), packet_id=9))
    await peer.received()
    await publisher.publish("t", b"zero", 2)
    assert await peer.messages() == [Publish("t", b"zero", 0)]
    peer = await reconnect(world, peer)
    assert await peer.messages() == [Publish("t", b"two", 2, dup=True, packet_id=message.packet_id)]
    await peer.send(pubrec(message.packet_id))
    assert await peer.expect(Pubrel) == Pubrel(message.packet_id)


# --- what may not be published ------------------------------------------------------------


class Rules:
    """Rights as the broker asks for them: the topic "yes" and nothing else."""

    def rule_of(self, action: object, topic: str) -> str:
        return "a test"

    def publish_rights(self, topic: bytes) -> int:
        return RIGHT_PUBLISH | RIGHT_RETAIN | 2 * RIGHT_QOS if topic == b"yes" else 0

    def may_receive(self, topic: bytes) -> bool:
        return True


async def restricted(world: World) -> Peer:
    """A client that may publish to "yes" alone."""
    peer = await world.connect("p")
    world.session("p").access = Rules()
    world.broker.state.router.access_changed()
    return peer


@statement("MQTT-4.3.3-9", "MQTT-3.5.2-1", version=5)
async def test_a_pubrec_that_refuses_frees_the_identifier(world: World) -> None:
    """The next PUBLISH under it is a new message, whatever DUP says, and its PUBREL is for that one."""
    subscriber = await world.subscriber("#")
    peer = await restricted(world)
    for dup in (False, True):
        await peer.send(publish("no", b"x", 2, 7, dup=dup))
        assert await peer.expect(Pubrec) == Pubrec(7, NOT_AUTHORIZED)
    await peer.send(pubrel(7))
    assert await peer.expect(Pubcomp) == Pubcomp(7, NOT_FOUND)
    await subscriber.expect_nothing()
    await peer.send(publish("yes", b"y", 2, 7, dup=True), pubrel(7))
    assert await peer.received() == [Pubrec(7), Pubcomp(7)]
    assert await subscriber.payloads() == [b"y"]


@statement("MQTT-3.4.2-1", "MQTT-4.6.0-2", version=5)
async def test_a_message_that_may_not_be_published_is_acknowledged_as_such(world: World) -> None:
    """docs/conformance.md: 0x87 in PUBACK, nothing at QoS 0, and the connection stays."""
    subscriber = await world.subscriber("#")
    peer = await restricted(world)
    await peer.send(
        publish("no", b"0"), publish("yes", b"1", 1, 1), publish("no", b"2", 1, 2), publish("yes", b"3", 1, 3)
    )
    assert await peer.received() == [Puback(1), Puback(2, NOT_AUTHORIZED), Puback(3)]
    await peer.send(publish("no", b"kept", 1, 4, retain=True))
    assert await peer.received() == [Puback(4, NOT_AUTHORIZED)]
    assert await subscriber.payloads() == [b"1", b"3"]
    late = await world.subscriber("#", client_id="late")
    await late.expect_nothing()
