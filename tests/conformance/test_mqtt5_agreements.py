"""MQTT 5.0: what the broker proposes in CONNACK beside its limits, and how it says goodbye."""

import pytest
from conformance.client import World
from conformance.marks import settings, statement
from conformance.packets import PINGREQ, Will, connect, disconnect, properties, publish


@statement("MQTT-3.2.2-21", "MQTT-3.1.2-22", version=5)
@settings(keep_alive_max_s=10)
@pytest.mark.parametrize("asked_for", [0, 11, 65_535])
async def test_the_servers_keep_alive_counts(world: World, asked_for: int) -> None:
    peer = await world.connect("c", keep_alive=asked_for)
    assert peer.connack.properties["server_keep_alive"] == 10
    await world.after(14.9)
    await peer.send(PINGREQ)
    await world.after(14.9)
    await peer.received()
    await peer.expect_nothing()
    await world.after(0.2)
    await peer.expect_end(0x8D)


@statement("MQTT-3.2.2-22", version=5)
@settings(keep_alive_max_s=10)
async def test_a_keep_alive_within_the_maximum_is_the_clients(world: World) -> None:
    peer = await world.connect("c", keep_alive=4)
    assert "server_keep_alive" not in peer.connack.properties
    await world.after(5.9)
    await peer.expect_nothing()
    await world.after(0.2)
    await peer.expect_end(0x8D)


@statement("MQTT-3.1.2-28", version=5)
async def test_response_information_comes_to_who_asks(world: World) -> None:
    peer = await world.connect("c", properties=properties(request_response_information=1))
    assert peer.connack.properties["response_information"] == "response/c/"
    other = await world.connect("d", properties=properties(request_response_information=0))
    assert "response_information" not in other.connack.properties


@statement("MQTT-3.1.2-28", version=5)
@settings(response_information=False)
async def test_a_server_may_have_no_response_information(world: World) -> None:
    peer = await world.connect("c", properties=properties(request_response_information=1))
    assert "response_information" not in peer.connack.properties


@statement("5-unnumbered-shutting-down", "MQTT-3.14.2-1", "MQTT-3.14.2-2", "MQTT-3.14.4-1", "MQTT-3.14.4-2", version=5)
async def test_a_broker_that_stops_says_so(world: World) -> None:
    peers = [await world.connect(f"c{version}", version) for version in (5, 4, 3)]
    waiting = await world.open()
    world.broker.stop()
    for peer in peers:
        await peer.expect_end(0x8B)
    await waiting.expect_closed()


@statement("5-unnumbered-server-reference", "MQTT-3.14.2-1", version=5)
async def test_a_broker_that_stops_may_name_another(world: World) -> None:
    peer = await world.connect("c")
    older = await world.connect("older", 4)
    world.broker.stop("elsewhere:1883")
    ending = await peer.expect_end(0x9C, 0x9D)
    assert ending is not None
    assert ending.properties["server_reference"] == "elsewhere:1883"
    await older.expect_end()


@statement("MQTT-3.14.2-2", "MQTT-3.14.4-1", "MQTT-3.14.4-2", version=5)
async def test_a_farewell_of_the_brokers_is_the_last_that_it_says(world: World) -> None:
    """No Session Expiry Interval, no acknowledgement of what was sent behind the fault, and the end."""
    peer = await world.connect("c", properties=properties(session_expiry_interval=100))
    await peer.send(publish("a", b"", 1, 1), publish("+", b"", 1, 2), publish("b", b"", 1, 3), PINGREQ)
    await peer.expect_bytes(b"\x40\x03\x00\x01\x10")
    ending = await peer.expect_end(0x90)
    assert ending is not None
    assert set(ending.properties) <= {"reason_string"}


@statement("MQTT-3.14.4-1", "MQTT-3.14.4-3", "MQTT-3.14.2-1", version=5)
async def test_the_short_forms_of_disconnect(world: World) -> None:
    """Nothing, a code alone, and a code with properties."""
    watcher = await world.subscriber("w", client_id="watcher")
    everything = properties(reason_string="bye", user_property=[("n", "v")], server_reference="elsewhere")
    for farewell in (disconnect(), disconnect(0), disconnect(0, b""), disconnect(0, everything)):
        peer = await world.connect("c", will=Will("w", b"gone"))
        await peer.send(farewell, publish("w", b"must not arrive"))
        await peer.expect_closed()
    await watcher.expect_nothing()


@statement("MQTT-3.14.0-1", version=5)
async def test_before_connack_the_broker_sends_no_disconnect(world: World) -> None:
    """Neither to who says nothing, nor to who says something else, nor to whom it refuses."""
    silent = await world.open()
    broken = await world.open()
    await broken.send(b"\xe0\x00")
    await broken.expect_closed()
    refused = await world.open()
    await refused.send(connect(properties=properties(receive_maximum=0)))
    await refused.expect_refusal(0x82)
    await world.after(100)
    await silent.expect_closed()


@statement("MQTT-4.2-1", version=5)
async def test_packets_arrive_whole_however_the_bytes_come(world: World) -> None:
    """All transports are streams of bytes: their pieces mean nothing."""
    data = b"".join(publish("t", b"%d" % number, number % 3, 1 + number) for number in range(60))
    for step in (1, 2, 3, 7, 50, len(data)):
        subscriber = await world.subscriber("t")
        publisher = await world.connect("p")
        for at in range(0, len(data), step):
            await publisher.send(data[at : at + step])
            await world.settle()
        await publisher.send(*(b"\x62\x02" + (1 + number).to_bytes(2, "big") for number in range(2, 60, 3)))
        await publisher.received()
        assert sorted(int(one) for one in await subscriber.payloads()) == list(range(60))
