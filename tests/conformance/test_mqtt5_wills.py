"""MQTT 5.0: the Will: when it is published, when it is not, and how it looks."""

import pytest
from conformance.client import Peer, World
from conformance.marks import statement
from conformance.packets import Will, disconnect, properties, publish

KEEP = properties(session_expiry_interval=100)


async def watcher(world: World) -> Peer:
    """Somebody who sees every Will of these tests."""
    return await world.subscriber(("w/#", 2), client_id="watcher")


def will(delay: int = 0, payload: bytes = b"gone") -> Will:
    return Will("w/c", payload, properties=properties(will_delay_interval=delay) if delay else b"")


@statement("MQTT-3.1.2-7", "MQTT-3.1.2-8", "MQTT-3.1.2-10", version=5)
async def test_a_lost_connection_publishes_the_will_once(world: World) -> None:
    seen = await watcher(world)
    peer = await world.connect("c", will=will(), properties=KEEP)
    await seen.expect_nothing()
    await peer.drop()
    assert await seen.payloads() == [b"gone"]
    again = await world.connect("c", clean=False, properties=KEEP)  # without a Will
    await again.drop()
    await world.after(1_000)
    await seen.expect_nothing()


@statement("MQTT-3.14.4-3", "MQTT-3.1.2-10", version=5)
@pytest.mark.parametrize("delay", [0, 10])
@pytest.mark.parametrize("keep", [b"", KEEP], ids=["no session", "session"])
async def test_a_normal_disconnection_takes_the_will_back(world: World, delay: int, keep: bytes) -> None:
    seen = await watcher(world)
    for farewell in (disconnect(), disconnect(0), disconnect(0, b"")):
        peer = await world.connect("c", will=will(delay), properties=keep)
        await peer.send(farewell)
        await peer.expect_closed()
        await world.after(1_000)
        await seen.expect_nothing()


@statement("5-unnumbered-will-kept", "MQTT-3.1.2-8", version=5)
async def test_every_other_disconnect_publishes_the_will(world: World) -> None:
    seen = await watcher(world)
    for code in (0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99):
        peer = await world.connect("c", will=will())
        await peer.send(disconnect(code))
        await peer.expect_closed()
        assert await seen.payloads() == [b"gone"]


@statement("MQTT-3.1.2-8", version=5)
@pytest.mark.parametrize(
    ("delay", "expiry", "published_after"),
    [
        (10, 100, 10),  # the delay passes first
        (100, 10, 10),  # the session ends first
        (10, 10, 10),
        (10, 0, 0),  # the session ends with the connection
        (0, 100, 0),
        (10, 0xFFFFFFFF, 10),
        (0xFFFFFFFF, 10, 10),
    ],
)
async def test_the_will_waits_for_its_delay_or_the_end_of_the_session(
    world: World, delay: int, expiry: int, published_after: float
) -> None:
    seen = await watcher(world)
    peer = await world.connect("c", will=will(delay), properties=properties(session_expiry_interval=expiry))
    await peer.drop()
    if published_after:
        await world.after(published_after - 0.1)
        await seen.expect_nothing()
        await world.after(0.2)
    assert await seen.payloads() == [b"gone"]
    await world.after(1_000)
    await seen.expect_nothing()


@statement("MQTT-3.1.2-8", version=5)
async def test_the_delay_goes_by_the_expiry_that_disconnect_has_changed(world: World) -> None:
    seen = await watcher(world)
    peer = await world.connect("c", will=will(50), properties=KEEP)
    await peer.send(disconnect(0x04, properties(session_expiry_interval=5)))
    await peer.expect_closed()
    await world.after(4.9)
    await seen.expect_nothing()
    await world.after(0.2)
    assert await seen.payloads() == [b"gone"]


@statement("MQTT-3.1.3-9", "MQTT-3.1.2-10", version=5)
async def test_who_comes_back_before_the_delay_has_passed_leaves_no_will(world: World) -> None:
    seen = await watcher(world)
    peer = await world.connect("c", will=will(10), properties=KEEP)
    await peer.drop()
    await world.after(9.9)
    again = await world.connect("c", clean=False, properties=KEEP)
    assert again.connack.session_present
    await world.after(1_000)
    await seen.expect_nothing()
    await again.disconnect(0x04)  # the Will of the earlier connection is gone for good
    await world.after(1_000)
    await seen.expect_nothing()


@statement("MQTT-3.1.2-8", version=5)
async def test_who_comes_back_with_clean_start_ends_the_session_and_so_publishes_the_will(world: World) -> None:
    """3.1.2.5: the session ends, which is one of the two things that the Will waits for."""
    seen = await watcher(world)
    peer = await world.connect("c", will=will(10), properties=KEEP)
    await peer.drop()
    await world.after(1)
    await seen.expect_nothing()
    await world.connect("c", clean=True, properties=KEEP)
    assert await seen.payloads() == [b"gone"]
    await world.after(1_000)
    await seen.expect_nothing()


@statement("MQTT-3.1.2-8", "MQTT-3.1.4-3", "MQTT-3.1.3-9", version=5)
@pytest.mark.parametrize(
    ("delay", "keep", "clean", "published"),
    [
        (0, KEEP, False, True),  # no delay: 3.1.4-3, "if the Will Delay Interval is 0 the Will is sent"
        (0, KEEP, True, True),
        (0, b"", False, True),
        (0, b"", True, True),
        (10, KEEP, False, False),  # the session goes on before the delay has passed
        (10, KEEP, True, True),  # the session ends
        (10, b"", False, True),  # its session ends with the connection
        (10, b"", True, True),
    ],
)
async def test_the_will_at_a_takeover(world: World, delay: int, keep: bytes, clean: bool, published: bool) -> None:
    seen = await watcher(world)
    old = await world.connect("c", will=will(delay, b"old"), properties=keep)
    new = await world.connect("c", will=will(0, b"new"), clean=clean, properties=keep)
    await old.expect_end(0x8E)
    assert await seen.payloads() == [b"old"] * published
    await world.after(1_000)
    await seen.expect_nothing()
    await new.drop()
    assert await seen.payloads() == [b"new"]


@statement("MQTT-3.1.2-9", "MQTT-3.1.2-14", "MQTT-3.1.2-15", version=5)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
async def test_the_will_has_its_qos_and_is_retained_or_not(world: World, qos: int, retain: bool) -> None:
    seen = await watcher(world)
    peer = await world.connect("c", will=Will("w/c", b"gone", qos, retain))
    await peer.drop()
    message = await seen.expect_message()
    assert (message.topic, message.payload, message.qos, message.retain) == ("w/c", b"gone", qos, False)
    late = await world.subscriber("w/c", client_id="late")
    found = await late.messages()
    assert [(one.payload, one.qos, one.retain) for one in found] == [(b"gone", qos, True)] * retain


@statement("MQTT-3.1.2-15", "MQTT-3.3.1-6", version=5)
async def test_a_retained_will_of_no_payload_removes_what_was_retained(world: World) -> None:
    publisher = await world.connect("p")
    await publisher.publish("w/c", b"old", retain=True)
    peer = await world.connect("c", will=Will("w/c", b"", 0, retain=True))
    await peer.drop()
    late = await world.subscriber("w/c", client_id="late")
    await late.expect_nothing()


@statement(
    "MQTT-3.1.3-10", "MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-20", version=5
)
async def test_the_properties_of_the_will_are_forwarded(world: World) -> None:
    """All but the delay, and User Properties in their order."""
    seen = await watcher(world)
    pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", "")]
    written = properties(
        user_property=pairs[:2],
        will_delay_interval=0,
        payload_format_indicator=1,
        content_type="text",
        response_topic="answers",
        correlation_data=b"\0\xff",
    ) + properties(user_property=pairs[2:])
    peer = await world.connect("c", will=Will("w/c", b"gone", properties=written))
    await peer.drop()
    assert (await seen.expect_message()).properties == {
        "payload_format_indicator": 1,
        "content_type": "text",
        "response_topic": "answers",
        "correlation_data": b"\0\xff",
        "user_property": pairs,
    }


@statement("5-unnumbered-will-expiry", "MQTT-3.3.2-6", version=5)
async def test_the_will_expires_counted_from_its_publication(world: World) -> None:
    seen = await watcher(world)
    keeper = await world.connect("keeper", properties=KEEP)
    await keeper.subscribe("w/#")
    await keeper.drop()
    written = properties(will_delay_interval=20, message_expiry_interval=10)
    peer = await world.connect("c", will=Will("w/c", b"gone", 1, properties=written), properties=KEEP)
    await peer.drop()
    await world.after(20.1)
    assert (await seen.expect_message()).properties == {"message_expiry_interval": 10}
    await world.after(4)
    again = await world.connect("keeper", clean=False, properties=KEEP)
    assert (await again.expect_message()).properties == {"message_expiry_interval": 6}


@statement("MQTT-3.1.2-8", version=5)
async def test_a_broken_rule_publishes_the_will(world: World) -> None:
    seen = await watcher(world)
    peer = await world.connect("c", will=will())
    await peer.send(publish("+"))
    await peer.expect_end(0x90)
    assert await seen.payloads() == [b"gone"]


@statement("MQTT-3.1.2-8", version=5)
async def test_the_will_reaches_its_own_session(world: World) -> None:
    """The session outlives the connection: what it subscribed to waits for it, its own Will among it."""
    peer = await world.connect("c", will=Will("w/c", b"gone", 1), properties=KEEP)
    await peer.subscribe("w/#")
    await peer.drop()
    again = await world.connect("c", clean=False, properties=KEEP)
    assert await again.payloads() == [b"gone"]
