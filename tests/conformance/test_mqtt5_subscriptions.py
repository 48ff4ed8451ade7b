"""MQTT 5.0: SUBSCRIBE and UNSUBSCRIBE, their answers, and what a subscription brings."""

import pytest
from conformance.client import World
from conformance.marks import limits, statement
from conformance.packets import (
    NO_LOCAL,
    RETAIN_AS_PUBLISHED,
    RETAIN_NEVER,
    Pingresp,
    Publish,
    Suback,
    Unsuback,
    Will,
    connect,
    properties,
    publish,
    subscribe,
    unsubscribe,
)

KEEP = properties(session_expiry_interval=1_000)
INVALID = 0x8F


@statement("MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-2.2.1-6", "MQTT-3.8.4-6", version=5)
async def test_suback_byte_by_byte(world: World) -> None:
    peer = await world.connect()
    for packet_id in (1, 2, 256, 65_535):
        await peer.send(subscribe(("t", 1), packet_id=packet_id))
        await peer.expect_bytes(b"\x90\x04" + packet_id.to_bytes(2, "big") + b"\x00\x01")
        await peer.send(unsubscribe("t", packet_id=packet_id))
        await peer.expect_bytes(b"\xb0\x04" + packet_id.to_bytes(2, "big") + b"\x00\x00")


@statement("MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2", "MQTT-4.13.1-1", version=5)
async def test_each_filter_has_its_code_in_its_place(world: World) -> None:
    """Filters that are not well formed are refused one by one, and the others granted."""
    peer = await world.connect()
    entries = [("a", 2), ("b#", 1), ("c", 0), ("", 0), ("d/+", 1), ("e+", 2), ("a", 0), ("$share/g", 1), ("f", 2)]
    await peer.send(subscribe(*entries, packet_id=77))
    suback = await peer.expect(Suback)
    assert (suback.packet_id, suback.codes) == (77, [2, INVALID, 0, INVALID, 1, INVALID, 0, INVALID, 2])
    publisher = await world.connect("p")
    for topic in ("a", "b", "c", "d/x", "f"):
        await publisher.publish(topic, b"x", 2)
    # The second subscription to "a" has replaced the first, as if they had come in two packets.
    assert [(one.topic, one.qos) for one in await peer.messages()] == [("a", 0), ("c", 0), ("d/x", 1), ("f", 2)]


@statement("MQTT-3.8.4-5", "MQTT-3.8.4-6", version=5)
async def test_many_filters_in_one_packet(world: World) -> None:
    peer = await world.connect()
    filters = [(f"t/{number}", number % 3) for number in range(2_000)]
    await peer.send(subscribe(*filters))
    assert await peer.expect(Suback) == Suback(1, [number % 3 for number in range(2_000)])
    await peer.send(unsubscribe(*(name for name, _ in filters), "none"))
    assert await peer.expect(Unsuback) == Unsuback(1, [0] * 2_000 + [0x11])


@statement("MQTT-3.8.4-3", "MQTT-3.8.4-4", version=5)
async def test_an_identical_filter_replaces_the_subscription(world: World) -> None:
    """QoS, options and identifier are those of the last; there is one copy, and retained messages come again."""
    publisher = await world.connect("p")
    await publisher.publish("t", b"kept", 2, retain=True)
    peer = await world.connect("c")
    await peer.subscribe(("t", 2), properties=properties(subscription_identifier=1))
    assert (await peer.expect_message()).properties == {"subscription_identifier": [1]}
    await peer.subscribe(("t", 1 | RETAIN_AS_PUBLISHED))
    message = await peer.expect_message()
    assert (message.payload, message.qos, message.retain, message.properties) == (b"kept", 1, True, {})
    await publisher.publish("t", b"new", 2, retain=True)
    message = await peer.expect_message()
    assert (message.payload, message.qos, message.retain, message.properties) == (b"new", 1, True, {})
    await peer.expect_nothing()
    assert await peer.unsubscribe("t") == [0]
    await publisher.publish("t", b"x", 2)
    await peer.expect_nothing()


@statement("MQTT-3.8.4-4", version=5)
async def test_nothing_is_lost_while_a_subscription_is_replaced(world: World) -> None:
    """A message in front of the second SUBSCRIBE and one behind it, all in flight at once."""
    peer = await world.subscriber(("t", 1 | RETAIN_NEVER), client_id="c")
    await peer.send(
        publish("t", b"1", 1, 1),
        subscribe(("t", 1 | RETAIN_NEVER), packet_id=2),
        publish("t", b"2", 1, 3),
        subscribe(("t", 2 | RETAIN_NEVER), packet_id=4),
        publish("t", b"3", 1, 5),
    )
    found = await peer.received()
    assert [one.payload for one in found if type(one) is Publish] == [b"1", b"2", b"3"]


@statement("MQTT-3.8.4-8", "MQTT-3.8.4-7", version=5)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
async def test_a_message_comes_at_the_lower_qos(world: World, qos: int, granted: int) -> None:
    peer = await world.subscriber(("t", granted))
    await (await world.connect("p")).publish("t", b"x", qos)
    assert (await peer.expect_message()).qos == min(qos, granted)


@statement("MQTT-3.3.4-2", "MQTT-3.3.4-3", "MQTT-3.3.4-4", version=5)
async def test_overlapping_subscriptions_bring_one_copy(world: World) -> None:
    """At the highest QoS, with every identifier, and RETAIN as published if one of them wants it."""
    peer = await world.connect("c")
    await peer.subscribe(("a/b", 0), properties=properties(subscription_identifier=1))
    await peer.subscribe(("a/+", 1), properties=properties(subscription_identifier=300))
    await peer.subscribe(("a/#", 0))
    await peer.subscribe(("#", 0 | RETAIN_AS_PUBLISHED), properties=properties(subscription_identifier=268_435_455))
    publisher = await world.connect("p")
    await publisher.publish("a/b", b"x", 2, retain=True)
    message = await peer.expect_message()
    assert (message.qos, message.retain) == (1, True)
    assert sorted(message.properties["subscription_identifier"]) == [1, 300, 268_435_455]
    await peer.expect_nothing()
    await publisher.publish("a/c", b"x", 2)
    assert sorted((await peer.expect_message()).properties["subscription_identifier"]) == [300, 268_435_455]
    await publisher.publish("b", b"x", 2)
    assert (await peer.expect_message()).properties["subscription_identifier"] == [268_435_455]


@statement("MQTT-3.3.4-2", version=5)
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_the_order_of_overlapping_subscriptions_is_no_matter(world: World, qos: int) -> None:
    for first, second in ((0, 2), (2, 0), (1, 2), (2, 1), (0, 1), (1, 0)):
        peer = await world.connect("c")
        await peer.subscribe(("t", first))
        await peer.subscribe(("+", second))
        await (await world.connect("p")).publish("t", b"x", qos)
        assert [one.qos for one in await peer.messages()] == [min(qos, max(first, second))]


@statement("MQTT-3.3.4-3", "MQTT-3.3.4-4", version=5)
async def test_one_identifier_for_several_subscriptions(world: World) -> None:
    """3.3.4: each subscription that matches puts its identifier there; it may be there several times."""
    peer = await world.connect("c")
    await peer.subscribe("t", "+", properties=properties(subscription_identifier=5))
    await (await world.connect("p")).publish("t", b"x")
    assert set((await peer.expect_message()).properties["subscription_identifier"]) == {5}


@statement("MQTT-3.3.4-3", version=5)
@pytest.mark.parametrize("way", ["retained", "waited", "again"])
async def test_the_identifier_comes_with_retained_messages_and_with_what_waited(world: World, way: str) -> None:
    publisher = await world.connect("p")
    if way == "retained":
        await publisher.publish("t", b"x", 1, retain=True)
    peer = await world.connect("c", properties=KEEP)
    await peer.subscribe("t", properties=properties(subscription_identifier=42))
    if way == "waited":
        await peer.drop()
    if way != "retained":
        await publisher.publish("t", b"x", 1)
    if way == "again":
        assert (await peer.expect(Publish)).properties == {"subscription_identifier": [42]}
        await peer.drop()
    if way != "retained":
        peer = await world.connect("c", clean=False, properties=KEEP)
    message = await peer.expect_message()
    assert (message.properties, message.dup) == ({"subscription_identifier": [42]}, way == "again")


@statement("MQTT-3.3.4-5", version=5)
async def test_of_several_copies_each_has_its_own_identifier(world: World) -> None:
    """The broker sends several copies where shared and ordinary subscriptions of one client match."""
    peer = await world.connect("c")
    for number, topic_filter in enumerate(("t", "$share/a/t", "$share/b/+"), 1):
        await peer.subscribe(topic_filter, properties=properties(subscription_identifier=number))
    await (await world.connect("p")).publish("t", b"x")
    found = await peer.messages()
    assert sorted(one.properties["subscription_identifier"] for one in found) == [[1], [2], [3]]


@statement("MQTT-3.8.3-3", version=5)
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_no_local(world: World, qos: int) -> None:
    """A client's own messages do not come back, live, through its Will or another subscription of the same kind."""
    peer = await world.connect("c", will=Will("t/will", b"gone", qos), properties=KEEP)
    await peer.subscribe(("t/#", 2 | NO_LOCAL))
    await peer.publish("t/1", b"mine", qos)
    await peer.expect_nothing()
    other = await world.connect("other")
    await other.publish("t/1", b"theirs", qos)
    assert (await peer.expect_message()).payload == b"theirs"
    await peer.drop()
    again = await world.connect("c", clean=False, properties=KEEP)
    await again.expect_nothing()


@statement("MQTT-3.8.3-3", version=5)
async def test_no_local_goes_by_the_client_identifier_and_not_by_the_connection(world: World) -> None:
    """What the client published before it came back is its own still."""
    peer = await world.connect("c", properties=KEEP)
    await peer.subscribe(("t", 2 | NO_LOCAL))
    await peer.send(publish("t", b"mine", 2, 7))
    await peer.received()
    await peer.drop()
    again = await world.connect("c", clean=False, properties=KEEP)
    await again.send(b"\x62\x02\x00\x07")
    assert [type(one).__name__ for one in await again.received()] == ["Pubcomp"]


@statement("MQTT-3.8.3-3", version=5)
async def test_no_local_beside_a_subscription_without_it(world: World) -> None:
    """Each subscription for itself: the one without No Local brings the client's own messages, the other does not."""
    peer = await world.connect("c")
    await peer.subscribe(("t", 2 | NO_LOCAL), properties=properties(subscription_identifier=1))
    await peer.subscribe(("+", 1), properties=properties(subscription_identifier=2))
    await peer.publish("t", b"mine")
    assert (await peer.expect_message()).properties == {"subscription_identifier": [2]}
    other = await world.connect("other")
    await other.publish("t", b"theirs", 2)
    message = await peer.expect_message()
    assert message.qos == 2
    assert sorted(message.properties["subscription_identifier"]) == [1, 2]
    await peer.expect_nothing()


@statement("MQTT-3.8.3-3", "MQTT-3.3.1-9", version=5)
async def test_no_local_and_a_retained_message_of_ones_own(world: World) -> None:
    """docs/conformance.md: what is retained is the broker's; No Local is about what is forwarded."""
    peer = await world.connect("c")
    await peer.publish("t", b"mine", 1, retain=True)
    await peer.subscribe(("t", 2 | NO_LOCAL))
    assert await peer.payloads() == [b"mine"]


@statement("MQTT-3.10.4-4", "MQTT-3.10.4-5", "MQTT-3.10.4-6", "MQTT-3.11.3-1", "MQTT-3.11.3-2", version=5)
async def test_unsuback_has_a_code_for_each_filter(world: World) -> None:
    peer = await world.connect()
    await peer.subscribe("a", "b/#", "$share/g/c")
    await peer.send(unsubscribe("x", "a", "b#", "a", "b/#", "$share/g/c", "c", packet_id=500))
    unsuback = await peer.expect(Unsuback)
    assert (unsuback.packet_id, unsuback.codes) == (500, [0x11, 0, INVALID, 0x11, 0, 0, 0x11])
    await peer.send(unsubscribe("a", packet_id=501))
    assert await peer.expect(Unsuback) == Unsuback(501, [0x11])


@statement("MQTT-3.10.4-1", version=5)
async def test_filters_are_compared_character_by_character(world: World) -> None:
    """What matches is not what is equal: a wildcard removes nothing but itself."""
    peer = await world.connect()
    filters = ["a/b", "a/+", "a/#", "#", "A/b", "a/b/", "/a/b", "\u00e9", "e\u0301"]
    assert await peer.subscribe(*filters) == [2] * len(filters)
    assert await peer.unsubscribe("+/b", "+/+", "a", "a/b/#", "a/ b") == [0x11] * 5
    for at, topic_filter in enumerate(filters):
        assert await peer.unsubscribe(topic_filter) == [0]
        assert await peer.unsubscribe(*filters[: at + 1]) == [0x11] * (at + 1)


@statement("MQTT-3.10.4-2", version=5)
async def test_after_unsubscribe_nothing_more_comes(world: World) -> None:
    """Not even what was sent in the same piece; other subscriptions go on."""
    peer = await world.connect()
    await peer.subscribe("t", "+/x")
    await peer.send(publish("t", b"before"), unsubscribe("t", packet_id=9), publish("t", b"behind"), b"\xc0\x00")
    found = await peer.received()
    assert [one for one in found if type(one) is Publish] == [Publish("t", b"before")]
    assert Unsuback(9, [0]) in found
    assert found[-1] == Pingresp()
    await peer.publish("a/x", b"still")
    assert await peer.payloads() == [b"still"]


@statement("MQTT-3.10.4-2", version=5)
@pytest.mark.parametrize("first", ["t", "$share/g/t"])
async def test_q5_a_subscription_and_a_shared_one_to_the_same_filter(world: World, first: str) -> None:
    """Each is there by itself, and goes by itself."""
    second = "$share/g/t" if first == "t" else "t"
    peer = await world.connect()
    publisher = await world.connect("p")
    for _ in range(3):
        assert await peer.subscribe(first, second) == [2, 2]
        await publisher.publish("t", b"x")
        assert await peer.payloads() == [b"x", b"x"]
        assert await peer.unsubscribe(first) == [0]
        await publisher.publish("t", b"x")
        assert await peer.payloads() == [b"x"]
        assert await peer.unsubscribe(first) == [0x11]
        assert await peer.unsubscribe(second) == [0]
        await publisher.publish("t", b"x")
        await peer.expect_nothing()


@statement("MQTT-3.12.4-1", version=5)
async def test_each_ping_is_answered(world: World) -> None:
    peer = await world.connect()
    await peer.send(b"\xc0\x00" * 3)
    await peer.expect_bytes(b"\xd0\x00" * 3)


@statement("MQTT-3.9.2-1", "MQTT-3.11.2-1", "MQTT-3.1.2-24", "5-unnumbered-reason-string", version=5)
async def test_a_refused_filter_is_explained_where_there_is_room(world: World) -> None:
    for size in (8, 30, 1_000):
        peer = await world.connect("c", properties=properties(maximum_packet_size=size))
        for data in (subscribe("a#", "$share/g"), unsubscribe("a#", "$share/g")):
            await peer.send(data)
            (answer,) = await peer.received()
            assert isinstance(answer, Suback)
            assert answer.codes == [INVALID, INVALID]
            assert answer.size <= size
            assert ("reason_string" in answer.properties) == (size == 1_000)


@statement("MQTT-3.1.2-24", "MQTT-3.1.2-25", version=5)
async def test_an_answer_with_more_codes_than_the_client_takes_is_not_sent(world: World) -> None:
    """There is nothing to leave out of it: the broker goes on as if it had sent it."""
    filters = [f"t/{number}" for number in range(50)]
    peer = await world.connect("c", properties=properties(maximum_packet_size=20))
    publisher = await world.connect("p")
    await peer.send(subscribe(*filters, packet_id=1))
    await peer.expect_nothing()
    await publisher.publish("t/49", b"x")
    assert await peer.payloads() == [b"x"]
    await peer.send(unsubscribe(*filters, packet_id=2))
    await peer.expect_nothing()
    await publisher.publish("t/49", b"x")
    await peer.expect_nothing()
    assert await peer.subscribe(*filters[:15]) == [2] * 15


@statement("5-unnumbered-topic-levels", version=5)
@limits(topic_levels_max=5)
async def test_levels_beyond_the_limit(world: World) -> None:
    """docs/conformance.md: a filter of too many levels is refused in SUBACK, a topic ends the connection."""
    peer = await world.connect()
    assert await peer.subscribe("1/2/3/4/5", "1/2/3/4/5/6", "/////", "$share/g/1/2/3/4/5") == [2, INVALID, INVALID, 2]
    publisher = await world.connect("p")
    assert await publisher.publish("1/2/3/4/5", b"", 1) == 0
    await publisher.send(publish("1/2/3/4/5/6"))
    await publisher.expect_end(0x90)
    refused = await world.open()
    await refused.send(connect("w", will=Will("1/2/3/4/5/6")))
    await refused.expect_refusal(0x90)
