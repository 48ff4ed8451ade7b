"""A handful of statements over real sockets, on both carriers, and in memory."""

from conformance.client import World
from conformance.marks import over_sockets, statement
from conformance.packets import Will, connect, publish

VERSIONS = (3, 4, 5)


@over_sockets
@statement("MQTT-3.1.4-5", "MQTT-3.12.4-1", "MQTT-3.3.4-1", version=5)
@statement("MQTT-3.1.4-4", "MQTT-3.12.4-1", "MQTT-3.3.4-1", version=4)
async def test_messages_at_every_qos(world: World) -> None:
    for version in VERSIONS:
        subscriber = await world.subscriber("t/#", version=version, client_id=f"s{version}")
        publisher = await world.connect(f"p{version}", version)
        for qos in (0, 1, 2):
            await publisher.publish("t/1", b"x", qos)
            message = await subscriber.expect_message()
            assert (message.topic, message.payload, message.qos) == ("t/1", b"x", qos)
        await subscriber.expect_alive()
        await publisher.expect_alive()
        await subscriber.disconnect()


@over_sockets
@statement("MQTT-4.13.1-1", "MQTT-3.3.2-2", version=5)
@statement("MQTT-4.8.0-1", "MQTT-3.3.2-2", version=4)
async def test_a_wildcard_in_a_topic_name_ends_the_connection(world: World) -> None:
    for version in VERSIONS:
        peer = await world.connect("c", version)
        await peer.send(publish("t/#", b"x", version=version))
        await peer.expect_end(0x90)


@over_sockets
@statement("MQTT-3.1.0-1", version=5)
@statement("MQTT-3.1.0-1", version=4)
async def test_nothing_comes_before_connect(world: World) -> None:
    peer = await world.open()
    await peer.send(b"\xc0\x00", connect())
    await peer.expect_closed()


@over_sockets
@statement("MQTT-3.1.2-8", version=5)
@statement("MQTT-3.1.2-8", version=4)
async def test_a_will_is_published_when_the_connection_breaks(world: World) -> None:
    for version in VERSIONS:
        watcher = await world.subscriber("w", client_id=f"watcher-{version}")
        dying = await world.connect(f"dying-{version}", version, will=Will("w", b"gone", 1))
        await dying.drop()
        message = await watcher.expect_message()
        assert (message.payload, message.qos) == (b"gone", 1)
        await watcher.disconnect()
