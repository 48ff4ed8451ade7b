"""MQTT 5.0: what a message carries to its subscribers: retained or not, its properties, its time, its alias."""

import pytest
from conformance.client import World
from conformance.marks import limits, statement
from conformance.packets import (
    RETAIN_AS_PUBLISHED,
    RETAIN_IF_NEW,
    RETAIN_NEVER,
    Puback,
    Publish,
    properties,
    puback,
    publish,
)

KEEP = properties(session_expiry_interval=1_000)


# --- retained messages --------------------------------------------------------------------


@statement("MQTT-3.3.1-5", version=5)
async def test_the_last_retained_message_of_a_topic_is_the_one(world: World) -> None:
    publisher = await world.connect("p")
    for number, qos in enumerate((0, 1, 2, 1, 0)):
        await publisher.publish("t", b"%d" % number, qos, retain=True)
        late = await world.subscriber("t", client_id="late")
        assert [(one.payload, one.qos, one.retain) for one in await late.messages()] == [(b"%d" % number, qos, True)]
        await late.disconnect()


@statement("MQTT-3.3.1-5", "MQTT-3.3.1-9", version=5)
async def test_a_new_subscription_gets_the_retained_messages_of_all_topics_that_match(world: World) -> None:
    publisher = await world.connect("p")
    topics = ["a", "a/b", "a/b/c", "/a", "a/", "$a/b"]
    for topic in topics:
        await publisher.publish(topic, topic.encode(), 1, retain=True)
    expected = {
        "#": ["a", "a/b", "a/b/c", "/a", "a/"],
        "a/#": ["a", "a/b", "a/b/c", "a/"],
        "+/b": ["a/b"],
        "a/+": ["a/b", "a/"],
        "+/+": ["a/b", "/a", "a/"],
        "$a/#": ["$a/b"],
        "a": ["a"],
    }
    for topic_filter, wanted in expected.items():
        late = await world.subscriber(topic_filter, client_id="late")
        assert sorted(one.topic for one in await late.messages()) == sorted(wanted), topic_filter
        await late.disconnect()


@statement("MQTT-3.3.1-6", "MQTT-3.3.1-7", version=5)
async def test_a_retained_message_of_no_payload_removes(world: World) -> None:
    """Whoever is subscribed gets it like any other message; whoever comes later gets nothing."""
    here = await world.subscriber("t", client_id="here")
    publisher = await world.connect("p")
    for qos in (0, 1, 2):
        await publisher.publish("t", b"x", 1, retain=True)
        await here.expect_message()
        await publisher.publish("t", b"", qos, retain=True)
        message = await here.expect_message()
        assert (message.payload, message.retain) == (b"", False)
        late = await world.subscriber("t", client_id="late")
        await late.expect_nothing()
    await publisher.publish("never/retained", b"", 1, retain=True)
    late = await world.subscriber("#", client_id="late")
    await late.expect_nothing()


@statement("MQTT-3.3.1-8", version=5)
async def test_a_message_that_is_not_retained_leaves_the_retained_one_alone(world: World) -> None:
    publisher = await world.connect("p")
    await publisher.publish("t", b"kept", 1, retain=True)
    await publisher.publish("t", b"passing", 1)
    await publisher.publish("t", b"", 1)
    await publisher.publish("u", b"passing")
    late = await world.subscriber("#", client_id="late")
    assert await late.payloads() == [b"kept"]


@statement("MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11", "MQTT-3.8.4-4", version=5)
@pytest.mark.parametrize(
    ("option", "first", "second"), [(0, True, True), (RETAIN_IF_NEW, True, False), (RETAIN_NEVER, False, False)]
)
async def test_retain_handling(world: World, option: int, first: bool, second: bool) -> None:
    publisher = await world.connect("p")
    await publisher.publish("t/1", b"kept", 1, retain=True)
    peer = await world.connect("c")
    await peer.subscribe(("t/#", 1 | option))
    assert await peer.payloads() == [b"kept"] * first
    await peer.subscribe(("t/#", 2 | option))
    assert await peer.payloads() == [b"kept"] * second
    await peer.unsubscribe("t/#")
    await peer.subscribe(("t/#", 1 | option))
    assert await peer.payloads() == [b"kept"] * first


@statement("MQTT-3.3.1-10", version=5)
async def test_retain_handling_1_and_a_subscription_of_the_resumed_session(world: World) -> None:
    publisher = await world.connect("p")
    await publisher.publish("t", b"kept", 1, retain=True)
    peer = await world.connect("c", properties=KEEP)
    await peer.subscribe(("t", RETAIN_IF_NEW))
    assert await peer.payloads() == [b"kept"]
    await peer.drop()
    again = await world.connect("c", clean=False, properties=KEEP)
    await again.subscribe(("t", RETAIN_IF_NEW))
    await again.expect_nothing()


@statement("MQTT-3.3.1-12", "MQTT-3.3.1-13", version=5)
@pytest.mark.parametrize("option", [0, RETAIN_AS_PUBLISHED])
async def test_retain_as_published(world: World, option: int) -> None:
    """For what is forwarded; what is sent for being retained has RETAIN 1 with either."""
    publisher = await world.connect("p")
    peer = await world.subscriber(("t", 2 | option))
    for qos in (0, 1, 2):
        for retain in (False, True):
            await publisher.publish("t", b"x", qos, retain=retain)
            assert (await peer.expect_message()).retain == (retain and bool(option))
    late = await world.subscriber(("t", 2 | option), client_id="late")
    assert (await late.expect_message()).retain


@statement("MQTT-3.3.1-12", "MQTT-3.3.1-13", version=5)
async def test_retain_as_published_of_what_waited(world: World) -> None:
    peer = await world.connect("c", properties=KEEP)
    await peer.subscribe(("a", 1 | RETAIN_AS_PUBLISHED), ("b", 1))
    await peer.drop()
    publisher = await world.connect("p")
    for topic in ("a", "b"):
        await publisher.publish(topic, b"x", 1, retain=True)
    again = await world.connect("c", clean=False, properties=KEEP)
    assert [(one.topic, one.retain) for one in await again.messages()] == [("a", True), ("b", False)]


@statement("MQTT-3.8.4-8", "MQTT-3.3.1-9", version=5)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
async def test_retained_messages_come_at_the_lower_qos(world: World, qos: int, granted: int) -> None:
    await (await world.connect("p")).publish("t", b"x", qos, retain=True)
    peer = await world.subscriber(("t", granted))
    assert (await peer.expect_message()).qos == min(qos, granted)


@statement("5-unnumbered-retained-expiry", "MQTT-3.3.2-6", version=5)
async def test_retained_messages_expire(world: World) -> None:
    publisher = await world.connect("p")
    await publisher.publish("t", b"x", 1, retain=True, properties=properties(message_expiry_interval=10))
    await world.after(4)
    early = await world.subscriber("t", client_id="early")
    assert (await early.expect_message()).properties == {"message_expiry_interval": 6}
    await world.after(6.1)
    late = await world.subscriber("t", client_id="late")
    await late.expect_nothing()
    await publisher.publish("t", b"y", 1, retain=True)  # without an interval: for good, whatever the one before had
    await world.after(1_000_000)
    last = await world.subscriber("t", client_id="last")
    assert await last.payloads() == [b"y"]


@statement("MQTT-3.3.1-9", "MQTT-3.3.4-9", "MQTT-4.9.0-2", version=5)
async def test_retained_messages_come_within_the_receive_maximum(world: World) -> None:
    """All of them, a few at a time; what is published meanwhile comes too."""
    publisher = await world.connect("p")
    for number in range(20):
        await publisher.publish(f"t/{number:02}", b"kept", 1, retain=True)
    peer = await world.connect("c", properties=properties(receive_maximum=3))
    await peer.subscribe(("t/+", 1))
    await publisher.publish("t/new", b"new", 1)
    topics = []
    while found := await peer.messages():
        assert len(found) <= 3
        topics += [one.topic for one in found]
        await peer.send(*(puback(one.packet_id) for one in found))
    assert sorted(topics) == [f"t/{number:02}" for number in range(20)] + ["t/new"]


# --- properties ---------------------------------------------------------------------------


@statement(
    "MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-18", "MQTT-3.3.2-20", version=5
)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("way", ["live", "retained", "waited"])
async def test_properties_are_forwarded_as_they_are(world: World, qos: int, way: str) -> None:
    pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("a", "\u20ac" * 100)]
    sent = properties(
        user_property=pairs[:2],
        payload_format_indicator=1,
        correlation_data=bytes(range(256)),
        response_topic="answers/to/me",
        content_type="text/plain",
    ) + properties(user_property=pairs[2:])
    wanted = {
        "payload_format_indicator": 1,
        "correlation_data": bytes(range(256)),
        "response_topic": "answers/to/me",
        "content_type": "text/plain",
        "user_property": pairs,
    }
    peer = await world.connect("c", properties=KEEP)
    publisher = await world.connect("p")
    if way != "retained":
        await peer.subscribe("t")
    if way == "waited":
        await peer.drop()
    await publisher.publish(
        "t", b"text", max(qos, 1) if way == "waited" else qos, retain=way == "retained", properties=sent
    )
    if way == "waited":
        peer = await world.connect("c", clean=False, properties=KEEP)
    elif way == "retained":
        await peer.subscribe("t")
    assert (await peer.expect_message()).properties == wanted


@statement("MQTT-3.3.2-4", version=5)
async def test_each_payload_format_is_forwarded(world: World) -> None:
    peer = await world.subscriber("t")
    publisher = await world.connect("p")
    for indicator in (0, 1):
        await publisher.publish("t", b"x", properties=properties(payload_format_indicator=indicator))
        # 0 and none mean the same; what was sent is what comes.
        assert (await peer.expect_message()).properties == {"payload_format_indicator": indicator}
    await publisher.publish("t", b"x")
    assert (await peer.expect_message()).properties == {}


@statement("5-unnumbered-payload-format", version=5)
async def test_a_payload_that_is_not_utf_8_is_not_looked_at(world: World) -> None:
    """docs/conformance.md: a payload is its publisher's and subscribers' business."""
    peer = await world.subscriber("t")
    publisher = await world.connect("p")
    code = await publisher.publish("t", b"\xff\xfe", 1, properties=properties(payload_format_indicator=1))
    assert code == 0
    assert await peer.payloads() == [b"\xff\xfe"]


# --- expiry -------------------------------------------------------------------------------


@statement("MQTT-3.3.2-5", "MQTT-3.3.2-6", version=5)
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_message_that_waited_has_less_time_left_or_none(world: World, qos: int) -> None:
    peer = await world.connect("c", properties=KEEP)
    await peer.subscribe("t")
    await peer.drop()
    publisher = await world.connect("p")
    for interval in (5, 20, 0xFFFFFFFF, 10):
        sent = properties(message_expiry_interval=interval)
        await publisher.publish("t", b"%d" % interval, qos, properties=sent)
    await publisher.publish("t", b"none", qos)
    await world.after(12)
    again = await world.connect("c", clean=False, properties=KEEP)
    found = await again.messages()
    assert [(one.payload, one.properties.get("message_expiry_interval")) for one in found] == [
        (b"20", 8),
        (b"%d" % 0xFFFFFFFF, 0xFFFFFFFF - 12),
        (b"none", None),
    ]


@statement("MQTT-3.3.2-6", version=5)
async def test_a_message_that_did_not_wait_has_all_its_time(world: World) -> None:
    peer = await world.subscriber("t")
    publisher = await world.connect("p")
    for interval in (1, 1_000, 0xFFFFFFFF):
        await publisher.publish("t", b"x", 1, properties=properties(message_expiry_interval=interval))
        assert (await peer.expect_message()).properties == {"message_expiry_interval": interval}


@statement("MQTT-3.3.2-5", version=5)
async def test_a_message_of_no_time_goes_to_who_is_there_and_nobody_else(world: World) -> None:
    here = await world.subscriber("t", client_id="here")
    away = await world.connect("away", properties=KEEP)
    await away.subscribe("t")
    await away.drop()
    publisher = await world.connect("p")
    await publisher.publish("t", b"x", 1, properties=properties(message_expiry_interval=0))
    assert (await here.expect_message()).properties == {"message_expiry_interval": 0}
    await world.after(0.1)
    again = await world.connect("away", clean=False, properties=KEEP)
    await again.expect_nothing()


@statement("MQTT-3.3.2-5", "MQTT-3.3.4-9", version=5)
async def test_a_message_that_waits_for_the_receive_maximum_may_expire(world: World) -> None:
    peer = await world.connect("c", properties=properties(receive_maximum=1))
    await peer.subscribe("t")
    publisher = await world.connect("p")
    await publisher.publish("t", b"first", 1)
    await publisher.publish("t", b"short", 1, properties=properties(message_expiry_interval=5))
    await publisher.publish("t", b"long", 1, properties=properties(message_expiry_interval=50))
    first = await peer.expect(Publish)
    await world.after(10)
    await peer.send(puback(first.packet_id))
    found = await peer.expect(Publish)
    assert (found.payload, found.properties) == (b"long", {"message_expiry_interval": 40})


# --- DUP ----------------------------------------------------------------------------------


@statement("MQTT-3.3.1-3", version=5)
@pytest.mark.parametrize("qos", [1, 2])
async def test_dup_is_not_carried_over(world: World, qos: int) -> None:
    peer = await world.subscriber("t")
    publisher = await world.connect("p")
    assert await publisher.publish("t", b"x", qos, dup=True) == 0
    message = await peer.expect_message()
    assert (message.payload, message.dup) == (b"x", False)


# --- topic aliases ------------------------------------------------------------------------


@statement("MQTT-3.3.2-12", "MQTT-3.2.2-17", version=5)
@limits(alias_max_in=5)
async def test_every_alias_up_to_our_maximum_is_taken(world: World) -> None:
    """Set, used, set anew, and never forwarded."""
    peer = await world.subscriber("#")
    publisher = await world.connect("p")
    assert publisher.connack.properties["topic_alias_maximum"] == 5
    for alias in range(1, 6):
        await publisher.send(publish(f"t/{alias}", b"set", 1, alias, properties=properties(topic_alias=alias)))
    assert [one.code for one in await publisher.received()] == [0] * 5  # type: ignore[union-attr]
    for alias in range(5, 0, -1):
        await publisher.publish("", b"used", properties=properties(topic_alias=alias))
    await publisher.publish("other", b"anew", properties=properties(topic_alias=3))
    await publisher.publish("", b"used anew", properties=properties(topic_alias=3, content_type="text"))
    found = await peer.messages()
    assert [(one.topic, one.payload) for one in found] == [
        *((f"t/{alias}", b"set") for alias in range(1, 6)),
        *((f"t/{alias}", b"used") for alias in range(5, 0, -1)),
        ("other", b"anew"),
        ("other", b"used anew"),
    ]
    assert [one.properties for one in found] == [{}] * 11 + [{"content_type": "text"}]


@statement("MQTT-3.3.2-12", version=5)
async def test_an_alias_at_every_qos_and_retained(world: World) -> None:
    peer = await world.subscriber("t")
    publisher = await world.connect("p")
    alias = properties(topic_alias=1)
    await publisher.publish("t", b"0", 0, properties=alias)
    await publisher.publish("", b"1", 1, properties=alias)
    await publisher.publish("", b"2", 2, properties=alias, retain=True)
    for qos in (0, 1, 2):
        message = await peer.expect_message()
        assert (message.topic, message.payload, message.qos) == ("t", b"%d" % qos, qos)
    late = await world.subscriber("t", client_id="late")
    assert await late.payloads() == [b"2"]


@statement("MQTT-3.2.2-18", "MQTT-3.3.2-9", version=5)
@limits(alias_max_in=0)
async def test_where_no_maximum_is_announced_no_alias_is_taken(world: World) -> None:
    peer = await world.connect()
    assert "topic_alias_maximum" not in peer.connack.properties
    await peer.send(publish("t", properties=properties(topic_alias=1)))
    await peer.expect_end(0x94)


@statement("MQTT-3.3.2-7", version=5)
async def test_each_connection_has_aliases_of_its_own(world: World) -> None:
    """Of the client's, and of the broker's."""
    peer = await world.subscriber("#")
    one, two = await world.connect("one"), await world.connect("two")
    alias = properties(topic_alias=1)
    await one.publish("from/one", b"", properties=alias)
    await two.publish("from/two", b"", properties=alias)
    await one.publish("", b"", properties=alias)
    await two.publish("", b"", properties=alias)
    assert [found.topic for found in await peer.messages()] == ["from/one", "from/two", "from/one", "from/two"]


@statement("MQTT-3.1.2-26", "MQTT-3.3.2-11", version=5)
@pytest.mark.parametrize("maximum", [1, 3, 65_535])
@limits(alias_max_out=1_000)
async def test_the_broker_uses_aliases_up_to_the_clients_maximum(world: World, maximum: int) -> None:
    """Each alias is introduced with its topic before it stands alone, and every topic can be told."""
    peer = await world.connect("c", properties=properties(topic_alias_maximum=maximum))
    await peer.subscribe(("#", 1))
    publisher = await world.connect("p")
    sent = []
    for number in range(200):
        # One of the topics is as frequent as all others together.
        topic = f"a/topic/that/is/long/enough/for/an/alias/{number % 7 if number % 4 < 2 else 0}"
        sent.append((topic, b"%d" % number))
        await publisher.publish(topic, b"%d" % number, number % 2)
    known: dict[int, str] = {}
    found = []
    used = 0
    for message in await peer.messages():
        alias = message.properties.get("topic_alias")
        topic = message.topic
        if alias is not None:
            assert 1 <= alias <= maximum
            if topic:
                known[alias] = topic
            else:
                topic = known[alias]
                used += 1
        found.append((topic, message.payload))
    assert found == sent
    assert used > 0


@statement("MQTT-3.1.2-27", version=5)
@pytest.mark.parametrize("announced", [b"", properties(topic_alias_maximum=0)], ids=["none", "0"])
async def test_the_broker_uses_no_alias_where_the_client_takes_none(world: World, announced: bytes) -> None:
    peer = await world.connect("c", properties=announced)
    await peer.subscribe("#")
    publisher = await world.connect("p")
    for _ in range(50):
        await publisher.publish("a/topic/that/is/long/enough/for/an/alias", b"x")
    found = await peer.messages()
    assert len(found) == 50
    assert all(one.topic and "topic_alias" not in one.properties for one in found)


@statement("MQTT-3.3.2-7", "MQTT-3.3.2-11", version=5)
async def test_the_brokers_aliases_begin_anew_with_every_connection(world: World) -> None:
    """Also for what is sent again: its topic is there, or an alias that this connection has introduced."""
    topic = "a/topic/that/is/long/enough/for/an/alias"
    aliases = properties(session_expiry_interval=1_000, topic_alias_maximum=10)
    peer = await world.connect("c", properties=aliases)
    await peer.subscribe(topic)
    publisher = await world.connect("p")
    for _ in range(3):
        await publisher.publish(topic, b"x", 1)
    assert len(await peer.messages()) == 3
    await peer.drop()
    again = await world.connect("c", clean=False, properties=aliases)
    found = await again.messages()
    assert len(found) == 3
    assert found[0].topic == topic
    await again.drop()
    without = await world.connect("c", clean=False, properties=KEEP)
    assert [(one.topic, one.properties) for one in await without.messages()] == [(topic, {})] * 3


# --- Maximum Packet Size of the client ----------------------------------------------------


@statement("MQTT-3.1.2-24", "MQTT-3.1.2-25", version=5)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("way", ["live", "waited", "retained"])
async def test_a_message_too_large_for_a_client_passes_it_by(world: World, qos: int, way: str) -> None:
    """It is as if it had been sent: what follows is not held up, the quota and the identifiers are not used up."""
    small = properties(session_expiry_interval=1_000, maximum_packet_size=50, receive_maximum=1)
    peer = await world.connect("c", properties=small)
    publisher = await world.connect("p")
    if way != "retained":
        await peer.subscribe("+")
    if way == "waited":
        await peer.drop()
        qos = max(qos, 1)
    for topic, size in (("a", 100), ("b", 1), ("c", 50), ("d", 2)):
        assert await publisher.publish(topic, bytes(size), qos, retain=way == "retained") in (0, 0x10)
    if way == "waited":
        peer = await world.connect("c", clean=False, properties=small)
    if way == "retained":
        await peer.subscribe("+")
    arrived = []
    for _ in range(2):
        message = await peer.expect_message()
        arrived.append((message.topic, len(message.payload)))
        assert message.size <= 50
    assert sorted(arrived) == [("b", 1), ("d", 2)]
    await peer.expect_nothing()
    await peer.drop()
    again = await world.connect("c", clean=False, properties=properties(session_expiry_interval=1_000))
    await again.expect_nothing()


@statement("MQTT-3.1.2-24", "MQTT-3.1.2-25", version=5)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("identifier", [0, 1, 268_435_455], ids=["no identifier", "short", "long"])
async def test_a_message_of_just_the_maximum_size_arrives(world: World, qos: int, identifier: int) -> None:
    """Every byte counts: topic, packet identifier, Subscription Identifier. What fits arrives, and nothing else."""
    topic = "a/topic"
    around = properties(subscription_identifier=identifier) if identifier else b""
    for size in (*range(20, 40), *range(125, 140)):
        peer = await world.connect("c", properties=properties(maximum_packet_size=size))
        await peer.subscribe(topic, properties=around)
        publisher = await world.connect("p")
        await publisher.send(*(publish(topic, bytes(payload), qos, 1 + payload) for payload in range(size)))
        await publisher.send(*(b"\x62\x02" + (1 + payload).to_bytes(2, "big") for payload in range(size) if qos == 2))
        fits = [n for n in range(size) if len(publish(topic, bytes(n), qos, properties=around)) <= size]
        assert [len(payload) for payload in await peer.payloads()] == fits
        assert 0 < len(fits) < size


@statement("MQTT-3.1.2-24", "MQTT-3.1.2-26", version=5)
async def test_an_alias_counts_too(world: World) -> None:
    """A message fits by its alias, or comes without one because of it; it is never too large."""
    topic = "a/topic/of/some/length"
    for size in range(30, 60):
        peer = await world.connect("c", properties=properties(maximum_packet_size=size, topic_alias_maximum=5))
        await peer.subscribe(topic)
        publisher = await world.connect("p")
        await publisher.send(*(publish(topic, bytes(payload)) for payload in range(size)))
        found = await peer.messages()
        assert all(one.size <= size for one in found)
        at_least = [n for n in range(size) if len(publish(topic, bytes(n))) <= size]
        assert set(at_least) <= {len(one.payload) for one in found}


@statement("MQTT-3.14.2-3", "MQTT-3.14.2-4", "MQTT-3.1.2-24", version=5)
async def test_a_farewell_is_no_larger_than_the_client_takes(world: World) -> None:
    for size in (5, 20, 1_000):
        peer = await world.connect("c", properties=properties(maximum_packet_size=size))
        await peer.send(publish("+"))
        ending = await peer.expect_end(0x90)
        assert ending is not None
        assert ending.size <= size
        assert ("reason_string" in ending.properties) == (size == 1_000)


@statement(
    "MQTT-3.4.2-2",
    "MQTT-3.4.2-3",
    "MQTT-3.5.2-2",
    "MQTT-3.5.2-3",
    "MQTT-3.6.2-2",
    "MQTT-3.6.2-3",
    "MQTT-3.7.2-2",
    "MQTT-3.7.2-3",
    "MQTT-3.9.2-1",
    "MQTT-3.9.2-2",
    "MQTT-3.11.2-1",
    "MQTT-3.11.2-2",
    "MQTT-3.1.2-24",
    version=5,
)
async def test_acknowledgements_of_a_client_that_takes_next_to_nothing(world: World) -> None:
    """Every acknowledgement, with success and with failure, in no more than its six or seven bytes."""
    tiny = await world.connect("c", properties=properties(maximum_packet_size=7))
    assert tiny.connack.code == 0
    for data in (
        publish("nobody", b"", 1, 1),
        publish("nobody", b"", 2, 2),
        b"\x62\x02\x00\x02",
        b"\x62\x02\x00\x03",
        b"\x50\x02\x00\x04",
        b"\x82\x07\x00\x05\x00\x00\x01t\x02",
        b"\x82\x08\x00\x06\x00\x00\x02a#\x02",
        b"\xa2\x06\x00\x07\x00\x00\x01t",
        b"\xa2\x07\x00\x08\x00\x00\x02a#",
        b"\xa2\x06\x00\x09\x00\x00\x01t",
    ):
        await tiny.send(data)
        (answer,) = await tiny.received()
        assert answer.size <= 7, answer  # type: ignore[union-attr]


@statement("5-unnumbered-no-matching", "MQTT-3.4.2-1", "MQTT-3.5.2-1", version=5)
async def test_a_publisher_is_told_that_nobody_subscribes(world: World) -> None:
    publisher = await world.connect("p")
    assert await publisher.publish("t", b"x", 1) == 0x10
    assert await publisher.publish("t", b"x", 2) == 0x10
    await world.subscriber("t")
    assert await publisher.publish("t", b"x", 1) == 0
    assert await publisher.publish("t", b"x", 2) == 0
    await publisher.send(publish("t", b"x", 1, 77))
    assert await publisher.expect(Puback) == Puback(77)
