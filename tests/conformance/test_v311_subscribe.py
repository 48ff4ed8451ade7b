"""MQTT 3.1.1 and 3.1: SUBSCRIBE and UNSUBSCRIBE: codes per filter, replaced and overlapping subscriptions, the end."""

import pytest
from conformance.client import World
from conformance.marks import limits, over_sockets, statement
from conformance.packets import (
    MQTT31,
    MQTT311,
    Publish,
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


# --- SUBACK -------------------------------------------------------------------------------


@over_sockets
@statement("MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-2.3.1-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2", "MQTT-3.8.4-5", version=4)
async def test_suback_has_the_identifier_and_a_code_for_each_filter_in_order(world: World) -> None:
    for version in VERSIONS:
        peer = await world.connect("c", version)
        for packet_id in (1, 255, 256, 65_535):
            await peer.send(subscribe(("a", 0), packet_id=packet_id, version=version))
            await peer.expect_bytes(b"\x90\x03" + packet_id.to_bytes(2, "big") + b"\0")
        await peer.send(subscribe(("a", 2), ("b", 0), ("c", 1), ("b", 1), ("#", 2), packet_id=7, version=version))
        await peer.expect_bytes(b"\x90\x07\0\7\2\0\1\1\2")
        await peer.send_bytewise(subscribe(("x", 1), packet_id=8, version=version))
        await peer.expect_bytes(b"\x90\x03\0\x08\1")
        await peer.expect_alive()
        await peer.disconnect()


@statement("MQTT-3.9.3-1", "MQTT-3.8.4-5", version=4)
async def test_many_filters_have_as_many_codes(world: World) -> None:
    peer = await world.connect("c", 4)
    filters = [(f"t/{number}", number % 3) for number in range(1_000)]
    assert await peer.subscribe(*filters) == [number % 3 for number in range(1_000)]
    publisher = await world.connect("p", 4)
    for number in (0, 500, 998, 999):
        await publisher.publish(f"t/{number}", b"x", 2)
        assert (await peer.expect_message()).qos == number % 3
    await peer.expect_nothing()


BAD_FILTERS = ("a#", "#/a", "a/#/b", "##", "a/b#", "+a", "a+", "a/+b", "a/b+/c", "++", "a/#/", "+#", "/+a/")


@pytest.mark.parametrize("bad", BAD_FILTERS)
@both
@statement("MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.8.0-1", version=4)
async def test_a_misplaced_wildcard_ends_the_connection(world: World, version: int, bad: str) -> None:
    """Nothing of the packet takes effect."""
    publisher = await world.connect("p", version)
    peer = await world.connect("c", version, clean=False)
    for first, second in (("good", bad), (bad, "good")):
        for write in (subscribe, unsubscribe):
            await peer.subscribe(("kept", 1))
            await peer.send(write("kept", first, second, packet_id=9, version=version))
            await peer.expect_closed()
            for topic in ("a", "a/b", "a/b/c", "b", "/a", "a/x/b", "xa", "good"):
                await publisher.publish(topic, b"x", 1)
            await publisher.publish("kept", b"x", 2)
            peer = await world.connect("c", version, clean=False)
            message = await peer.expect_message()
            assert (message.topic, message.qos) == ("kept", 1)
            await peer.expect_nothing()


@limits(topic_levels_max=3)
@statement("MQTT-3.9.3-2", "MQTT-3.8.4-5", "MQTT-3.9.3-1", version=4)
async def test_a_filter_of_too_many_levels_is_refused_alone(world: World) -> None:
    peer = await world.connect("c", 4)
    await peer.send(subscribe(("a/b/c", 1), ("a/b/c/d", 2), ("#", 0), packet_id=9, version=4))
    await peer.expect_bytes(b"\x90\x05\0\x09\x01\x80\x00")
    publisher = await world.connect("p", 4)
    await publisher.publish("a/b/c", b"x", 1)
    assert (await peer.expect_message()).qos == 1
    await peer.expect_nothing()


@limits(subscriptions_max=2)
@statement("MQTT-3.9.3-2", "MQTT-3.8.4-5", "MQTT-3.9.3-1", version=4)
async def test_a_filter_beyond_the_limit_is_refused_alone(world: World) -> None:
    peer = await world.connect("c", 4)
    assert await peer.subscribe(("a", 1), ("b", 2), ("c", 0), ("a", 2), ("d", 1)) == [1, 2, 0x80, 2, 0x80]
    await peer.unsubscribe("a")
    assert await peer.subscribe(("d", 1)) == [1]


@statement("MQTT-3.8.3-2", "MQTT-4.7.1-2", "MQTT-4.7.1-3", version=4)
async def test_filters_with_wildcards_are_granted_and_work(world: World) -> None:
    """A broker without wildcards would have to refuse them; this one has them."""
    filters = ("+", "#", "a/+", "a/#", "+/b", "+/+", "/+", "+/", "a/+/#", "+/b/#")
    publisher = await world.connect("p", 4)
    for topic_filter in filters:
        subscriber = await world.subscriber((topic_filter, 1), version=4)
        topic = topic_filter.replace("+", "x").replace("#", "y/z")
        await publisher.publish(topic, b"1", 1)
        assert (await subscriber.expect_message()).topic == topic
        await subscriber.disconnect()


# --- at which QoS -------------------------------------------------------------------------


@both
@statement("MQTT-3.8.4-6", "MQTT-3.3.2-3", version=4)
async def test_delivery_is_at_the_lower_qos(world: World, version: int) -> None:
    for granted in (0, 1, 2):
        subscriber = await world.subscriber(("t", granted), version=version)
        publisher = await world.connect("p", version)
        for qos in (0, 1, 2):
            await publisher.publish("t", b"x", qos)
            assert (await subscriber.expect_message()).qos == min(granted, qos)
        await subscriber.expect_nothing()
        await subscriber.disconnect()
        await publisher.disconnect()


@pytest.mark.parametrize("granted", [(0, 1, 2), (2, 1, 0), (1, 0, 1), (0, 2, 0), (0, 0, 0)])
@both
@statement("MQTT-3.3.5-1", "MQTT-3.8.4-6", version=4)
async def test_overlapping_subscriptions_deliver_once_at_the_highest_qos(
    world: World, version: int, granted: tuple[int, int, int]
) -> None:
    """One copy (the specification would allow more of them, at the other filters' QoS)."""
    filters = list(zip(("a/b", "a/+", "#"), granted, strict=True))
    subscriber = await world.subscriber(*filters, version=version)
    publisher = await world.connect("p", version)
    for qos in (0, 1, 2):
        await publisher.publish("a/b", b"x", qos)
        assert (await subscriber.expect_message()).qos == min(max(granted), qos)
        await subscriber.expect_nothing()
        await publisher.publish("a/c", b"x", qos)
        assert (await subscriber.expect_message()).qos == min(max(granted[1:]), qos)
        await subscriber.expect_nothing()


# --- replaced -----------------------------------------------------------------------------


@over_sockets
@statement("MQTT-3.8.4-3", version=4)
async def test_an_identical_filter_replaces_the_subscription_and_sends_retained_messages_again(world: World) -> None:
    for version in VERSIONS:
        publisher = await world.connect("p", version)
        await publisher.publish("t/1", b"kept", 2, retain=True)
        peer = await world.connect("c", version)
        for granted in (0, 2, 1, 1):
            assert await peer.subscribe(("t/+", granted)) == [granted]
            message = await peer.expect_message()
            assert (message.payload, message.qos, message.retain) == (b"kept", granted, True)
            await publisher.publish("t/2", b"one copy", 2)
            message = await peer.expect_message()
            assert (message.payload, message.qos, message.retain) == (b"one copy", granted, False)
            await peer.expect_alive()
        await peer.disconnect()
        await publisher.disconnect()


@statement("MQTT-3.8.4-3", version=4)
async def test_nothing_is_lost_while_a_subscription_is_replaced(world: World) -> None:
    peer = await world.subscriber(("t", 1), version=4)
    publisher = await world.connect("p", 4)
    for number in range(50):
        await publisher.send(publish("t", b"%d" % number, 1, number + 1, version=4))
        await peer.send(subscribe(("t", 1), packet_id=number + 1, version=4))
    found = [one for one in await peer.received() if type(one) is Publish]
    assert [one.payload for one in found] == [b"%d" % number for number in range(50)]


@statement("MQTT-3.8.4-3", "MQTT-4.7.3-4", version=4)
async def test_another_filter_that_matches_the_same_replaces_nothing(world: World) -> None:
    peer = await world.subscriber(("t/1", 2), version=4)
    await peer.subscribe(("t/+", 0))
    publisher = await world.connect("p", 4)
    await publisher.publish("t/1", b"x", 2)
    assert (await peer.expect_message()).qos == 2
    await peer.unsubscribe("t/1")
    await publisher.publish("t/1", b"x", 2)
    assert (await peer.expect_message()).qos == 0


@both
@statement("MQTT-3.8.4-4", "MQTT-3.8.4-5", version=4)
async def test_several_filters_are_as_several_packets_but_for_the_one_suback(world: World, version: int) -> None:
    publisher = await world.connect("p", version)
    for topic in ("a", "b"):
        await publisher.publish(topic, b"kept", 2, retain=True)
    together = await world.connect("together", version)
    assert await together.subscribe(("a", 1), ("+", 0), ("a", 2), ("none", 1)) == [1, 0, 2, 1]
    found = await together.messages()
    apart = await world.connect("apart", version)
    wanted: list[Publish] = []
    for one in (("a", 1), ("+", 0), ("a", 2), ("none", 1)):
        assert await apart.subscribe(one) == [one[1]]
        wanted += await apart.messages()
    assert sorted((one.topic, one.qos, one.retain) for one in found) == sorted(
        (one.topic, one.qos, one.retain) for one in wanted
    )
    assert len(found) == 4


@statement("MQTT-3.8.4-1", "MQTT-3.8.4-5", version=4)
async def test_the_same_client_receives_what_it_publishes(world: World) -> None:
    peer = await world.subscriber(("t", 1), version=4)
    await peer.send(publish("t", b"x", 1, 5, version=4))
    await peer.expect_bytes(publish("t", b"x", 1, 1, version=4), puback(5))


# --- UNSUBSCRIBE --------------------------------------------------------------------------


@over_sockets
@statement("MQTT-3.10.4-4", "MQTT-3.10.4-5", "MQTT-3.10.4-6", "MQTT-2.3.1-7", version=4)
async def test_unsuback_has_the_identifier_also_where_there_was_nothing(world: World) -> None:
    for version in VERSIONS:
        peer = await world.subscriber("a", "b", version=version, client_id="c")
        for packet_id in (1, 255, 256, 65_535):
            await peer.send(unsubscribe("none", packet_id=packet_id, version=version))
            await peer.expect_bytes(b"\xb0\x02" + packet_id.to_bytes(2, "big"))
        await peer.send(unsubscribe("a", "none", "a", "b", packet_id=7, version=version))
        await peer.expect_bytes(b"\xb0\x02\0\x07")
        await peer.send_bytewise(unsubscribe("a", packet_id=8, version=version))
        await peer.expect_bytes(b"\xb0\x02\0\x08")
        await peer.expect_alive()
        await peer.disconnect()


@both
@statement("MQTT-3.10.4-1", "MQTT-4.7.3-4", version=4)
async def test_a_filter_is_deleted_where_it_is_equal_and_nowhere_else(world: World, version: int) -> None:
    publisher = await world.connect("p", version)
    for topic_filter in ("a/b", "a/+", "a/#", "#"):
        subscriber = await world.subscriber((topic_filter, 1), version=version)
        others = {"a/b", "a/+", "a/#", "#", "A/b", "a/b/", "/a/b", "a/b ", "a", "+/b", "+/+", "a/b/#"} - {topic_filter}
        for other in sorted(others):
            await subscriber.unsubscribe(other)
            await publisher.publish("a/b", b"x", 1)
            await subscriber.expect_message()
        await subscriber.unsubscribe(topic_filter)
        await publisher.publish("a/b", b"x", 1)
        await subscriber.expect_nothing()
        await subscriber.disconnect()


@both
@statement("MQTT-3.10.4-2", "MQTT-3.10.4-6", version=4)
async def test_after_unsubscribe_nothing_is_added(world: World, version: int) -> None:
    peer = await world.subscriber("a", "b", "c", "d", version=version, client_id="c")
    publisher = await world.connect("p", version)
    await peer.unsubscribe("a", "c", "d")
    for topic in ("a", "b", "c", "d"):
        for qos in (0, 1, 2):
            await publisher.publish(topic, b"x", qos)
    found = await peer.messages()
    assert [(one.topic, one.qos) for one in found] == [("b", 0), ("b", 1), ("b", 2)]


@both
@statement("MQTT-3.10.4-2", version=4)
async def test_after_unsubscribe_nothing_is_kept_for_a_session_without_connection(world: World, version: int) -> None:
    peer = await world.connect("c", version, clean=False)
    await peer.subscribe(("t", 1))
    await peer.unsubscribe("t")
    await peer.drop()
    publisher = await world.connect("p", version)
    await publisher.publish("t", b"x", 1)
    back = await world.connect("c", version, clean=False)
    await back.expect_nothing()


@both
@statement("MQTT-3.10.4-3", version=4)
async def test_what_has_begun_is_finished_after_unsubscribe(world: World, version: int) -> None:
    """Also across connections."""
    peer = await world.connect("c", version, clean=False)
    await peer.subscribe("t")
    publisher = await world.connect("p", version)
    for qos in (1, 2, 2):
        await publisher.publish("t", b"x", qos)
    first, second, third = [one.packet_id for one in await peer.messages()]
    await peer.send(pubrec(third))
    assert await peer.expect(Pubrel) == Pubrel(third)
    await peer.unsubscribe("t")
    await peer.send(pubrec(second))
    await peer.expect_bytes(pubrel(second))
    await peer.drop()
    back = await world.connect("c", version, clean=False)
    await back.expect_bytes(publish("t", b"x", 1, first, version=version, dup=True), pubrel(second), pubrel(third))
    await back.send(puback(first), pubcomp(second), pubcomp(third))
    await back.expect_nothing()
    assert world.session("c").unacknowledged == 0


@statement("MQTT-3.10.4-1", version=4)
async def test_one_client_s_unsubscribe_is_no_other_s(world: World) -> None:
    peers = [await world.subscriber(("t", 1), client_id=one, version=4) for one in ("a", "b")]
    await peers[0].unsubscribe("t")
    publisher = await world.connect("p", 4)
    await publisher.publish("t", b"x", 1)
    await peers[0].expect_nothing()
    await peers[1].expect_message()
