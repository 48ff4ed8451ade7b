"""MQTT 3.1.1 and 3.1: packets that break a rule, as tables of bytes: the connection is closed without a word.

Each row is sent whole, byte by byte, and merged with valid packets that must have no effect.
"""

from typing import Any

import pytest
from conformance.client import Peer, World
from conformance.marks import limits, row, statement
from conformance.packets import (
    PINGREQ,
    Publish,
    Will,
    connect,
    disconnect,
    packet,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    string,
    subscribe,
    u16,
    unsubscribe,
)

HOW = ("whole", "byte by byte", "merged")
MUST_NOT_ARRIVE = publish("t", b"must not arrive", version=4)
ONE = u16(1)
C = string("c")

ILL_FORMED = {
    "a byte that never occurs": b"a\xff",
    "a continuation alone": b"\x80a",
    "overlong slash": b"a\xc0\xaf",
    "overlong, three bytes": b"\xe0\x80\xaf",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"a\xed\xbf\xbf",
    "a surrogate pair": b"\xed\xa1\x8c\xed\xbe\xb4",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "cut short": b"a\xe2\x82",
}
NULLS = {"U+0000": b"\0", "U+0000 within": b"a\0b", "overlong U+0000": b"a\xc0\x80"}


def v(test_id: str, data: bytes, *about: str) -> Any:
    return row(test_id, data, about=about, version=4)


async def say(peer: Peer, how: str, data: bytes, behind: bytes) -> None:
    """Send the data in one of the three ways."""
    if how == "byte by byte":
        await peer.send_bytewise(data)
    else:
        await peer.send(data, behind if how == "merged" else b"")


def raw(flags: int, *payload: bytes) -> bytes:
    """A CONNECT with these flags, and nothing made to fit them."""
    return packet(0x10, string("MQTT"), bytes([4, flags]), u16(0), *payload)


# --- the first packet ---------------------------------------------------------------------

W, M, U, P = string("w"), string("m"), string("u"), string("p")

NO_CONNECTS = [
    v("PINGREQ", PINGREQ, "MQTT-3.1.0-1"),
    v("PUBLISH", publish("t", b"x", version=4), "MQTT-3.1.0-1"),
    v("PUBLISH at QoS 1", publish("t", b"x", 1, version=4), "MQTT-3.1.0-1"),
    v("SUBSCRIBE", subscribe("t", version=4), "MQTT-3.1.0-1"),
    v("UNSUBSCRIBE", unsubscribe("t", version=4), "MQTT-3.1.0-1"),
    v("PUBACK", puback(1), "MQTT-3.1.0-1"),
    v("PUBREC", pubrec(1), "MQTT-3.1.0-1"),
    v("PUBREL", pubrel(1), "MQTT-3.1.0-1"),
    v("PUBCOMP", pubcomp(1), "MQTT-3.1.0-1"),
    v("DISCONNECT", disconnect(), "MQTT-3.1.0-1"),
    v("CONNACK", b"\x20\x02\0\0", "MQTT-3.1.0-1"),
    v("packet type 0", b"\0\0", "MQTT-3.1.0-1"),
    v("packet type 15", b"\xf0\0", "MQTT-3.1.0-1"),
    v("HTTP", b"GET / HTTP/1.1\r\n\r\n", "MQTT-3.1.0-1"),
]

BAD_CONNECTS = [
    *(v(f"first byte {first:#x}", connect(version=4, first=first), "MQTT-2.2.2-1", "MQTT-2.2.2-2") for first in
      (0x11, 0x12, 0x14, 0x18, 0x1F)),
    *(v(f"protocol name {name!r}", connect(version=4, name=name), "MQTT-3.1.2-1") for name in
      (b"mqtt", b"MQTTX", b"MQT", b"", b"MQIsdP", b"HTTP", b"\xef\xbb\xbfMQTT", b"MQT\xff")),
    v("reserved flag", raw(0x03, C), "MQTT-3.1.2-3"),
    v("all flags", raw(0xFF, C, W, M, U, P), "MQTT-3.1.2-3"),
    v("will flag, no will at all", raw(0x06, C), "MQTT-3.1.2-9"),
    v("will flag, no message", raw(0x06, C, W), "MQTT-3.1.2-9"),
    v("will flag, message cut short", raw(0x06, C, W, b"\0\5no"), "MQTT-3.1.2-9"),
    v("a will without its flag", raw(0x02, C, W, M), "MQTT-3.1.2-11"),
    v("will QoS 1 without a will", raw(0x0A, C), "MQTT-3.1.2-13", "MQTT-3.1.2-11"),
    v("will QoS 2 without a will", raw(0x12, C), "MQTT-3.1.2-13", "MQTT-3.1.2-11"),
    v("will QoS 3 without a will", raw(0x1A, C), "MQTT-3.1.2-13", "MQTT-3.1.2-11"),
    v("will retain without a will", raw(0x22, C), "MQTT-3.1.2-15", "MQTT-3.1.2-11"),
    v("will QoS 3", raw(0x1E, C, W, M), "MQTT-3.1.2-14"),
    v("will QoS 3, retained", raw(0x3E, C, W, M), "MQTT-3.1.2-14"),
    v("a user name without its flag", raw(0x02, C, U), "MQTT-3.1.2-18"),
    v("user name flag, no user name", raw(0x82, C), "MQTT-3.1.2-19"),
    v("user name cut short", raw(0x82, C, b"\0\5no"), "MQTT-3.1.2-19"),
    v("a password without its flag", raw(0x82, C, U, P), "MQTT-3.1.2-20"),
    v("password flag, no password", raw(0xC2, C, U), "MQTT-3.1.2-21"),
    v("password cut short", raw(0xC2, C, U, b"\0\5no"), "MQTT-3.1.2-21"),
    v("a password without a user name", raw(0x42, C, P), "MQTT-3.1.2-22"),
    v("password flag alone", raw(0x42, C), "MQTT-3.1.2-22"),
    v("no client identifier", raw(0x02), "MQTT-3.1.3-3", "MQTT-3.1.3-1"),
    v("client identifier cut short", raw(0x02, b"\0\5no"), "MQTT-3.1.3-3"),
    v("half a length", raw(0x02, b"\0"), "MQTT-3.1.3-3"),
    v("a byte left over", raw(0x02, C, b"\0"), "MQTT-3.1.4-1"),
    v("nothing at all", b"\x10\0", "MQTT-3.1.4-1"),
    v("no level", packet(0x10, string("MQTT")), "MQTT-3.1.4-1"),
    v("no flags", packet(0x10, string("MQTT"), b"\4"), "MQTT-3.1.4-1"),
    v("keep alive cut short", packet(0x10, string("MQTT"), b"\4\2\0"), "MQTT-3.1.4-1"),
    v("a property block as of version 5", packet(0x10, string("MQTT"), b"\4\2\0\0\0", C), "MQTT-3.1.4-1"),
    v("remaining length of five bytes", b"\x10\x80\x80\x80\x80\x01", "MQTT-3.1.4-1"),
    v("empty will topic", connect(version=4, will=Will("")), "MQTT-4.7.3-1"),
    v("will topic with +", connect(version=4, will=Will("w/+")), "MQTT-4.7.1-1"),
    v("will topic with #", connect(version=4, will=Will("#")), "MQTT-4.7.1-1"),
    *(
        v(f"{name} in {field}", connect(**{"client_id": "c", "version": 4} | fields), about, "MQTT-1.5.3-1")
        for name, bad in ILL_FORMED.items()
        for field, fields, about in (
            ("client identifier", {"client_id": bad}, "MQTT-3.1.3-4"),
            ("will topic", {"will": Will(bad)}, "MQTT-3.1.3-10"),
            ("user name", {"user_name": bad}, "MQTT-3.1.3-11"),
        )
    ),
    *(
        v(f"{name} in {field}", connect(**{"client_id": "c", "version": 4} | fields), "MQTT-1.5.3-2")
        for name, bad in NULLS.items()
        for field, fields in (
            ("client identifier", {"client_id": bad}),
            ("will topic", {"will": Will(bad)}),
            ("user name", {"user_name": bad}),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("data", [*NO_CONNECTS, *BAD_CONNECTS])
@statement("MQTT-3.1.4-1", "MQTT-3.1.4-5", "MQTT-3.2.2-6", "MQTT-4.8.0-1", version=4)
async def test_what_is_no_proper_connect_is_closed_without_a_word(world: World, data: bytes) -> None:
    everything = await world.subscriber("#", client_id="everything")
    for how in HOW:
        peer = await world.open(4)
        await say(peer, how, data, connect(version=4) + MUST_NOT_ARRIVE)
        await peer.expect_closed()
    await everything.expect_nothing()
    assert world.session("c") is None


@statement("MQTT-3.1.4-1", version=4)
@limits(connect_timeout_s=10.0)
async def test_every_prefix_of_a_connect_waits_and_is_closed_in_the_end(world: World) -> None:
    whole = connect(version=4, will=Will("w", b"x"), user_name="u", password=b"p")
    waiting = []
    for size in range(len(whole)):
        peer = await world.open(4)
        await peer.send(whole[:size])
        waiting.append(peer)
    await world.after(9.9)
    for peer in waiting:
        await peer.expect_nothing()
    await world.after(0.2)
    for peer in waiting:
        await peer.expect_closed()


@statement("MQTT-3.2.2-6", version=4)
@limits(connect_max_bytes=64)
async def test_a_connect_too_large_has_no_return_code(world: World) -> None:
    largest = connect("c" * (64 - len(connect("", 4))), 4)
    assert len(largest) == 64
    peer = await world.open(4)
    await peer.send(largest)
    await peer.expect_bytes(b"\x20\x02\0\0")
    for how in HOW:
        peer = await world.open(4)
        await say(peer, how, connect("c" * (65 - len(connect("", 4))), 4), b"")
        await peer.expect_closed()


# --- later packets ------------------------------------------------------------------------


def flagged(first: int, whole: bytes) -> bytes:
    """The packet with another first byte."""
    return bytes([first]) + whole[1:]


ONE_FILTER = string("t") + b"\0"

BAD_FLAGS = [
    *(v(f"PUBACK {first:#x}", flagged(first, puback(1)), "MQTT-2.2.2-1") for first in (0x41, 0x42, 0x44, 0x48)),
    *(v(f"PUBREC {first:#x}", flagged(first, pubrec(1)), "MQTT-2.2.2-1") for first in (0x51, 0x52, 0x54, 0x58)),
    *(v(f"PUBCOMP {first:#x}", flagged(first, pubcomp(1)), "MQTT-2.2.2-1") for first in (0x71, 0x72, 0x74, 0x78)),
    *(v(f"PINGREQ {first:#x}", flagged(first, PINGREQ), "MQTT-2.2.2-1") for first in (0xC1, 0xC2, 0xC4, 0xC8)),
    *(
        v(f"PUBREL {0x60 | flags:#x}", flagged(0x60 | flags, pubrel(1)), "MQTT-3.6.1-1", "MQTT-2.2.2-1")
        for flags in (0, 1, 3, 4, 6, 8, 10, 15)
    ),
    *(
        v(f"SUBSCRIBE {0x80 | flags:#x}", flagged(0x80 | flags, subscribe("t", version=4)), "MQTT-3.8.1-1")
        for flags in (0, 1, 3, 4, 6, 8, 10, 15)
    ),
    *(
        v(f"UNSUBSCRIBE {0xA0 | flags:#x}", flagged(0xA0 | flags, unsubscribe("t", version=4)), "MQTT-3.10.1-1")
        for flags in (0, 1, 3, 4, 6, 8, 10, 15)
    ),
    *(
        v(f"DISCONNECT {0xE0 | flags:#x}", flagged(0xE0 | flags, disconnect()), "MQTT-3.14.1-1", "MQTT-2.2.2-1")
        for flags in (1, 2, 4, 8, 15)
    ),
]

BAD_PACKETS = [
    v("a second CONNECT", connect("c", 4), "MQTT-3.1.0-2"),
    v("a second CONNECT of another name", connect("d", 4), "MQTT-3.1.0-2"),
    v("a second CONNECT of version 5", connect("c"), "MQTT-3.1.0-2"),
    v("PUBLISH at QoS 3", flagged(0x36, publish("t", b"x", 1, version=4)), "MQTT-3.3.1-4"),
    v("PUBLISH at QoS 3, all flags", flagged(0x3F, publish("t", b"x", 1, version=4)), "MQTT-3.3.1-4"),
    v("PUBLISH with DUP at QoS 0", publish("t", b"x", dup=True, version=4), "MQTT-3.3.1-2"),
    v("PUBLISH with DUP and RETAIN at QoS 0", publish("t", b"x", dup=True, retain=True, version=4), "MQTT-3.3.1-2"),
    v("PUBLISH of nothing", b"\x30\0", "MQTT-3.3.2-1"),
    v("PUBLISH with half a length", b"\x30\1\0", "MQTT-3.3.2-1"),
    v("PUBLISH, topic cut short", b"\x30\3\0\2t", "MQTT-3.3.2-1"),
    v("PUBLISH, no packet identifier", b"\x32\3\0\1t", "MQTT-2.3.1-1"),
    v("PUBLISH, half a packet identifier", b"\x32\4\0\1t\0", "MQTT-2.3.1-1"),
    v("PUBLISH at QoS 1 with packet identifier 0", publish("t", b"x", 1, 0, version=4), "MQTT-2.3.1-1"),
    v("PUBLISH at QoS 2 with packet identifier 0", publish("t", b"x", 2, 0, version=4), "MQTT-2.3.1-1"),
    *(
        v(f"PUBLISH to {topic!r} at QoS {qos}", publish(topic, b"x", qos, version=4), "MQTT-3.3.2-2", "MQTT-4.7.1-1")
        for topic in ("#", "+", "a/#", "a/+", "+/a", "a+b", "a#")
        for qos in (0, 1, 2)
    ),
    *(v(f"PUBLISH to no topic at QoS {qos}", publish("", b"x", qos, version=4), "MQTT-4.7.3-1") for qos in (0, 1, 2)),
    *(
        v(f"PUBLISH, {name}", publish(bad, b"x", version=4), "MQTT-1.5.3-1", "MQTT-3.3.2-1")
        for name, bad in ILL_FORMED.items()
    ),
    *(
        v(f"PUBLISH, {name}", publish(bad, b"x", 1, version=4), "MQTT-1.5.3-2", "MQTT-4.7.3-2")
        for name, bad in NULLS.items()
    ),
    v("SUBSCRIBE with packet identifier 0", subscribe("t", packet_id=0, version=4), "MQTT-2.3.1-1"),
    v("SUBSCRIBE of nothing", b"\x82\0", "MQTT-3.8.3-3"),
    v("SUBSCRIBE, half a packet identifier", b"\x82\1\0", "MQTT-3.8.3-3"),
    v("SUBSCRIBE without a filter", packet(0x82, ONE), "MQTT-3.8.3-3"),
    v("SUBSCRIBE, filter without QoS", packet(0x82, ONE, string("t")), "MQTT-3.8.3-3"),
    v("SUBSCRIBE, second filter without QoS", packet(0x82, ONE, ONE_FILTER, string("u")), "MQTT-3.8.3-3"),
    v("SUBSCRIBE, filter cut short", packet(0x82, ONE, b"\0\5t\0"), "MQTT-3.8.3-3"),
    *(
        v(f"SUBSCRIBE, options {options:#x}", subscribe(("t", options), version=4), "MQTT-3-8.3-4")
        for options in (0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x81, 0xFC, 0xFF)
    ),
    v("SUBSCRIBE, second options 3", subscribe(("t", 0), ("u", 3), version=4), "MQTT-3-8.3-4"),
    v("SUBSCRIBE to an empty filter", subscribe("", version=4), "MQTT-4.7.3-1"),
    v("SUBSCRIBE to an empty filter too", subscribe("t", "", version=4), "MQTT-4.7.3-1"),
    *(
        v(f"SUBSCRIBE, {name}", subscribe(bad, version=4), "MQTT-1.5.3-1", "MQTT-3.8.3-1")
        for name, bad in ILL_FORMED.items()
    ),
    *(
        v(f"SUBSCRIBE, {name}", subscribe("t", bad, version=4), "MQTT-1.5.3-2", "MQTT-4.7.3-2")
        for name, bad in NULLS.items()
    ),
    v("UNSUBSCRIBE with packet identifier 0", unsubscribe("t", packet_id=0, version=4), "MQTT-2.3.1-1"),
    v("UNSUBSCRIBE of nothing", b"\xa2\0", "MQTT-3.10.3-2"),
    v("UNSUBSCRIBE without a filter", packet(0xA2, ONE), "MQTT-3.10.3-2"),
    v("UNSUBSCRIBE, filter cut short", packet(0xA2, ONE, b"\0\5t"), "MQTT-3.10.3-2"),
    v("UNSUBSCRIBE, half a length", packet(0xA2, ONE, string("t"), b"\0"), "MQTT-3.10.3-2"),
    v("UNSUBSCRIBE from an empty filter", unsubscribe("", version=4), "MQTT-4.7.3-1"),
    *(
        v(f"UNSUBSCRIBE, {name}", unsubscribe(bad, version=4), "MQTT-1.5.3-1", "MQTT-3.10.3-1")
        for name, bad in ILL_FORMED.items()
    ),
    *(
        v(f"UNSUBSCRIBE, {name}", unsubscribe("t", bad, version=4), "MQTT-1.5.3-2", "MQTT-4.7.3-2")
        for name, bad in NULLS.items()
    ),
    *(
        v(f"{name} {what}", bytes([first, len(body)]) + body, "MQTT-4.8.0-1")
        for name, first in (("PUBACK", 0x40), ("PUBREC", 0x50), ("PUBREL", 0x62), ("PUBCOMP", 0x70))
        for what, body in (
            ("of nothing", b""),
            ("of one byte", b"\1"),
            ("of packet identifier 0", b"\0\0"),
            ("with a reason code as of version 5", b"\0\1\0"),
            ("with properties as of version 5", b"\0\1\0\0"),
        )
    ),
    v("PINGREQ with a body", b"\xc0\1\0", "MQTT-4.8.0-1"),
    v("DISCONNECT with a body", b"\xe0\1\0", "MQTT-4.8.0-1"),
    v("DISCONNECT as of version 5", b"\xe0\2\4\0", "MQTT-4.8.0-1"),
    v("CONNACK", b"\x20\2\0\0", "MQTT-4.8.0-1"),
    v("SUBACK", b"\x90\3\0\1\0", "MQTT-4.8.0-1"),
    v("UNSUBACK", b"\xb0\2\0\1", "MQTT-4.8.0-1"),
    v("PINGRESP", b"\xd0\0", "MQTT-4.8.0-1"),
    v("packet type 0", b"\0\0", "MQTT-4.8.0-1"),
    v("packet type 15", b"\xf0\0", "MQTT-4.8.0-1"),
    v("AUTH as of version 5", b"\xf0\2\0\0", "MQTT-4.8.0-1"),
    v("remaining length of five bytes", b"\x30\x80\x80\x80\x80\x01", "MQTT-4.8.0-1"),
]


@pytest.mark.parametrize("data", [*BAD_FLAGS, *BAD_PACKETS])
@statement("MQTT-4.8.0-1", "MQTT-2.2.2-2", "MQTT-3.1.2-8", version=4)
async def test_a_packet_that_breaks_a_rule_ends_its_connection_alone(world: World, data: bytes) -> None:
    """Nothing is answered, the Will is published, and nobody else notices."""
    everything = await world.subscriber("#", client_id="everything", version=4)
    bystander = await world.connect("bystander", 4)
    for how in HOW:
        peer = await world.connect("c", 4, will=Will("gone", b"will"))
        await say(peer, how, data, MUST_NOT_ARRIVE)
        await peer.expect_closed()
        assert await everything.expect(Publish) == Publish("gone", b"will")
        await everything.expect_nothing()
    await bystander.expect_alive()


@pytest.mark.parametrize("version", [3, 4])
@statement("MQTT-4.8.0-1", version=4)
async def test_what_was_valid_before_a_broken_packet_takes_effect(world: World, version: int) -> None:
    subscriber = await world.subscriber("t", version=version)
    peer = await world.connect("c", version)
    before = publish("t", b"valid", 1, 5, version=version), publish("t", b"valid too", version=version)
    await peer.send(*before, b"\x36\x05\0\1t\0\1", MUST_NOT_ARRIVE)
    await peer.expect_bytes(puback(5))
    await peer.expect_closed()
    assert [one.payload for one in await subscriber.messages()] == [b"valid", b"valid too"]


@limits(packet_max_bytes=200)
async def test_a_packet_above_the_broker_s_limit_ends_the_connection(world: World) -> None:
    subscriber = await world.subscriber("t", version=4)
    fits = publish("t", b"x" * (200 - 2 - 1 - 3), version=4)
    assert len(fits) == 200
    too_large = publish("t", b"x" * (200 - 2 - 1 - 2), version=4)
    for how in HOW:
        peer = await world.connect("c", 4)
        await say(peer, how, fits, b"")
        await peer.expect_nothing()
        await subscriber.expect(Publish)
        await say(peer, how, too_large, b"")
        await peer.expect_closed()
    await subscriber.expect_nothing()
