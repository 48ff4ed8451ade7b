"""MQTT 3.1.1 and 3.1: the flows of QoS 0, 1 and 2 both ways: identifiers, duplicates, acknowledgements, order."""

import pytest
from conformance.client import World
from conformance.marks import limits, over_sockets, statement
from conformance.packets import (
    MQTT31,
    MQTT311,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    subscribe,
    unsubscribe,
)

VERSIONS = (MQTT31, MQTT311)
both = pytest.mark.parametrize("version", VERSIONS)


# --- from the client ----------------------------------------------------------------------


@both
@statement("MQTT-4.3.2-2", "MQTT-2.3.1-3", version=4)
async def test_after_puback_the_same_identifier_is_a_new_message(world: World, version: int) -> None:
    """Whatever DUP says."""
    subscriber = await world.subscriber("t", version=version)
    peer = await world.connect("p", version)
    for number, dup in enumerate((False, True, False, True, True)):
        await peer.send(publish("t", b"%d" % number, 1, 7, version=version, dup=dup))
        await peer.expect_bytes(puback(7))
        message = await subscriber.expect_message()
        assert (message.payload, message.dup) == (b"%d" % number, False)


@over_sockets
@statement("MQTT-4.3.3-2", "MQTT-2.3.1-2", "MQTT-2.3.1-3", version=4)
async def test_qos_2_delivers_once_until_pubrel(world: World) -> None:
    """Sent again under its identifier a message is a duplicate, whatever DUP says; after PUBREL it is a new one."""
    for version in VERSIONS:
        subscriber = await world.subscriber("t", version=version)
        peer = await world.connect("p", version)
        for _ in range(2):
            for dup in (False, True, False):
                await peer.send(publish("t", b"once", 2, 7, version=version, dup=dup))
                await peer.expect_bytes(pubrec(7))
            for _ in range(3):
                await peer.send(pubrel(7))
                await peer.expect_bytes(pubcomp(7))
            assert (await subscriber.expect_message()).payload == b"once"
            await subscriber.expect_alive()
        await subscriber.disconnect()
        await peer.disconnect()


@statement("MQTT-2.3.1-2", "MQTT-4.3.3-2", version=4)
async def test_identifiers_of_the_two_directions_and_of_each_client_are_their_own(world: World) -> None:
    """PUBLISH, SUBSCRIBE and UNSUBSCRIBE of a client may bear an identifier that the broker uses towards it."""
    peers = [await world.subscriber("t", client_id=one, version=4) for one in ("a", "b")]
    await peers[0].send(publish("t", b"from a", 2, 1, version=4))
    await peers[0].expect_bytes(pubrec(1))
    await peers[1].send(publish("t", b"from b", 2, 1, version=4))
    await peers[1].expect_bytes(pubrec(1))
    await peers[0].send(pubrel(1))
    await peers[0].expect_bytes(publish("t", b"from a", 2, 1, version=4), pubcomp(1))
    await peers[1].expect_bytes(publish("t", b"from a", 2, 1, version=4))
    # Identifier 1 is in flight to each of them, and from b.
    await peers[0].send(publish("x", b"", 1, 1, version=4))
    await peers[0].expect_bytes(puback(1))
    await peers[0].send(subscribe(("x", 0), packet_id=1, version=4), unsubscribe("x", packet_id=1, version=4))
    await peers[0].expect_bytes(b"\x90\x03\0\1\0", b"\xb0\x02\0\1")
    await peers[1].send(pubrel(1))
    await peers[1].expect_bytes(publish("t", b"from b", 2, 2, version=4), pubcomp(1))


@both
@statement("MQTT-4.6.0-2", "MQTT-4.6.0-3", "MQTT-2.3.1-6", version=4)
async def test_acknowledgements_are_in_the_order_of_the_messages(world: World, version: int) -> None:
    await world.subscriber("t", version=version)
    peer = await world.connect("p", version)
    ids = [number * 7_919 % 65_535 + 1 for number in range(200)]
    for in_pieces in (False, True):
        at_1 = [publish("t", b"x", 1, one, version=version) for one in ids]
        at_2 = [publish("t", b"x", 2, one, version=version) for one in ids]
        releases = [pubrel(one) for one in ids]
        for sent, kind in ((at_1, Puback), (at_2, Pubrec), (releases, Pubcomp)):
            if in_pieces:
                for one in sent:
                    await peer.send(one)
            else:
                await peer.send(*sent)
            assert await peer.received() == [kind(one) for one in ids]


@statement("MQTT-4.6.0-2", "MQTT-4.6.0-3", version=4)
async def test_acknowledgements_of_mixed_qos_are_in_order(world: World) -> None:
    peer = await world.connect("p", 4)
    mixed = [(number % 2 + 1, number) for number in range(1, 100)]
    await peer.send(*(publish("t", b"x", qos, number, version=4) for qos, number in mixed))
    assert await peer.received() == [(Puback if qos == 1 else Pubrec)(number) for qos, number in mixed]


@both
@statement("MQTT-4.3.3-2", version=4)
async def test_a_pubrel_for_an_unknown_identifier_is_answered(world: World, version: int) -> None:
    everything = await world.subscriber("#", client_id="everything", version=version)
    peer = await world.connect("p", version)
    for packet_id in (1, 65_535):
        await peer.send(pubrel(packet_id))
        await peer.expect_bytes(pubcomp(packet_id))
    await peer.expect_alive()
    await everything.expect_nothing()


@statement("MQTT-4.3.3-2", version=4)
async def test_a_qos_2_message_changes_nothing_where_its_identifier_is_in_use(world: World) -> None:
    """What was taken under the identifier is what is delivered."""
    subscriber = await world.subscriber("#", version=4)
    peer = await world.connect("p", 4)
    await peer.send(publish("t", b"first", 2, 7, version=4), publish("u", b"second", 2, 7, version=4))
    await peer.expect_bytes(pubrec(7), pubrec(7))
    await peer.send(pubrel(7))
    await peer.expect_bytes(pubcomp(7))
    message = await subscriber.expect_message()
    assert (message.topic, message.payload) == ("t", b"first")
    await subscriber.expect_nothing()


# --- to the client ------------------------------------------------------------------------


@both
@statement("MQTT-4.3.1-1", "MQTT-2.3.1-5", "MQTT-3.3.1-2", version=4)
async def test_qos_0_is_sent_with_qos_0_and_dup_0(world: World, version: int) -> None:
    subscriber = await world.subscriber(("t", 0), version=version)
    peer = await world.connect("p", version)
    for qos in (0, 1, 2):
        await peer.publish("t", b"x", qos, dup=bool(qos))
        await subscriber.expect_bytes(b"\x30\x04\0\1tx")


@both
@statement("MQTT-4.3.2-1", "MQTT-2.3.1-4", version=4)
async def test_qos_1_is_unacknowledged_until_puback(world: World, version: int) -> None:
    peer = await world.connect("c", version, clean=False)
    await peer.subscribe(("t", 1))
    publisher = await world.connect("p", version)
    await publisher.publish("t", b"x", 1)
    await publisher.publish("t", b"y", 2)
    await peer.expect_bytes(publish("t", b"x", 1, 1, version=version), publish("t", b"y", 1, 2, version=version))
    assert world.session("c").unacknowledged == 2
    await peer.send(puback(1))
    await peer.expect_nothing()
    assert world.session("c").unacknowledged == 1
    await peer.drop()
    again = await world.connect("c", version, clean=False)
    await again.expect_bytes(publish("t", b"y", 1, 2, version=version, dup=True))
    await again.send(puback(2))
    await again.drop()
    last = await world.connect("c", version, clean=False)
    await last.expect_nothing()


@over_sockets
@statement("MQTT-4.3.3-1", "MQTT-2.3.1-4", "MQTT-2.3.1-6", version=4)
async def test_qos_2_goes_on_to_pubrel_and_never_back(world: World) -> None:
    for version in VERSIONS:
        peer = await world.connect(f"c{version}", version, clean=False)
        await peer.subscribe("t")
        publisher = await world.connect("p", version)
        await publisher.publish("t", b"x", 2)
        await peer.expect_bytes(publish("t", b"x", 2, 1, version=version))
        await peer.drop()
        peer = await world.connect(f"c{version}", version, clean=False)
        await peer.expect_bytes(publish("t", b"x", 2, 1, version=version, dup=True))
        await peer.send(pubrec(1))
        await peer.expect_bytes(pubrel(1))
        for _ in range(2):
            await peer.drop()
            peer = await world.connect(f"c{version}", version, clean=False)
            await peer.expect_bytes(pubrel(1))
        await peer.send(pubrec(1))  # the client's, sent again
        await peer.expect_bytes(pubrel(1))
        await peer.send(pubcomp(1))
        await peer.expect_alive()
        await peer.drop()
        peer = await world.connect(f"c{version}", version, clean=False)
        await peer.expect_alive()
        await peer.disconnect()
        await publisher.disconnect()


@both
@statement("MQTT-4.6.0-4", "MQTT-2.3.1-6", version=4)
async def test_pubrels_are_in_the_order_of_the_pubrecs(world: World, version: int) -> None:
    subscriber = await world.subscriber("t", version=version)
    publisher = await world.connect("p", version)
    for number in range(20):
        await publisher.publish("t", b"%d" % number, 2)
    ids = [one.packet_id for one in await subscriber.messages()]
    shuffled = ids[10:] + ids[9::-1]
    await subscriber.send(*map(pubrec, shuffled))
    assert await subscriber.received() == [Pubrel(one) for one in shuffled]


@statement("MQTT-2.3.1-4", "MQTT-4.3.2-1", "MQTT-4.3.3-1", version=4)
async def test_no_identifier_is_used_again_while_it_is_in_flight(world: World) -> None:
    """Once around all 65,535, while one message of QoS 1, one of QoS 2 and one PUBREL are never acknowledged."""
    subscriber = await world.subscriber("t", version=4)
    publisher = await world.connect("p", 4)
    await publisher.publish("t", b"x", 1)
    await publisher.publish("t", b"x", 2)
    await publisher.publish("t", b"x", 2)
    held = [one.packet_id for one in await subscriber.messages()]
    await subscriber.send(pubrec(held[2]))
    await subscriber.expect_bytes(pubrel(held[2]))
    assert len(set(held)) == 3
    burst = b"".join(publish("t", b"", 1, number + 1, version=4) for number in range(900))
    answers = b"".join(puback(number + 1) for number in range(900))
    seen: set[int] = set()
    for _ in range(65_535 // 900 + 2):
        await publisher.send(burst)
        await publisher.expect_bytes(answers)
        ids = [one.packet_id for one in await subscriber.messages()]
        assert len(set(ids)) == 900
        assert not set(ids) & set(held)
        seen.update(ids)
        await subscriber.send(*map(puback, ids))
    assert seen == set(range(1, 65_536)) - set(held)


@both
@statement("MQTT-4.3.2-1", version=4)
async def test_acknowledgements_of_unknown_identifiers_change_nothing(world: World, version: int) -> None:
    subscriber = await world.subscriber("t", version=version)
    publisher = await world.connect("p", version)
    await publisher.publish("t", b"x", 1)
    message = await subscriber.expect(Publish)
    await subscriber.send(puback(99), pubcomp(99))
    await subscriber.expect_nothing()
    await subscriber.send(pubrec(99))
    await subscriber.expect_bytes(pubrel(99))
    assert world.session("sub").unacknowledged == 1
    await subscriber.send(puback(message.packet_id), puback(message.packet_id))
    await subscriber.expect_alive()


@pytest.mark.parametrize(("qos", "answer"), [(1, pubrec), (1, pubcomp), (2, puback), (2, pubcomp)])
@statement("MQTT-4.8.0-1", version=4)
async def test_an_acknowledgement_of_another_kind_ends_the_connection(world: World, qos: int, answer: object) -> None:
    peer = await world.connect("c", 4, clean=False)
    await peer.subscribe("t")
    publisher = await world.connect("p", 4)
    await publisher.publish("t", b"x", qos)
    message = await peer.expect(Publish)
    assert callable(answer)
    await peer.send(answer(message.packet_id))
    await peer.expect_closed()
    back = await world.connect("c", 4, clean=False)
    await back.expect_bytes(publish("t", b"x", qos, message.packet_id, version=4, dup=True))


@limits(inflight_max=2)
@statement("MQTT-4.3.2-1", "MQTT-4.6.0-6", version=4)
async def test_what_goes_beyond_the_window_follows_in_order(world: World) -> None:
    subscriber = await world.subscriber(("t", 1), version=4)
    publisher = await world.connect("p", 4)
    for number in range(6):
        await publisher.publish("t", b"%d" % number, 1)
    await subscriber.send(puback(99))  # makes no room
    found = await subscriber.messages()
    for number in range(2, 6):
        assert len(found) == 2
        await subscriber.send(puback(found.pop(0).packet_id))
        found += await subscriber.messages()
        assert found[-1].payload == b"%d" % number


# --- order --------------------------------------------------------------------------------


@over_sockets
@statement("MQTT-4.6.0-5", "MQTT-4.6.0-6", version=4)
async def test_every_topic_keeps_its_order_at_every_qos(world: World) -> None:
    for version in VERSIONS:
        subscribers = [
            await world.subscriber(("t/#", 2), client_id="a", version=version),
            await world.subscriber(("t/+", 1), client_id="b", version=version),
            await world.subscriber(("t/1", 0), ("t/2", 0), client_id="c", version=version),
        ]
        publishers = [await world.connect(f"p{number}", version) for number in range(2)]
        for qos in (0, 1, 2):
            for number in range(30):
                for publisher in publishers:
                    name = b"%d %d" % (publishers.index(publisher), number)
                    packet_id = number + 1
                    topic = f"t/{number % 2 + 1}"
                    await publisher.send(publish(topic, name, qos, packet_id, version=version))
            for publisher in publishers:
                if qos == 2:
                    assert [await publisher.receive() for _ in range(30)] == [Pubrec(one + 1) for one in range(30)]
                    await publisher.send(*(pubrel(one + 1) for one in range(30)))
                if qos:
                    kind = Puback if qos == 1 else Pubcomp
                    assert [await publisher.receive() for _ in range(30)] == [kind(one + 1) for one in range(30)]
                await publisher.expect_alive()
            for granted, subscriber in zip((2, 1, 0), subscribers, strict=True):
                found = [await subscriber.expect(Publish) for _ in range(60)]
                assert {one.qos for one in found} == {min(granted, qos)}
                for who in range(2):
                    for topic in ("t/1", "t/2"):
                        numbers = [
                            int(one.payload.split()[1])
                            for one in found
                            if one.topic == topic and one.payload.startswith(b"%d" % who)
                        ]
                        assert numbers == list(range(topic == "t/2", 30, 2))
                for one in found:
                    await subscriber.acknowledge(one)
                await subscriber.expect_alive()
        for peer in subscribers + publishers:
            await peer.disconnect()
