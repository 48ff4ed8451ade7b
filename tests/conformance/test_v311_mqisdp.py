"""MQTT 3.1 ("MQIsdp", level 3) where it differs from 3.1.1; what they share is tested for both in the other files."""

import pytest
from conformance.client import World
from conformance.marks import over_sockets
from conformance.packets import MQTT31, Publish, Will, connect, packet, puback, publish, pubrel, string, u16

C = string("c")


def raw(flags: int, *payload: bytes) -> bytes:
    """A CONNECT of 3.1 with these flags, and nothing made to fit them."""
    return packet(0x10, string("MQIsdp"), bytes([3, flags]), u16(0), *payload)


@over_sockets
async def test_the_flows_of_3_1_byte_by_byte(world: World) -> None:
    peer = await world.open(MQTT31)
    await peer.send(b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01c")
    await peer.expect_bytes(b"\x20\x02\0\0")
    await peer.send(b"\x82\x06\0\x01\0\x01t\x02")
    await peer.expect_bytes(b"\x90\x03\0\x01\x02")
    await peer.send(b"\x34\x06\0\x01t\0\x07x")
    await peer.expect_bytes(b"\x50\x02\0\x07")
    await peer.send(b"\x62\x02\0\x07")
    await peer.expect_bytes(b"\x34\x06\0\x01t\0\x01x", b"\x70\x02\0\x07")
    await peer.send(b"\x50\x02\0\x01")
    await peer.expect_bytes(b"\x62\x02\0\x01")
    await peer.send(b"\x70\x02\0\x01", b"\x32\x06\0\x01t\0\x08y")
    await peer.expect_bytes(b"\x32\x06\0\x01t\0\x02y", b"\x40\x02\0\x08")
    await peer.send(b"\x40\x02\0\x02", b"\xa2\x05\0\x02\0\x01t")
    await peer.expect_bytes(b"\xb0\x02\0\x02")
    await peer.send(b"\xc0\0")
    await peer.expect_bytes(b"\xd0\0")
    await peer.send(b"\xe0\0")
    await peer.expect_closed()


async def test_the_first_byte_of_connack_is_reserved(world: World) -> None:
    """Where 3.1.1 has Session Present there is a 0, also when a session was found."""
    for _ in range(2):
        peer = await world.open(MQTT31)
        await peer.send(connect("c", MQTT31, clean=False))
        await peer.expect_bytes(b"\x20\x02\0\0")
        await peer.drop()


@pytest.mark.parametrize("clean", [True, False])
async def test_an_empty_client_identifier_is_refused_with_return_code_2(world: World, clean: bool) -> None:
    peer = await world.open(MQTT31)
    await peer.send(connect("", MQTT31, clean=clean), publish("t", b"x", version=MQTT31))
    await peer.expect_bytes(b"\x20\x02\0\x02")
    await peer.expect_closed()
    assert len(world.broker.state.sessions) == 0


async def test_client_identifiers_above_23_characters_are_accepted(world: World) -> None:
    """3.1 would have them refused; clients that use longer ones are in the field, and brokers take them."""
    for size in (1, 23, 24, 100, 1_000):
        peer = await world.connect("x" * size, MQTT31)
        await peer.expect_alive()


CREDENTIALS = {
    "user name flag, no user name": raw(0x82, C),
    "both flags, neither field": raw(0xC2, C),
    "both flags, no password": raw(0xC2, C, string("u")),
}


@pytest.mark.parametrize("data", CREDENTIALS.values(), ids=CREDENTIALS.keys())
async def test_credentials_that_the_flags_promise_may_be_missing(world: World, data: bytes) -> None:
    """3.1: the remaining length takes precedence over the flags, and the connection goes on."""
    peer = await world.open(MQTT31)
    await peer.send(data)
    await peer.expect_bytes(b"\x20\x02\0\0")
    await peer.expect_alive()


@pytest.mark.parametrize("flags", [0x0A, 0x12, 0x1A, 0x22, 0x3A])
async def test_will_qos_and_will_retain_mean_nothing_without_a_will(world: World, flags: int) -> None:
    """3.1: without the Will flag their values are disregarded; only 3.1.1 made them 0."""
    watcher = await world.subscriber("#", client_id="watcher", version=MQTT31)
    peer = await world.open(MQTT31)
    await peer.send(raw(flags, C))
    await peer.expect_bytes(b"\x20\x02\0\0")
    await peer.drop()
    await watcher.expect_nothing()


BAD_CONNECTS = {
    "user name cut short": raw(0x82, C, b"\0\5no"),
    "password cut short": raw(0xC2, C, string("u"), b"\0\5no"),
    "password without user name flag": raw(0x42, C, string("p")),
    "a field too many": raw(0x02, C, string("u")),
    "will flag, no will": raw(0x06, C),
    "will flag, no message": raw(0x06, C, string("w")),
    "will QoS 3": raw(0x1E, C, string("w"), string("m")),
    "no client identifier": raw(0x02),
    "client identifier ill-formed": raw(0x02, string(b"\xff")),
    "nothing behind the name": packet(0x10, string("MQIsdp")),
}


@pytest.mark.parametrize("data", BAD_CONNECTS.values(), ids=BAD_CONNECTS.keys())
async def test_a_broken_connect_is_closed_without_a_word(world: World, data: bytes) -> None:
    for bytewise in (False, True):
        peer = await world.open(MQTT31)
        await (peer.send_bytewise if bytewise else peer.send)(data)
        await peer.expect_closed()
    assert world.session("c") is None


RESENT = {
    "PUBREL": (b"\x6a\x02\0\x07", b"\x70\x02\0\x07"),
    "SUBSCRIBE": (b"\x8a\x06\0\x07\0\x01t\x01", b"\x90\x03\0\x07\x01"),
    "UNSUBSCRIBE": (b"\xaa\x05\0\x07\0\x01t", b"\xb0\x02\0\x07"),
}


@pytest.mark.parametrize(("data", "answer"), RESENT.values(), ids=RESENT.keys())
async def test_pubrel_subscribe_and_unsubscribe_may_be_sent_again_with_dup(
    world: World, data: bytes, answer: bytes
) -> None:
    """3.1 has DUP for these three as well; only 3.1.1 made it a reserved flag."""
    peer = await world.connect("c", MQTT31)
    await peer.send(data)
    await peer.expect_bytes(answer)
    await peer.expect_alive()


@pytest.mark.parametrize("bad", ["a#", "#/a", "+a", ""])
async def test_a_filter_that_is_none_ends_the_connection(world: World, bad: str) -> None:
    """3.1 has no code for it in SUBACK: to grant it would promise messages that never come."""
    watcher = await world.subscriber("w", client_id="watcher", version=MQTT31)
    peer = await world.connect("c", MQTT31, will=Will("w", b"gone"))
    await peer.send(packet(0x82, u16(1), string(bad), b"\x01"))
    await peer.expect_closed()
    assert await watcher.expect(Publish) == Publish("w", b"gone")


async def test_what_a_3_1_client_left_is_sent_again_when_it_is_back(world: World) -> None:
    """DUP on PUBLISH alone, as 3.1.1 has it: a client of either version takes it."""
    peer = await world.connect("c", MQTT31, clean=False)
    await peer.subscribe("t")
    publisher = await world.connect("p", MQTT31)
    await publisher.publish("t", b"x", 1)
    await publisher.publish("t", b"y", 2)
    await peer.expect_bytes(publish("t", b"x", 1, 1, version=3), publish("t", b"y", 2, 2, version=3))
    await peer.send(b"\x50\x02\0\x02")
    await peer.expect_bytes(pubrel(2))
    await peer.drop()
    back = await world.connect("c", MQTT31, clean=False)
    await back.expect_bytes(publish("t", b"x", 1, 1, version=3, dup=True), pubrel(2))
    await back.send(puback(1), b"\x70\x02\0\x02")
    await back.expect_alive()


async def test_a_message_passes_between_3_1_and_3_1_1(world: World) -> None:
    for version, other in ((3, 4), (4, 3)):
        subscriber = await world.subscriber("t", version=version, client_id="s")
        publisher = await world.connect("p", other)
        for qos in (0, 1, 2):
            await publisher.publish("t", b"x", qos)
            assert (await subscriber.expect_message()).qos == qos
        await subscriber.disconnect()
        await publisher.disconnect()
