"""Clients of different versions on one broker, and one client that comes back under another version."""

import pytest
from conformance.client import World
from conformance.marks import statement
from conformance.packets import (
    NO_LOCAL,
    RETAIN_AS_PUBLISHED,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Will,
    properties,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
)

MIXED, RESUMED = "5-unnumbered-mixed-versions", "5-unnumbered-mixed-sessions"
KEEP = properties(session_expiry_interval=1_000)
EVERYTHING = properties(
    payload_format_indicator=1,
    message_expiry_interval=100,
    content_type="text",
    response_topic="answers",
    correlation_data=b"\0\1",
    user_property=[("n", "v"), ("n", "w")],
)
READ = {
    "payload_format_indicator": 1,
    "message_expiry_interval": 100,
    "content_type": "text",
    "response_topic": "answers",
    "correlation_data": b"\0\1",
    "user_property": [("n", "v"), ("n", "w")],
}

older = pytest.mark.parametrize("version", [3, 4])


@older
@statement(MIXED, version=5)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("way", ["live", "retained", "waited"])
async def test_from_version_5_to_an_older_one(world: World, version: int, qos: int, way: str) -> None:
    """The properties stay behind, and a topic alias is the topic that it stands for."""
    publisher = await world.connect("p")
    peer = await world.connect("c", version, clean=False)
    if way != "retained":
        await peer.subscribe("t/+")
    if way == "waited":
        await peer.drop()
        qos = max(qos, 1)
    alias = properties(topic_alias=1)
    await publisher.publish("t/1", b"one", qos, retain=way == "retained", properties=EVERYTHING + alias)
    if way != "retained":
        await publisher.publish("", b"two", qos, properties=alias)
    if way == "waited":
        peer = await world.connect("c", version, clean=False)
    if way == "retained":
        await peer.subscribe("t/+")
    found = await peer.messages()
    assert found[0] == Publish("t/1", b"one", qos, retain=way == "retained", packet_id=found[0].packet_id)
    if way != "retained":
        assert found[1:] == [Publish("t/1", b"two", qos, packet_id=found[1].packet_id)]


@older
@statement(MIXED, version=5)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("way", ["live", "retained", "waited"])
async def test_from_an_older_version_to_version_5(world: World, version: int, qos: int, way: str) -> None:
    """There are no properties but those that the broker adds."""
    publisher = await world.connect("p", version)
    peer = await world.connect("c", properties=KEEP)
    identifier = properties(subscription_identifier=7)
    if way != "retained":
        await peer.subscribe("t", properties=identifier)
    if way == "waited":
        await peer.drop()
        qos = max(qos, 1)
    await publisher.publish("t", b"\x00\x01\x02", qos, retain=way == "retained")
    if way == "waited":
        peer = await world.connect("c", clean=False, properties=KEEP)
    if way == "retained":
        await peer.subscribe("t", properties=identifier)
    message = await peer.expect_message()
    assert (message.payload, message.qos, message.retain) == (b"\x00\x01\x02", qos, way == "retained")
    assert message.properties == {"subscription_identifier": [7]}


@older
@statement(MIXED, version=5)
async def test_many_messages_in_one_piece_to_all_versions(world: World, version: int) -> None:
    """A run of QoS 0, which is forwarded as it is where it can be, and rewritten where it cannot."""
    peers = {one: await world.subscriber("t", version=one, client_id=f"s{one}") for one in (3, 4, 5)}
    for source in (version, 5):
        publisher = await world.connect(f"p{source}", source)
        payloads = [b"%d" % number * number for number in range(100)]
        await publisher.send(*(publish("t", one, version=source) for one in payloads))
        for peer in peers.values():
            assert await peer.payloads() == payloads


@older
@statement(MIXED, "MQTT-3.3.2-5", version=5)
async def test_messages_expire_for_older_versions_too(world: World, version: int) -> None:
    peer = await world.connect("c", version, clean=False)
    await peer.subscribe("t")
    await peer.drop()
    publisher = await world.connect("p")
    await publisher.publish("t", b"short", 1, properties=properties(message_expiry_interval=5))
    await publisher.publish("t", b"long", 1, properties=properties(message_expiry_interval=50))
    await world.after(10)
    again = await world.connect("c", version, clean=False)
    assert await again.payloads() == [b"long"]


@older
@statement(MIXED, version=5)
async def test_wills_between_versions(world: World, version: int) -> None:
    old_watcher = await world.subscriber("w", version=version, client_id="old")
    new_watcher = await world.subscriber("w", client_id="new")
    await (await world.connect("a", will=Will("w", b"5", 1, properties=EVERYTHING))).drop()
    await (await world.connect("b", version, will=Will("w", b"older", 1))).drop()
    assert [(one.payload, one.properties) for one in await old_watcher.messages()] == [(b"5", {}), (b"older", {})]
    assert [(one.payload, one.properties) for one in await new_watcher.messages()] == [(b"5", READ), (b"older", {})]


@older
@statement(MIXED, "MQTT-3.1.4-3", version=5)
async def test_a_takeover_by_another_version(world: World, version: int) -> None:
    """Each side is told as its version has it: DISCONNECT 0x8E, or nothing."""
    new = await world.connect("c")
    old = await world.connect("c", version)
    await new.expect_end(0x8E)
    newest = await world.connect("c")
    await old.expect_end()
    await newest.expect_alive()


@older
@statement(MIXED, version=5)
async def test_older_versions_may_share_subscriptions(world: World, version: int) -> None:
    """docs/conformance.md: "$share/" means the same to every version."""
    peers = [await world.subscriber("$share/g/t", version=one, client_id=f"s{one}") for one in (version, 5)]
    publisher = await world.connect("p")
    for number in range(10):
        await publisher.publish("t", b"%d" % number, 1, properties=EVERYTHING)
    shares = [await peer.payloads() for peer in peers]
    assert [len(share) for share in shares] == [5, 5]


@older
@statement(RESUMED, version=5)
async def test_a_session_of_version_5_goes_on_under_an_older_one(world: World, version: int) -> None:
    """In flight, released, and waiting: all comes as the older version has it, and as before once 5 is back."""
    peer = await world.connect("c", properties=KEEP)
    await peer.subscribe("t", properties=properties(subscription_identifier=7))
    publisher = await world.connect("p")
    await publisher.publish("t", b"one", 1, properties=EVERYTHING)
    await publisher.publish("t", b"two", 2, properties=EVERYTHING)
    await publisher.publish("t", b"three", 2, properties=EVERYTHING)
    one, two, three = await peer.messages()
    await peer.send(pubrec(three.packet_id))
    await peer.expect(Pubrel)
    await peer.drop()
    await publisher.publish("t", b"four", 1, properties=EVERYTHING)

    old = await world.connect("c", version, clean=False)
    assert old.connack.session_present == (version == 4)  # 3.1 has no such flag
    found = await old.received()
    assert found[:3] == [
        Publish("t", b"one", 1, dup=True, packet_id=one.packet_id),
        Publish("t", b"two", 2, dup=True, packet_id=two.packet_id),
        Pubrel(three.packet_id),
    ]
    (four,) = found[3:]
    assert isinstance(four, Publish)
    assert (four.payload, four.properties) == (b"four", {})
    await old.send(puback(one.packet_id), pubcomp(three.packet_id))
    await old.drop()

    new = await world.connect("c", clean=False, properties=KEEP)
    assert new.connack.session_present
    assert await new.messages() == [
        Publish("t", b"two", 2, dup=True, packet_id=two.packet_id, properties=READ | {"subscription_identifier": [7]}),
        Publish(
            "t", b"four", 1, dup=True, packet_id=four.packet_id, properties=READ | {"subscription_identifier": [7]}
        ),
    ]
    await publisher.publish("t", b"five", 0)
    assert (await new.expect(Publish)).properties == {"subscription_identifier": [7]}


@older
@statement(RESUMED, version=5)
async def test_a_session_of_an_older_version_goes_on_under_version_5(world: World, version: int) -> None:
    """And lives from then on as long as version 5 says."""
    old = await world.connect("c", version, clean=False)
    await old.subscribe("t")
    publisher = await world.connect("p")
    await publisher.publish("t", b"one", 1, properties=EVERYTHING)
    message = await old.expect(Publish)
    await old.drop()
    await world.after(10_000_000)
    new = await world.connect("c", clean=False, properties=properties(session_expiry_interval=10))
    assert new.connack.session_present
    again = await new.expect(Publish)
    assert (again.payload, again.dup, again.packet_id) == (b"one", True, message.packet_id)
    await new.drop()
    await world.after(9.9)
    assert world.session("c") is not None
    await world.after(0.2)
    assert world.session("c") is None


@older
@statement(RESUMED, "MQTT-4.3.3-10", version=5)
async def test_q8_a_qos_2_message_begun_in_one_version_is_finished_in_another(world: World, version: int) -> None:
    """It is delivered once, with the properties that it came with."""
    watcher = await world.subscriber("t", client_id="watcher")
    peer = await world.connect("c", properties=KEEP)
    await peer.send(publish("t", b"x", 2, 9, properties=EVERYTHING))
    assert await peer.expect(Pubrec) == Pubrec(9)
    await peer.drop()
    old = await world.connect("c", version, clean=False)
    await old.send(publish("t", b"x", 2, 9, version=version, dup=True))
    await old.expect_bytes(b"\x50\x02\x00\x09")
    await old.send(pubrel(9))
    await old.expect_bytes(b"\x70\x02\x00\x09")
    message = await watcher.expect_message()
    assert (message.payload, message.properties) == (b"x", READ)
    await old.send(pubrel(9))
    assert await old.expect(Pubcomp) == Pubcomp(9)
    await watcher.expect_nothing()


@older
@statement(RESUMED, version=5)
async def test_q8_subscription_options_live_on(world: World, version: int) -> None:
    """They are the subscription's: an older version keeps them until it subscribes anew, which clears them."""
    peer = await world.connect("c", properties=KEEP)
    await peer.subscribe(("t", 1 | NO_LOCAL | RETAIN_AS_PUBLISHED))
    await peer.drop()
    old = await world.connect("c", version, clean=False)
    publisher = await world.connect("p")
    await publisher.publish("t", b"theirs", 1, retain=True)
    message = await old.expect_message()
    assert (message.payload, message.retain) == (b"theirs", True)
    await old.publish("t", b"mine", 1)
    await old.expect_nothing()
    assert await old.subscribe(("t", 1)) == [1]
    assert (await old.expect_message()).payload == b"theirs"  # as retained
    await publisher.publish("t", b"again", 1, retain=True)
    assert not (await old.expect_message()).retain


@older
@statement(RESUMED, version=5)
async def test_q8_clean_session_of_an_older_version_forgets_the_session_of_version_5(
    world: World, version: int
) -> None:
    peer = await world.connect("c", properties=KEEP)
    await peer.subscribe("t")
    await peer.drop()
    old = await world.connect("c", version, clean=True)
    assert not old.connack.session_present
    await (await world.connect("p")).publish("t", b"x", 1)
    await old.expect_nothing()
    await old.drop()
    assert world.session("c") is None
