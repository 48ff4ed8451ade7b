"""MQTT 3.1.1 and 3.1: PUBLISH and retained messages: what is stored, replaced, removed, and how it is flagged."""

import pytest
from conformance.client import Peer, World
from conformance.marks import over_sockets, statement
from conformance.packets import MQTT31, MQTT311, Publish, puback, pubcomp, publish, pubrec, pubrel
from noctule._speedups.session import RIGHT_PUBLISH, RIGHT_QOS, RIGHT_RETAIN

VERSIONS = (MQTT31, MQTT311)
both = pytest.mark.parametrize("version", VERSIONS)


async def retained(world: World, *filters: str | tuple[str, int], version: int = MQTT311) -> list[Publish]:
    """What a new subscription to these filters is sent at once."""
    peer = await world.subscriber(*filters, version=version, client_id="finds-out")
    found = await peer.messages()
    await peer.disconnect()
    return found


# --- the packet ---------------------------------------------------------------------------


@both
@statement("MQTT-2.3.1-5", "MQTT-4.3.1-1", version=4)
async def test_at_qos_0_there_is_no_packet_identifier_either_way(world: World, version: int) -> None:
    """Two bytes that could be one are payload."""
    subscriber = await world.subscriber("t", version=version)
    peer = await world.connect("p", version)
    for payload in (b"", b"\0", b"\0\1", b"\0\0", b"\0\1x"):
        packet = bytes([0x30, 3 + len(payload)]) + b"\0\1t" + payload
        await peer.send(packet)
        await subscriber.expect_bytes(packet)
    await peer.expect_nothing()


@over_sockets
@statement("MQTT-3.3.4-1", "MQTT-2.3.1-6", "MQTT-4.3.2-2", "MQTT-4.3.3-2", version=4)
async def test_each_publish_is_answered_as_its_qos_asks(world: World) -> None:
    for version in VERSIONS:
        subscriber = await world.subscriber("t", version=version)
        peer = await world.connect("p", version)
        await peer.send(publish("t", b"x", version=version))
        await peer.expect_alive()
        for packet_id in (1, 2, 255, 256, 32_768, 65_535):
            await peer.send(publish("t", b"x", 1, packet_id, version=version))
            await peer.expect_bytes(b"\x40\x02" + packet_id.to_bytes(2, "big"))
            await peer.send(publish("t", b"x", 2, packet_id, version=version))
            await peer.expect_bytes(b"\x50\x02" + packet_id.to_bytes(2, "big"))
            await peer.send(pubrel(packet_id))
            await peer.expect_bytes(b"\x70\x02" + packet_id.to_bytes(2, "big"))
        await peer.expect_alive()
        assert [(await subscriber.expect(Publish)).qos for _ in range(13)] == [0, *(1, 2) * 6]
        await subscriber.expect_alive()
        await subscriber.disconnect()
        await peer.disconnect()


@both
@statement("MQTT-3.3.4-1", "MQTT-3.3.2-1", version=4)
async def test_a_publish_byte_by_byte_and_many_in_one_piece(world: World, version: int) -> None:
    subscriber = await world.subscriber(("t", 0), version=version)
    peer = await world.connect("p", version)
    packets = [publish("t", b"%d" % number, number % 3, number + 1, version=version) for number in range(6)]
    released = [pubrel(3), pubrel(6)]
    await peer.send_bytewise(*packets, *released)
    await peer.expect_bytes(puback(2), pubrec(3), puback(5), pubrec(6), pubcomp(3), pubcomp(6))
    assert sorted(await subscriber.payloads()) == [b"%d" % number for number in range(6)]
    await peer.send(*packets, *released)
    await peer.expect_bytes(puback(2), pubrec(3), puback(5), pubrec(6), pubcomp(3), pubcomp(6))
    assert sorted(await subscriber.payloads()) == [b"%d" % number for number in range(6)]


@both
@statement("MQTT-3.3.4-1", version=4)
async def test_payloads_of_every_size_arrive_unchanged(world: World, version: int) -> None:
    """Around the sizes at which the remaining length grows by a byte."""
    subscriber = await world.subscriber("t", version=version)
    peer = await world.connect("p", version)
    for qos in (0, 1, 2):
        head = 3 + (2 if qos else 0)
        for remaining in (head, 127, 128, 16_383, 16_384, 100_000):
            payload = bytes(number * 7 % 251 for number in range(remaining - head))
            await peer.publish("t", payload, qos)
            message = await subscriber.expect_message()
            assert message.payload == payload
            assert message.qos == qos


@statement("MQTT-3.3.1-3", "MQTT-4.3.2-1", "MQTT-4.3.3-1", version=4)
async def test_dup_of_the_publisher_is_not_carried_over(world: World) -> None:
    subscriber = await world.subscriber("t", version=4)
    peer = await world.connect("p", 4)
    for qos in (1, 2):
        await peer.publish("t", b"x", qos, dup=True)
        assert not (await subscriber.expect_message()).dup
    await peer.publish("t", b"kept", 1, dup=True, retain=True)
    assert [one.dup for one in await retained(world, "t")] == [False]


# --- rights -------------------------------------------------------------------------------


class Rights:
    """What a client may publish: anything, but not to ``no``."""

    def rule_of(self, action: object, topic: str) -> str:
        return "a test"

    def publish_rights(self, topic: bytes) -> int:
        return 0 if topic == b"no" else RIGHT_PUBLISH | RIGHT_RETAIN | 2 * RIGHT_QOS

    def may_receive(self, topic: bytes) -> bool:
        return True


@both
@statement("MQTT-3.3.5-2", version=4)
async def test_a_publish_that_is_not_allowed_is_acknowledged_as_usual(world: World, version: int) -> None:
    """3.x cannot be told: the flow runs its course, nothing is delivered, nothing is retained."""
    everything = await world.subscriber("#", client_id="everything", version=version)
    peer = await world.connect("p", version)
    world.session("p").access = Rights()
    world.broker.state.router.access_changed()
    for qos in (0, 1, 2):
        for retain in (False, True):
            assert await peer.publish("no", b"x", qos, retain=retain) == 0
    await peer.expect_alive()
    await peer.publish("yes", b"x", 1)
    assert (await everything.expect_message()).topic == "yes"
    await everything.expect_nothing()
    assert await retained(world, "no", version=version) == []


# --- retained messages --------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
@both
@statement("MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-8", version=4)
async def test_a_retained_message_and_its_qos_are_stored(world: World, version: int, qos: int) -> None:
    publisher = await world.connect("p", version)
    await publisher.publish("t", b"kept", qos, retain=True)
    for granted in (0, 1, 2):
        (found,) = await retained(world, ("t", granted), version=version)
        assert (found.topic, found.payload, found.qos) == ("t", b"kept", min(qos, granted))
        assert found.retain
        assert not found.dup


@over_sockets
@statement("MQTT-3.3.1-6", "MQTT-3.3.1-8", "MQTT-3.3.2-3", version=4)
async def test_a_new_subscription_gets_the_last_message_of_each_topic_that_matches(world: World) -> None:
    publisher = await world.connect("p", 4)
    for topic in ("a", "a/1", "a/2", "a/2/x", "b", "$internal/a"):
        for payload in (b"old", b"new"):
            await publisher.publish(topic, payload, 1, retain=True)
    wanted = {
        "a": {"a"},
        "a/+": {"a/1", "a/2"},
        "a/#": {"a", "a/1", "a/2", "a/2/x"},
        "+": {"a", "b"},
        "#": {"a", "a/1", "a/2", "a/2/x", "b"},
        "$internal/#": {"$internal/a"},
        "none": set(),
    }
    for topic_filter, topics in wanted.items():
        found = await retained(world, (topic_filter, 1))
        assert {one.topic for one in found} == topics
        assert len(found) == len(topics)
        assert all(one.retain and one.payload == b"new" and one.qos == 1 for one in found)


@both
@statement("MQTT-3.3.1-7", version=4)
async def test_a_retained_message_of_qos_0_replaces_the_one_before(world: World, version: int) -> None:
    publisher = await world.connect("p", version)
    await publisher.publish("t", b"first", 2, retain=True)
    await publisher.publish("t", b"second", 0, retain=True)
    assert await retained(world, "t", version=version) == [Publish("t", b"second", 0, True)]
    await publisher.publish("t", b"third", 0, retain=True)
    assert await retained(world, "t", version=version) == [Publish("t", b"third", 0, True)]


@both
@statement("MQTT-3.3.1-9", version=4)
async def test_a_subscription_that_is_there_gets_retain_0(world: World, version: int) -> None:
    subscriber = await world.subscriber("#", version=version)
    publisher = await world.connect("p", version)
    for qos in (0, 1, 2):
        await publisher.publish("t", b"x", qos, retain=True)
        message = await subscriber.expect_message()
        assert (message.qos, message.retain) == (qos, False)


@statement("MQTT-3.3.1-9", version=4)
async def test_what_waits_for_a_session_has_retain_0(world: World) -> None:
    peer = await world.connect("c", 4, clean=False)
    await peer.subscribe(("t", 1))
    await peer.drop()
    publisher = await world.connect("p", 4)
    await publisher.publish("t", b"x", 1, retain=True)
    back = await world.connect("c", 4, clean=False)
    assert not (await back.expect_message()).retain
    # A session that is resumed is no new subscription.
    await back.expect_nothing()


@pytest.mark.parametrize("qos", [0, 1, 2])
@both
@statement("MQTT-3.3.1-10", "MQTT-3.3.1-11", version=4)
async def test_an_empty_retained_message_removes_and_is_not_stored(world: World, version: int, qos: int) -> None:
    subscriber = await world.subscriber("#", version=version)
    publisher = await world.connect("p", version)
    await publisher.publish("t", b"kept", 1, retain=True)
    await publisher.publish("other", b"kept", 1, retain=True)
    await subscriber.expect_message()
    await subscriber.expect_message()
    for _ in range(2):  # also where there is nothing to remove
        await publisher.publish("t", b"", qos, retain=True)
        message = await subscriber.expect_message()
        assert (message.topic, message.payload, message.qos, message.retain) == ("t", b"", qos, False)
        assert [one.topic for one in await retained(world, "#", version=version)] == ["other"]
    await publisher.publish("t", b"again", qos, retain=True)
    assert [one.payload for one in await retained(world, "t", version=version)] == [b"again"]


@both
@statement("MQTT-3.3.1-12", version=4)
async def test_with_retain_0_nothing_is_stored_and_nothing_touched(world: World, version: int) -> None:
    publisher = await world.connect("p", version)
    for qos in (0, 1, 2):
        await publisher.publish("t", b"passing", qos)
    assert await retained(world, "t", version=version) == []
    await publisher.publish("t", b"kept", 1, retain=True)
    for qos in (0, 1, 2):
        await publisher.publish("t", b"passing", qos)
        await publisher.publish("t", b"", qos)
    assert [one.payload for one in await retained(world, "t", version=version)] == [b"kept"]


@statement("MQTT-3.3.1-5", version=4)
async def test_a_qos_2_message_is_retained_once_it_is_released(world: World) -> None:
    """And of two that were sent, the one that was released last."""
    publisher = await world.connect("p", 4)
    await publisher.send(
        publish("t", b"1", 2, 1, version=4, retain=True), publish("t", b"2", 2, 2, version=4, retain=True)
    )
    await publisher.expect_bytes(pubrec(1), pubrec(2))
    await publisher.send(pubrel(1), pubrel(2))
    await publisher.expect_bytes(pubcomp(1), pubcomp(2))
    assert [one.payload for one in await retained(world, "t")] == [b"2"]


@statement("MQTT-3.3.1-6", "MQTT-4.6.0-6", version=4)
async def test_what_is_published_behind_a_subscription_comes_behind_its_retained_messages(world: World) -> None:
    publisher = await world.connect("p", 4)
    for number in range(50):
        await publisher.publish(f"t/{number}", b"old", 1, retain=True)
    peer: Peer = await world.connect("c", 4)
    assert await peer.subscribe(("t/#", 1)) == [1]
    await publisher.publish("t/7", b"new", 1, retain=True)
    found = await peer.messages()
    assert len(found) == 51
    assert [(one.payload, one.retain) for one in found if one.topic == "t/7"] == [(b"old", True), (b"new", False)]
