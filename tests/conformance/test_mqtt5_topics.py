"""MQTT 5.0: which topics and filters there are, and which of them match."""

import unicodedata

import pytest
from conformance.client import World
from conformance.marks import limits, statement
from conformance.packets import Publish, properties, publish

INVALID = 0x8F

#: Topic names, and for each filter those that it matches.
TOPICS = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "a/",
    "/a",
    "/",
    "//",
    "a//b",
    "A",
    "a b",
    " ",
    "$SYSTEM/x",
    "$a",
    "$a/b",
    "a/$b",
    "/$a",
    ".",
    "*",
    ">",
]

MATCHES = {
    "a": ["a"],
    "a/b": ["a/b"],
    "a/#": ["a", "a/b", "a/b/c", "a/", "a//b", "a/$b"],
    "a/+": ["a/b", "a/", "a/$b"],
    "+/b": ["a/b"],
    "+": ["a", "b", "A", "a b", " ", ".", "*", ">"],
    "/+": ["/a", "/", "/$a"],
    "+/": ["a/", "/"],
    "+/+": ["a/b", "a/", "/a", "/", "a/$b", "/$a"],
    "a/+/b": ["a//b"],
    "//": ["//"],
    "+//": ["//"],
    "/#": ["/a", "/", "//", "/$a"],
    "#": [topic for topic in TOPICS if not topic.startswith("$")],
    "+/#": [topic for topic in TOPICS if not topic.startswith("$")],
    "$a": ["$a"],
    "$a/#": ["$a", "$a/b"],
    "$a/+": ["$a/b"],
    "$SYSTEM/#": ["$SYSTEM/x"],
    "+/x": [],
    "A": ["A"],
    " ": [" "],
    "*": ["*"],
    ">": [">"],
    "a/b/#": ["a/b", "a/b/c"],
    "a/b/c/#": ["a/b/c"],
}


@statement("MQTT-3.3.2-3", "MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.2-1", "MQTT-4.7.3-1", "MQTT-4.7.0-1", version=5)
@pytest.mark.parametrize("topic_filter", MATCHES)
async def test_what_a_filter_matches(world: World, topic_filter: str) -> None:
    """For messages that come, for what is retained, and for a shared subscription."""
    wanted = sorted(MATCHES[topic_filter])
    live = await world.subscriber(topic_filter, client_id="live")
    shared = await world.subscriber(f"$share/g/{topic_filter}", client_id="shared")
    publisher = await world.connect("p")
    for topic in TOPICS:
        await publisher.publish(topic, topic.encode(), retain=True)
    for peer in (live, shared):
        found = await peer.messages()
        assert sorted(one.topic for one in found) == wanted
        assert all(one.payload.decode() == one.topic for one in found)
    late = await world.subscriber(topic_filter, client_id="late")
    assert sorted(one.topic for one in await late.messages()) == wanted


@statement("MQTT-4.7.1-1", version=5)
@pytest.mark.parametrize("text", ["a#", "#a", "a/#/b", "#/", "#/a", "##", "a/##", "+#", "a/b#", "/#/", "$share/g/a#"])
async def test_a_misplaced_number_sign(world: World, text: str) -> None:
    """docs/conformance.md: refused in SUBACK and UNSUBACK, with all other filters of the packet served."""
    peer = await world.connect()
    assert await peer.subscribe(text, "good") == [INVALID, 2]
    assert await peer.unsubscribe(text, "good") == [INVALID, 0]
    await peer.expect_alive()


@statement("MQTT-4.7.1-2", version=5)
@pytest.mark.parametrize("text", ["a+", "+a", "++", "a/b+", "a/+b/c", "+a/#", "/++", "$share/g/a+"])
async def test_a_misplaced_plus_sign(world: World, text: str) -> None:
    peer = await world.connect()
    assert await peer.subscribe(text, "good") == [INVALID, 2]
    assert await peer.unsubscribe(text, "good") == [INVALID, 0]
    await peer.expect_alive()


@statement("MQTT-4.7.3-1", version=5)
async def test_an_empty_filter(world: World) -> None:
    peer = await world.connect()
    assert await peer.subscribe("", "good") == [INVALID, 2]
    assert await peer.unsubscribe("", "good") == [INVALID, 0]


@statement("MQTT-4.7.3-2", version=5)
async def test_the_null_character_ends_the_connection(world: World) -> None:
    """In a topic name, and in a filter: the string is malformed before it is a filter."""
    from_topic = await world.connect()
    await from_topic.send(publish("a\0b"))
    await from_topic.expect_end(0x81)
    from_filter = await world.connect()
    await from_filter.send(b"\x82\x09\x00\x01\x00\x00\x03a\x00b\x00")
    await from_filter.expect_end(0x81)


@statement("MQTT-4.7.3-3", version=5)
@limits(packet_max_bytes=300_000)
async def test_the_longest_topics_and_filters(world: World) -> None:
    longest = "x" * 65_535
    peer = await world.subscriber(longest, "+/" + "y" * 65_533)
    publisher = await world.connect("p")
    await publisher.publish(longest, b"1", 1)
    await publisher.publish("a/" + "y" * 65_533, b"2", 2)
    await publisher.publish(longest[1:], b"3", 2)
    assert [len(one.topic) for one in await peer.messages()] == [65_535, 65_535]


@statement("MQTT-4.7.3-3", version=5)
async def test_topics_of_very_many_levels(world: World) -> None:
    """Whatever the broker makes of 65,535 slashes, nobody else notices."""
    other = await world.subscriber("#", client_id="other")
    for levels in (200, 201, 32_768, 65_535):
        peer = await world.connect()
        codes = await peer.subscribe("/" * levels, ("+/" * levels)[:65_535], ("+/" * levels)[:65_534] + "#")
        assert set(codes) <= {2, INVALID}
        await peer.send(publish("/" * levels, b"x"), b"\xc0\x00")
        await peer.received()
    await other.received()
    await other.expect_alive()


@statement("MQTT-4.7.3-4", version=5)
async def test_nothing_is_normalised(world: World) -> None:
    """Composed and decomposed, upper and lower case, full width, ligatures, slashes, blanks: all different."""
    names = [
        "\u00e9",
        "e\u0301",
        "\u00c9",
        "\u212b",
        "\u00c5",
        "A\u030a",
        "\ufb01",
        "fi",
        "\uff21",
        "A",
        "a",
        "/a",
        "a/",
        " a",
    ]
    assert len({unicodedata.normalize("NFKC", name).lower() for name in names}) < len(names) - 4
    peers = [await world.subscriber(name, client_id=f"c{at}") for at, name in enumerate(names)]
    publisher = await world.connect("p")
    for name in names:
        await publisher.publish(name, name.encode(), retain=True)
    for name, peer in zip(names, peers, strict=True):
        assert await peer.payloads() == [name.encode()]
        late = await world.subscriber(name, client_id="late")
        assert await late.payloads() == [name.encode()]


@statement("MQTT-4.7.2-1", version=5)
async def test_topics_with_a_dollar_sign_belong_to_nobody_but_who_asks(world: World) -> None:
    """Also at unsubscribing, for shared subscriptions, and within overlapping ones."""
    wide = await world.subscriber("#", "+/#", "+/x", "$share/g/#", "$share/g/+/x", client_id="wide")
    narrow = await world.subscriber("$data/#", client_id="narrow")
    publisher = await world.connect("p")
    await publisher.publish("$data/x", b"1", 1)
    await wide.expect_nothing()
    assert (await narrow.expect_message()) == Publish("$data/x", b"1", 1, packet_id=1)


@statement("MQTT-4.7.0-1", "MQTT-4.7.3-1", "MQTT-3.3.2-14", version=5)
async def test_a_response_topic_is_a_topic_name(world: World) -> None:
    """Any that can be one is forwarded; an empty one, like one with a wildcard, ends the connection."""
    peer = await world.subscriber("t")
    publisher = await world.connect("p")
    for text in ("answers", "$x", "a b", "/"):
        await publisher.publish("t", b"", properties=properties(response_topic=text))
        assert (await peer.expect_message()).properties == {"response_topic": text}
    for text in ("", "a/+", "#"):
        publisher = await world.connect("p")
        await publisher.send(publish("t", b"", properties=properties(response_topic=text)))
        await publisher.expect_end(0x82)
    await peer.expect_nothing()
