"""MQTT 5.0: strings, wherever they stand in a packet, are what section 1.5.4 says, or the packet is malformed."""

from collections.abc import Callable

import pytest
from conformance.client import World
from conformance.marks import row, statement
from conformance.packets import (
    Publish,
    Will,
    connect,
    disconnect,
    properties,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    subscribe,
    unsubscribe,
)

Place = Callable[[bytes], bytes]

MALFORMED = 0x81

#: Where a CONNECT has strings, and the statement on each.
IN_CONNECT: dict[str, tuple[Place, tuple[str, ...]]] = {
    "client identifier": (connect, ("MQTT-3.1.3-4",)),
    "user name": (lambda text: connect(user_name=text), ("MQTT-3.1.3-12",)),
    "will topic": (lambda text: connect(will=Will(text)), ("MQTT-3.1.3-11",)),
    "name of a user property": (
        lambda text: connect(properties=properties(user_property=(text, b"v"))),
        ("MQTT-1.5.7-1",),
    ),
    "value of a user property": (
        lambda text: connect(properties=properties(user_property=(b"n", text))),
        ("MQTT-1.5.7-1",),
    ),
    "authentication method": (lambda text: connect(properties=properties(authentication_method=text)), ()),
    "content type of the will": (lambda text: connect(will=Will("w", properties=properties(content_type=text))), ()),
    "response topic of the will": (
        lambda text: connect(will=Will("w", properties=properties(response_topic=text))),
        (),
    ),
    "user property of the will": (
        lambda text: connect(will=Will("w", properties=properties(user_property=(b"n", text)))),
        ("MQTT-1.5.7-1",),
    ),
}

#: Where later packets have them.
LATER: dict[str, tuple[Place, tuple[str, ...]]] = {
    "topic of PUBLISH": (publish, ("MQTT-3.3.2-1",)),
    "topic of PUBLISH at QoS 2": (lambda text: publish(text, qos=2), ("MQTT-3.3.2-1",)),
    "content type": (lambda text: publish("t", properties=properties(content_type=text)), ("MQTT-3.3.2-19",)),
    "response topic": (lambda text: publish("t", properties=properties(response_topic=text)), ("MQTT-3.3.2-13",)),
    "name of a user property of PUBLISH": (
        lambda text: publish("t", properties=properties(user_property=(text, b"v"))),
        ("MQTT-1.5.7-1",),
    ),
    "value of a user property of PUBLISH": (
        lambda text: publish("t", properties=properties(user_property=(b"n", text))),
        ("MQTT-1.5.7-1",),
    ),
    "filter of SUBSCRIBE": (subscribe, ("MQTT-3.8.3-1",)),
    "second filter of SUBSCRIBE": (lambda text: subscribe("t", text), ("MQTT-3.8.3-1",)),
    "share name": (lambda text: subscribe(b"$share/" + text + b"/t"), ("MQTT-3.8.3-1",)),
    "user property of SUBSCRIBE": (
        lambda text: subscribe("t", properties=properties(user_property=(b"n", text))),
        ("MQTT-1.5.7-1",),
    ),
    "filter of UNSUBSCRIBE": (unsubscribe, ("MQTT-3.10.3-1",)),
    "user property of UNSUBSCRIBE": (
        lambda text: unsubscribe("t", properties=properties(user_property=(text, b"v"))),
        ("MQTT-1.5.7-1",),
    ),
    "reason string of PUBACK": (lambda text: puback(1, 0, properties(reason_string=text)), ()),
    "reason string of PUBREC": (lambda text: pubrec(1, 0, properties(reason_string=text)), ()),
    "reason string of PUBREL": (lambda text: pubrel(1, 0, properties(reason_string=text)), ()),
    "reason string of PUBCOMP": (lambda text: pubcomp(1, 0, properties(reason_string=text)), ()),
    "reason string of DISCONNECT": (lambda text: disconnect(0, properties(reason_string=text)), ()),
    "user property of PUBACK": (lambda text: puback(1, 0, properties(user_property=(b"n", text))), ("MQTT-1.5.7-1",)),
}

ILL_FORMED = {
    "a lone continuation byte": b"a\x80",
    "a byte that never occurs": b"\xff",
    "another one": b"\xfe",
    "two bytes cut short": b"a\xc3",
    "three bytes cut short": b"\xe2\x82",
    "four bytes cut short": b"\xf0\x9f\x98",
    "a start byte before ASCII": b"\xc3a",
    "an overlong slash in two bytes": b"\xc0\xaf",
    "an overlong slash in three bytes": b"\xe0\x80\xaf",
    "an overlong slash in four bytes": b"\xf0\x80\x80\xaf",
    "an overlong null character": b"\xc0\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "the form of five bytes": b"\xf8\x88\x80\x80\x80",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
}

NULL = {"alone": b"\0", "first": b"\0a", "within": b"a\0b", "last": b"a\0"}

#: What 1.5.4 lets a receiver refuse: it is refused (docs/conformance.md).
UNWANTED = {
    "U+0001": "a\x01",
    "line feed": "a\nb",
    "U+001F": "\x1f",
    "U+007F": "\x7f",
    "U+0080": "\x80",
    "U+009F": "a\x9f",
    "U+FDD0": "\ufdd0",
    "U+FFFE": "\ufffe",
    "U+FFFF": "\uffff",
    "U+1FFFE": "\U0001fffe",
    "U+10FFFF": "\U0010ffff",
}

ABOUT_TEXTS: list[tuple[dict[str, bytes], tuple[str, ...]]] = [
    (ILL_FORMED, ("MQTT-1.5.4-1",)),
    (NULL, ("MQTT-1.5.4-2",)),
    ({name: text.encode() for name, text in UNWANTED.items()}, ("5-unnumbered-control-characters",)),
]


def rows(places: dict[str, tuple[Place, tuple[str, ...]]]) -> list[object]:
    return [
        row(place, make, texts, about=(*about, *ids), version=5)
        for texts, about in ABOUT_TEXTS
        for place, (make, ids) in places.items()
    ]


@pytest.mark.parametrize(("make", "texts"), rows(IN_CONNECT))
async def test_a_connect_with_such_a_string_is_refused(world: World, make: Place, texts: dict[str, bytes]) -> None:
    for text in texts.values():
        peer = await world.open()
        await peer.send(make(text))
        await peer.expect_refusal(MALFORMED)


@pytest.mark.parametrize(("make", "texts"), rows(LATER))
async def test_such_a_string_ends_the_connection(world: World, make: Place, texts: dict[str, bytes]) -> None:
    everything = await world.subscriber("#", client_id="everything")
    for text in texts.values():
        peer = await world.connect()
        await peer.send(make(text))
        await peer.expect_end(MALFORMED)
    await everything.expect_nothing()


@statement("MQTT-1.5.4-3", version=5)
async def test_the_byte_order_mark_is_a_character_like_any_other(world: World) -> None:
    subscriber = await world.subscriber("\ufefft", "plain", "in\ufeffside")
    publisher = await world.connect("p")
    await publisher.publish("t", b"without it")
    await publisher.publish("\ufeffplain", b"with it")
    await subscriber.expect_nothing()
    await publisher.publish("\ufefft", b"first", properties=properties(content_type="\ufefftext"))
    message = await subscriber.expect(Publish)
    assert message.topic.encode() == b"\xef\xbb\xbft"
    assert message.properties["content_type"] == "\ufefftext"
    await publisher.publish("in\ufeffside", b"within")
    assert await subscriber.payloads() == [b"within"]


@statement("MQTT-1.5.4-3", version=5)
async def test_the_byte_order_mark_tells_client_identifiers_apart(world: World) -> None:
    with_it = await world.connect("\ufeffc")
    without = await world.connect("c")
    await with_it.expect_alive()
    await without.expect_alive()


@statement("MQTT-1.5.4-1", "MQTT-1.5.7-1", version=5)
async def test_well_formed_strings_of_every_length_pass(world: World) -> None:
    text = "\u00e4\u20ac\ud7ff\ue000\ufffd\U0001f987\U0010fffd"
    subscriber = await world.subscriber("#")
    publisher = await world.connect(text, user_name=text)
    sent = properties(content_type=text, response_topic=text, user_property=[(text, text)])
    await publisher.publish(text, b"x", 1, properties=sent)
    message = await subscriber.expect_message()
    assert message.topic == text
    assert message.properties == {"content_type": text, "response_topic": text, "user_property": [(text, text)]}
