"""MQTT 3.1.1 and 3.1: Keep Alive: exactly one and a half times, what counts as a sign of life, PINGREQ."""

import pytest
from conformance.client import World
from conformance.marks import over_sockets, statement
from conformance.packets import (
    MQTT31,
    MQTT311,
    PINGREQ,
    Publish,
    Will,
    connect,
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


@over_sockets
@statement("MQTT-3.12.4-1", version=4)
async def test_pingreq_is_answered_with_pingresp(world: World) -> None:
    for version in VERSIONS:
        peer = await world.connect("c", version)
        await peer.send(PINGREQ)
        await peer.expect_bytes(b"\xd0\0")
        await peer.send(PINGREQ * 3)
        await peer.expect_bytes(b"\xd0\0" * 3)
        await peer.send_bytewise(PINGREQ)
        await peer.expect_bytes(b"\xd0\0")
        await peer.disconnect()


@pytest.mark.parametrize("keep_alive", [1, 2, 10, 7_200, 65_535])
@both
@statement("MQTT-3.1.2-24", "MQTT-3.1.2-8", version=4)
async def test_silence_ends_the_connection_at_one_and_a_half_times(world: World, version: int, keep_alive: int) -> None:
    watcher = await world.subscriber("w", client_id="watcher", version=version)
    peer = await world.connect("c", version, keep_alive=keep_alive, will=Will("w", b"gone"))
    await world.after(1.5 * keep_alive - 0.01)
    await peer.expect_nothing()
    await watcher.expect_nothing()
    await world.after(0.02)
    await peer.expect_closed()
    assert await watcher.expect(Publish) == Publish("w", b"gone")


@statement("MQTT-3.1.2-24", version=4)
async def test_a_keep_alive_of_0_is_none(world: World) -> None:
    peer = await world.connect("c", 4, keep_alive=0)
    await world.after(1_000_000)
    await peer.expect_alive()


SIGNS = {
    "PINGREQ": PINGREQ,
    "PUBLISH": publish("t", b"x", version=4),
    "PUBLISH at QoS 1": publish("t", b"x", 1, version=4),
    "PUBLISH at QoS 2": publish("t", b"x", 2, version=4),
    "PUBACK": puback(1),
    "PUBREC": pubrec(1),
    "PUBREL": pubrel(1),
    "PUBCOMP": pubcomp(1),
    "SUBSCRIBE": subscribe("t/x", version=4),
    "UNSUBSCRIBE": unsubscribe("t/x", version=4),
}


@pytest.mark.parametrize("data", SIGNS.values(), ids=SIGNS.keys())
@statement("MQTT-3.1.2-24", version=4)
async def test_every_packet_is_a_sign_of_life(world: World, data: bytes) -> None:
    peer = await world.connect("c", 4, keep_alive=10)
    for _ in range(5):
        await world.after(14.9)
        await peer.send(data)
        await peer.received()
    await world.after(14.9)
    await peer.expect_nothing()
    await world.after(0.2)
    await peer.expect_closed()


@statement("MQTT-3.1.2-24", version=4)
async def test_a_part_of_a_packet_is_no_sign_of_life(world: World) -> None:
    peer = await world.connect("c", 4, keep_alive=10)
    for byte in publish("t", b"x" * 100, version=4)[:15]:
        await world.after(0.99)
        await peer.send(bytes([byte]))
    await world.after(0.1)
    await peer.expect_nothing()
    await world.after(0.1)
    await peer.expect_closed()


@statement("MQTT-3.1.2-24", version=4)
async def test_what_the_client_receives_is_no_sign_of_life(world: World) -> None:
    peer = await world.connect("c", 4, keep_alive=10)
    await peer.subscribe(("t", 1))
    publisher = await world.connect("p", 4)
    for _ in range(2):
        await world.after(7)
        await publisher.publish("t", b"x", 1)
        await peer.expect(Publish)
    await world.after(0.9)
    await peer.expect_nothing()
    await world.after(0.2)
    await peer.expect_closed()


@statement("MQTT-3.1.2-24", "MQTT-3.1.2-4", version=4)
async def test_the_session_stays_and_the_next_connection_has_its_own_keep_alive(world: World) -> None:
    peer = await world.connect("c", 4, clean=False, keep_alive=10)
    await peer.subscribe(("t", 1))
    await world.after(15.1)
    await peer.expect_closed()
    back = await world.open(4)
    await back.send(connect("c", 4, clean=False, keep_alive=100))
    await back.expect_bytes(b"\x20\x02\x01\x00")
    await world.after(149.9)
    await back.expect_nothing()
    await world.after(0.2)
    await back.expect_closed()
