"""MQTT 5.0: sessions: resumed or new, how long they live, and what they keep."""

import pytest
from conformance.client import World
from conformance.marks import statement
from conformance.packets import (
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    connect,
    disconnect,
    properties,
    puback,
    publish,
    pubrel,
)

KEEP = properties(session_expiry_interval=100)


@statement("MQTT-3.1.2-4", "MQTT-3.2.2-2", "MQTT-3.1.4-4", version=5)
async def test_clean_start_forgets_the_session(world: World) -> None:
    """Subscriptions, what waited, what was in flight, and what QoS 2 had received: nothing of it is left."""
    old = await world.connect("c", properties=KEEP)
    await old.subscribe("t")
    publisher = await world.connect("p")
    await publisher.publish("t", b"in flight", 1)
    await old.expect(Publish)
    await old.send(publish("x", b"never released", 2, 9))
    await old.expect(Pubrec)
    await old.drop()
    await publisher.publish("t", b"waits", 2)

    new = await world.connect("c", clean=True, properties=KEEP)
    assert not new.connack.session_present
    await publisher.publish("t", b"for nobody", 1)
    await new.expect_nothing()
    await new.send(pubrel(9))
    assert await new.expect(Pubcomp) == Pubcomp(9, 0x92)


@statement("MQTT-3.1.2-5", "MQTT-3.2.2-3", "MQTT-3.1.2-23", "MQTT-4.5.0-1", version=5)
async def test_without_clean_start_the_session_goes_on(world: World) -> None:
    old = await world.connect("c", properties=KEEP)
    await old.subscribe(("t", 1))
    await old.drop()
    publisher = await world.connect("p")
    await publisher.publish("t", b"at QoS 0")
    await publisher.publish("t", b"one", 1)
    await publisher.publish("t", b"two", 2)
    new = await world.connect("c", clean=False, properties=KEEP)
    assert new.connack.session_present
    found = await new.messages()
    # QoS 0 is not kept for who is not there (docs/conformance.md).
    assert [(one.payload, one.qos, one.dup) for one in found] == [(b"one", 1, False), (b"two", 1, False)]


@statement("MQTT-3.1.2-6", "MQTT-3.2.2-3", version=5)
async def test_without_clean_start_and_without_a_session_a_new_one_is_made(world: World) -> None:
    peer = await world.connect("c", clean=False, properties=KEEP)
    assert not peer.connack.session_present
    await peer.subscribe("t")
    await peer.drop()
    again = await world.connect("c", clean=False, properties=KEEP)
    assert again.connack.session_present


@statement("MQTT-4.1.0-2", "MQTT-3.1.2-23", version=5)
@pytest.mark.parametrize(("expiry", "away", "is_there"), [(0, 0, False), (10, 9.9, True), (10, 10.1, False)])
async def test_a_session_lives_as_long_as_it_was_asked_to(
    world: World, expiry: int, away: float, is_there: bool
) -> None:
    peer = await world.connect("c", properties=properties(session_expiry_interval=expiry))
    await peer.subscribe("t")
    await peer.disconnect()
    await (await world.connect("p")).publish("t", b"x", 1)
    await world.after(away)
    assert (world.session("c") is not None) == is_there
    again = await world.connect("c", clean=False)
    assert again.connack.session_present == is_there
    assert await again.payloads() == [b"x"] * is_there


@statement("MQTT-4.1.0-2", version=5)
async def test_a_session_without_an_interval_ends_with_its_connection(world: World) -> None:
    peer = await world.connect("c")
    await peer.drop()
    assert world.session("c") is None
    assert not (await world.connect("c", clean=False)).connack.session_present


@statement("MQTT-4.1.0-1", version=5)
async def test_a_session_does_not_end_while_it_is_connected(world: World) -> None:
    """The interval runs from the end of the connection, not from its beginning, and not on from an earlier one."""
    short = properties(session_expiry_interval=5)
    peer = await world.connect("c", properties=short)
    await peer.subscribe("t")
    await peer.drop()
    await world.after(4)
    peer = await world.connect("c", clean=False, properties=short)
    assert peer.connack.session_present
    await world.after(1_000)
    await (await world.connect("p")).publish("t", b"x")
    assert await peer.payloads() == [b"x"]
    await peer.drop()
    await world.after(4.9)
    assert (await world.connect("c", clean=False, properties=short)).connack.session_present


@statement("5-unnumbered-expiry-for-good", version=5)
async def test_a_session_for_good(world: World) -> None:
    peer = await world.connect("c", properties=properties(session_expiry_interval=0xFFFFFFFF))
    await peer.drop()
    await world.after(5_000_000_000)
    assert (await world.connect("c", clean=False)).connack.session_present


@statement("5-unnumbered-expiry-changed", version=5)
@pytest.mark.parametrize(
    ("at_connect", "at_disconnect", "away", "is_there"),
    [
        (100, 0, 0.0, False),
        (100, 10, 9.9, True),
        (100, 10, 10.1, False),
        (10, 100, 99.0, True),
        (0xFFFFFFFF, 1, 2, False),
    ],
)
async def test_the_interval_at_disconnect_counts(
    world: World, at_connect: int, at_disconnect: int, away: float, is_there: bool
) -> None:
    peer = await world.connect("c", properties=properties(session_expiry_interval=at_connect))
    await peer.disconnect(0, properties(session_expiry_interval=at_disconnect))
    await world.after(away)
    assert (world.session("c") is not None) == is_there


@statement("5-unnumbered-expiry-at-disconnect", version=5)
async def test_an_interval_of_0_may_be_repeated_at_disconnect(world: World) -> None:
    peer = await world.connect("c")
    await peer.send(disconnect(0, properties(session_expiry_interval=0)))
    await peer.expect_closed()


@statement("5-unnumbered-expiry-changed", version=5)
async def test_the_interval_of_each_connect_replaces_the_last(world: World) -> None:
    peer = await world.connect("c", properties=properties(session_expiry_interval=1_000))
    await peer.drop()
    again = await world.connect("c", clean=False)  # no interval: 0
    assert again.connack.session_present
    await again.drop()
    assert world.session("c") is None


@statement("MQTT-4.1.0-1", version=5)
async def test_a_takeover_keeps_the_state(world: World) -> None:
    """Also that of a session which would have ended with its connection: the new connection takes it over."""
    for keep in (KEEP, b""):
        old = await world.connect("c", properties=keep)
        await old.subscribe("t")
        publisher = await world.connect("p")
        await publisher.publish("t", b"in flight", 1)
        first = await old.expect(Publish)
        new = await world.connect("c", clean=False, properties=keep)
        await old.expect_end(0x8E)
        assert new.connack.session_present == bool(keep)
        if keep:
            again = await new.expect(Publish)
            assert again == Publish("t", b"in flight", 1, dup=True, packet_id=first.packet_id)
            await new.send(puback(again.packet_id))
        await new.disconnect()


@statement("MQTT-3.3.2-7", version=5)
async def test_topic_aliases_are_not_part_of_the_session(world: World) -> None:
    alias = properties(topic_alias=1)
    peer = await world.connect("c", properties=KEEP)
    await peer.send(publish("t", b"x", 1, 1, properties=alias))
    await peer.expect(Puback)
    await peer.drop()
    again = await world.connect("c", clean=False, properties=KEEP)
    assert again.connack.session_present
    await again.send(publish("", b"y", 1, 2, properties=alias))
    await again.expect_end(0x82)


@statement("MQTT-3.1.4-6", "MQTT-3.14.4-1", version=5)
async def test_what_comes_behind_disconnect_is_not_looked_at(world: World) -> None:
    everything = await world.subscriber("#", client_id="everything")
    peer = await world.connect("c")
    await peer.send(publish("t", b"before"), disconnect(), publish("t", b"behind"), connect("other"), b"\xff\xff")
    await peer.expect_closed()
    assert await everything.payloads() == [b"before"]
    assert world.session("other") is None
