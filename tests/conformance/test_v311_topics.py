"""MQTT 3.1.1 and 3.1: topic names and filters: what matches what, ``$`` topics, UTF-8, no normalisation; errors."""

import logging

import pytest
from conformance.client import World
from conformance.marks import over_sockets, statement
from conformance.packets import MQTT31, MQTT311, Publish, Will, connect, publish, subscribe

VERSIONS = (MQTT31, MQTT311)
both = pytest.mark.parametrize("version", VERSIONS)

#: Each filter, and which of the topics below it matches (4.7.1, with the examples of the specification).
TOPICS = (
    "sport",
    "sport/",
    "/sport",
    "/finance",
    "sport/tennis/player1",
    "sport/tennis/player1/ranking",
    "sport/tennis/player1/score/wimbledon",
    "sport/tennis/player2",
    "Sport",
    "sports",
    "sport/tennis",
    "/",
    "//",
    "a b/c",
    "$SYSTEM",
    "$SYSTEM/monitor/Clients",
    "$",
    "$internal/sport",
)
MATCHES: dict[str, set[str]] = {
    "sport/tennis/player1/#": {
        "sport/tennis/player1",
        "sport/tennis/player1/ranking",
        "sport/tennis/player1/score/wimbledon",
    },
    "sport/#": {one for one in TOPICS if one == "sport" or one.startswith("sport/")},
    "sport/+": {"sport/", "sport/tennis"},
    "sport": {"sport"},
    "sport/": {"sport/"},
    "/sport": {"/sport"},
    "Sport": {"Sport"},
    "SPORT": set(),
    "spor": set(),
    "sport/tennis/+": {"sport/tennis/player1", "sport/tennis/player2"},
    "sport/+/player1": {"sport/tennis/player1"},
    "+/tennis/#": {one for one in TOPICS if one.startswith("sport/tennis")},
    "+": {"sport", "Sport", "sports"},
    "+/+": {"sport/", "/sport", "/finance", "sport/tennis", "/", "a b/c"},
    "/+": {"/sport", "/finance", "/"},
    "+/": {"sport/", "/"},
    "/": {"/"},
    "//": {"//"},
    "/#": {"/sport", "/finance", "/", "//"},
    "+/#": {one for one in TOPICS if not one.startswith("$")},
    "#": {one for one in TOPICS if not one.startswith("$")},
    "+/+/+": {"sport/tennis/player1", "sport/tennis/player2", "//"},
    "a b/c": {"a b/c"},
    "a b/+": {"a b/c"},
    "$SYSTEM/#": {"$SYSTEM", "$SYSTEM/monitor/Clients"},
    "$SYSTEM/monitor/+": {"$SYSTEM/monitor/Clients"},
    "$SYSTEM/+/Clients": {"$SYSTEM/monitor/Clients"},
    "+/monitor/Clients": set(),
    "+/sport": {"/sport"},
    "$internal/+": {"$internal/sport"},
    "$": {"$"},
    "$/#": {"$"},
}


@pytest.mark.parametrize(("topic_filter", "topics"), MATCHES.items(), ids=MATCHES.keys())
@both
@statement("MQTT-3.3.2-3", "MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.2-1", "MQTT-4.7.3-4", version=4)
async def test_which_topics_a_filter_matches(world: World, version: int, topic_filter: str, topics: set[str]) -> None:
    """What is published, in the order in which it is, and what is retained."""
    subscriber = await world.subscriber((topic_filter, 0), version=version)
    publisher = await world.connect("p", version)
    for topic in TOPICS:
        await publisher.publish(topic, b"x", retain=True)
    assert [one.topic for one in await subscriber.messages()] == [one for one in TOPICS if one in topics]
    late = await world.subscriber((topic_filter, 0), version=version, client_id="late")
    assert sorted(one.topic for one in await late.messages()) == sorted(topics)


@over_sockets
@statement("MQTT-4.7.2-1", version=4)
async def test_no_wildcard_at_the_beginning_reaches_a_dollar_topic(world: World) -> None:
    for version in VERSIONS:
        subscriber = await world.subscriber(
            "#", "+", "+/#", "+/+", "+/a", "+/a/#", "+/+/#", version=version, client_id="s"
        )
        publisher = await world.connect("p", version, will=Will("$x/a", b"will", 1, True))
        for topic in ("$x", "$x/a", "$", "$/a", "$x/a/b", "$SYSTEM/a"):
            for qos in (0, 1, 2):
                await publisher.publish(topic, b"x", qos)
                await publisher.publish(topic, b"x", qos, retain=True)
        await publisher.drop()
        await subscriber.expect_alive()
        late = await world.subscriber("#", "+/#", "+/a", version=version, client_id="late")
        await late.expect_alive()
        # A dollar that is not the first character means nothing.
        publisher = await world.connect("p", version)
        await publisher.publish("a/$x", b"x", 0)
        assert (await subscriber.expect_message()).topic == "a/$x"
        for peer in (subscriber, late, publisher):
            await peer.disconnect()


#: Names that a careless comparison could take for one another.
DISTINCT = (
    "a",
    "A",
    "/a",
    "a/",
    "//a",
    "a ",
    " a",
    "\ufeffa",
    "a\ufeff",
    "\u00e9",
    "e\u0301",
    "\u212b",
    "\u00c5",
    "A\u030a",
    "\ufb01",
    "fi",
    "\u00df",
    "ss",
    "\u0130",
    "i",
    "\u017f",
    "s",
    "\u4e2d",
    "\U0001f600",
    "a\u200bb",
    "ab",
    "a\u00adb",
    "%61",
    ".",
    "..",
    "./a",
    "\\",
    "*",
    "?",
)


@both
@statement("MQTT-4.7.3-4", "MQTT-1.5.3-3", "MQTT-1.5.3-1", "MQTT-3.8.3-1", "MQTT-3.10.3-1", version=4)
async def test_topics_are_compared_character_by_character(world: World, version: int) -> None:
    """And arrive as they were, byte by byte; so it is for retained messages and UNSUBSCRIBE."""
    peers = {name: await world.subscriber((name, 0), client_id=f"c-{name}", version=version) for name in DISTINCT}
    publisher = await world.connect("p", version)
    for name in DISTINCT:
        await publisher.publish(name, name.encode(), retain=True)
    for name, peer in peers.items():
        await peer.expect_bytes(publish(name, name.encode(), version=version))
        await peer.expect_nothing()
        await peer.send(subscribe((name, 0), version=version))
        await peer.expect_bytes(b"\x90\x03\0\1\0", publish(name, name.encode(), version=version, retain=True))
        await peer.expect_nothing()
    everything = await world.subscriber(*((name, 0) for name in DISTINCT), client_id="all", version=version)
    await everything.messages()
    for name in DISTINCT:
        await everything.unsubscribe(name)
        await publisher.publish(name, b"x")
        await everything.expect_nothing()
    for name in DISTINCT[::-1]:
        await publisher.publish(name, b"x")
    await everything.expect_nothing()


@both
@statement("MQTT-1.5.3-3", version=4)
async def test_u_feff_is_kept_wherever_it_stands(world: World, version: int) -> None:
    subscriber = await world.subscriber(("#", 0), version=version)
    watcher = await world.subscriber((b"\xef\xbb\xbft/+".decode(), 0), version=version, client_id="w")
    publisher = await world.connect("p", version)
    for topic in (
        b"\xef\xbb\xbft/x",
        b"t/\xef\xbb\xbfx",
        b"t/x\xef\xbb\xbf",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\xef\xbb\xbf",
    ):
        packet = publish(topic, b"\xef\xbb\xbfpayload", version=version)
        await publisher.send(packet)
        await subscriber.expect_bytes(packet)
    await watcher.expect_bytes(publish(b"\xef\xbb\xbft/x", b"\xef\xbb\xbfpayload", version=version))
    await watcher.expect_nothing()
    dying = await world.connect("d", version, will=Will(b"\xef\xbb\xbfw", b"\xef\xbb\xbf"))
    await dying.drop()
    await subscriber.expect_bytes(publish(b"\xef\xbb\xbfw", b"\xef\xbb\xbf", version=version))


@both
@statement("MQTT-1.5.3-1", "MQTT-3.3.2-1", version=4)
async def test_the_edges_of_utf_8_are_accepted(world: World, version: int) -> None:
    subscriber = await world.subscriber(("#", 0), version=version)
    publisher = await world.connect("p", version)
    for character in (0x20, 0x7E, 0xA0, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0x10000, 0x10FFFD):
        topic = f"t/{chr(character)}"
        await publisher.publish(topic, b"x")
        assert await subscriber.expect(Publish) == Publish(topic, b"x")


@both
@statement("MQTT-4.7.3-3", "MQTT-4.7.3-1", version=4)
async def test_topics_of_1_and_of_65_535_bytes(world: World, version: int) -> None:
    """What the two bytes of length do not count is payload."""
    for name in ("x", "/", "x" * 65_535, "\u4e2d" * 21_845):
        assert len(name.encode()) in (1, 65_535)
        subscriber = await world.subscriber((name, 1), version=version)
        publisher = await world.connect("p", version)
        await publisher.publish(name, b"payload", 1)
        message = await subscriber.expect_message()
        assert (message.topic, message.payload) == (name, b"payload")
        await publisher.publish(name[:-1] + "y", b"payload", 1)
        await subscriber.expect_nothing()
        await subscriber.unsubscribe(name)
        await publisher.publish(name, b"payload", 1)
        await subscriber.expect_nothing()
        await subscriber.disconnect()
        await publisher.disconnect()


@statement("MQTT-4.7.3-2", "MQTT-1.5.3-2", version=4)
async def test_a_null_is_for_payloads(world: World) -> None:
    subscriber = await world.subscriber("t", version=4)
    publisher = await world.connect("p", 4)
    await publisher.publish("t", b"\0a\0", 1)
    assert (await subscriber.expect_message()).payload == b"\0a\0"


# --- errors of the broker's own -----------------------------------------------------------


@both
@statement("MQTT-4.8.0-2", version=4)
async def test_an_error_of_the_broker_ends_the_connection_that_it_came_on(
    world: World, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that runs out while a CONNECT or a SUBSCRIBE is handled: nothing is answered, nobody else notices."""
    logged: list[logging.LogRecord] = []

    def keep_back(record: logging.LogRecord) -> bool:
        logged.append(record)
        return False

    logger = logging.getLogger("noctule.net")
    logger.addFilter(keep_back)
    try:
        watcher = await world.subscriber("w", client_id="watcher", version=version)
        peer = await world.connect("c", version, will=Will("w", b"gone"))
        newcomer = await world.open(version)

        def run_out(*arguments: object, **named: object) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr("noctule.handlers.subscribe.mounted", run_out)
            await peer.send(subscribe("$share/g/t", version=version))  # what is plain does not come to the handlers
            await peer.expect_closed()
        with monkeypatch.context() as patch:
            patch.setattr(type(world.broker.state.sessions), "open", run_out)
            await newcomer.send(connect("d", version, will=Will("w", b"gone")))
            await newcomer.expect_closed()
    finally:
        logger.removeFilter(keep_back)
    assert len(logged) == 2
    assert await watcher.expect(Publish) == Publish("w", b"gone")
    await watcher.expect_alive()
    await world.connect("c", version)
