"""MQTT 3.1.1 and 3.1: the Will: published on every abnormal end, never after DISCONNECT, once, as it was flagged."""

from collections.abc import Awaitable, Callable

import pytest
from conformance.client import Peer, World
from conformance.marks import limits, over_sockets, statement
from conformance.packets import MQTT31, MQTT311, Publish, Will, connect, disconnect, publish, subscribe

VERSIONS = (MQTT31, MQTT311)
both = pytest.mark.parametrize("version", VERSIONS)


async def lost(world: World, peer: Peer) -> None:
    await peer.drop()


async def lost_within_a_packet(world: World, peer: Peer) -> None:
    await peer.send(b"\x30\x7f\0\1t")
    await peer.drop()


async def silent(world: World, peer: Peer) -> None:
    await world.after(16)
    await peer.expect_closed()


async def malformed(world: World, peer: Peer) -> None:
    await peer.send(b"\x36\x05\0\1t\0\1")
    await peer.expect_closed()


async def second_connect(world: World, peer: Peer) -> None:
    await peer.send(connect("c", peer.version))
    await peer.expect_closed()


async def broken_disconnect(world: World, peer: Peer) -> None:
    await peer.send(b"\xe1\0")
    await peer.expect_closed()


async def too_large(world: World, peer: Peer) -> None:
    await peer.send(publish("t", b"x" * 1_000, version=peer.version))
    await peer.expect_closed()


async def taken_over(world: World, peer: Peer) -> None:
    await world.connect("c", peer.version)
    await peer.expect_closed()


async def half_a_disconnect(world: World, peer: Peer) -> None:
    await peer.send(b"\xe0")
    await peer.drop()


ENDS = (
    lost,
    lost_within_a_packet,
    silent,
    malformed,
    second_connect,
    broken_disconnect,
    too_large,
    taken_over,
    half_a_disconnect,
)


@pytest.mark.parametrize("end", ENDS)
@both
@limits(packet_max_bytes=1_000)
@statement("MQTT-3.1.2-8", "MQTT-3.1.2-10", version=4)
async def test_every_abnormal_end_publishes_the_will_once(
    world: World, version: int, end: Callable[[World, Peer], Awaitable[None]]
) -> None:
    watcher = await world.subscriber("#", client_id="watcher", version=version)
    for clean in (True, False):
        peer = await world.connect("c", version, clean=clean, keep_alive=10, will=Will("w", b"gone", 1))
        await watcher.expect_nothing()
        await end(world, peer)
        message = await watcher.expect_message()
        assert (message.topic, message.payload, message.qos) == ("w", b"gone", 1)
        await world.after(100_000)
        await watcher.expect_nothing()


@over_sockets
@statement("MQTT-3.14.4-3", "MQTT-3.1.2-10", version=4)
async def test_disconnect_discards_the_will(world: World) -> None:
    for version in VERSIONS:
        watcher = await world.subscriber("w", client_id="watcher", version=version)
        for clean in (True, False):
            peer = await world.connect("c", version, clean=clean, will=Will("w", b"gone", 1))
            await peer.disconnect()
            back = await world.connect("c", version, clean=clean)
            await back.drop()
            await watcher.expect_nothing()
        await watcher.disconnect()


@statement("MQTT-3.1.2-12", "MQTT-3.1.2-10", version=4)
async def test_without_a_will_nothing_is_published(world: World) -> None:
    """Also where the same session had one before."""
    watcher = await world.subscriber("#", client_id="watcher", version=4)
    for clean in (True, False):
        peer = await world.connect("c", 4, clean=clean, will=Will("w", b"the first"))
        await peer.drop()
        assert await watcher.expect(Publish) == Publish("w", b"the first")
        peer = await world.connect("c", 4, clean=clean)
        await peer.drop()
        await watcher.expect_nothing()


@statement("MQTT-3.1.2-8", version=4)
async def test_each_connection_has_the_will_that_it_said(world: World) -> None:
    watcher = await world.subscriber("#", client_id="watcher", version=4)
    peer = await world.connect("c", 4, clean=False, will=Will("first", b"1"))
    new = await world.connect("c", 4, clean=False, will=Will("second", b"2"))
    await peer.expect_closed()
    assert await watcher.expect(Publish) == Publish("first", b"1")
    await watcher.expect_nothing()
    await new.drop()
    assert await watcher.expect(Publish) == Publish("second", b"2")
    await watcher.expect_nothing()


@pytest.mark.parametrize("qos", [0, 1, 2])
@both
@statement("MQTT-3.1.2-9", "MQTT-3.1.2-16", "MQTT-3.1.2-17", version=4)
async def test_will_qos_and_will_retain_are_used(world: World, version: int, qos: int) -> None:
    watcher = await world.subscriber("w/+", client_id="watcher", version=version)
    for retain in (False, True):
        peer = await world.connect("c", version, will=Will(f"w/{retain}", b"gone", qos, retain))
        await peer.drop()
        message = await watcher.expect_message()
        assert (message.payload, message.qos, message.retain) == (b"gone", qos, False)
    late = await world.subscriber("w/+", client_id="late", version=version)
    message = await late.expect_message()
    assert (message.topic, message.payload, message.qos, message.retain) == ("w/True", b"gone", qos, True)
    await late.expect_nothing()


@statement("MQTT-3.1.2-17", "MQTT-3.3.1-10", version=4)
async def test_an_empty_retained_will_removes_the_retained_message(world: World) -> None:
    publisher = await world.connect("p", 4)
    await publisher.publish("w", b"online", 1, retain=True)
    peer = await world.connect("c", 4, will=Will("w", b"", 1, True))
    await peer.drop()
    late = await world.subscriber("w", client_id="late", version=4)
    await late.expect_nothing()


@statement("MQTT-3.1.2-8", "MQTT-4.5.0-1", version=4)
async def test_a_will_waits_for_sessions_without_connection_too(world: World) -> None:
    """Its own client's session among them."""
    peer = await world.connect("c", 4, clean=False, will=Will("w", b"gone", 1))
    await peer.subscribe(("w", 1))
    other = await world.connect("d", 4, clean=False)
    await other.subscribe(("w", 1))
    await other.drop()
    await peer.drop()
    for client_id in ("c", "d"):
        back = await world.connect(client_id, 4, clean=False)
        assert (await back.expect_message()).payload == b"gone"
        await back.expect_nothing()


@statement("MQTT-3.14.4-1", "MQTT-3.14.4-2", "MQTT-3.14.4-3", version=4)
async def test_nothing_behind_a_disconnect_is_looked_at(world: World) -> None:
    """The broker closes; broken packets behind DISCONNECT bring no Will back."""
    watcher = await world.subscriber("#", client_id="watcher", version=4)
    rows = (
        publish("t", b"must not arrive", version=4),
        publish("t", b"must not arrive", 1, version=4),
        subscribe("t", version=4),
        b"\xc0\0",
        b"\x36\x05\0\1t\0\1",
        disconnect(),
        b"\xe1\0",
        b"\xff\xff\xff\xff\xff",
        connect("d", 4),
    )
    for behind in rows:
        peer = await world.connect("c", 4, will=Will("w", b"gone"))
        await peer.send(disconnect(), behind)
        await peer.expect_closed()
        await watcher.expect_nothing()
    assert world.session("c") is None
    assert world.session("d") is None


@statement("MQTT-3.14.4-1", version=4)
async def test_what_was_said_before_disconnect_counts(world: World) -> None:
    subscriber = await world.subscriber("t", version=4)
    peer = await world.connect("c", 4)
    await peer.send(publish("t", b"last words", version=4), disconnect())
    assert await subscriber.expect(Publish) == Publish("t", b"last words")
    await peer.expect_closed()
