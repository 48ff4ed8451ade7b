"""MQTT 3.1.1 and 3.1: CONNECT and CONNACK: who is let in, what is refused with which return code, takeover."""

import string as characters

import pytest
from conformance.client import World
from conformance.marks import over_sockets, settings, statement
from conformance.packets import (
    MQTT31,
    MQTT311,
    Publish,
    Will,
    connect,
    packet,
    publish,
    string,
    subscribe,
    u16,
)

VERSIONS = (MQTT31, MQTT311)
both = pytest.mark.parametrize("version", VERSIONS)

ACCEPTED = b"\x20\x02\x00\x00"
SESSION_PRESENT = b"\x20\x02\x01\x00"
REFUSED_VERSION = b"\x20\x02\x00\x01"
REFUSED_CLIENT_ID = b"\x20\x02\x00\x02"
REFUSED_UNAVAILABLE = b"\x20\x02\x00\x03"

LETTERS_AND_DIGITS = characters.digits + characters.ascii_lowercase + characters.ascii_uppercase


@over_sockets
@statement("MQTT-3.1.4-4", "MQTT-3.2.0-1", "MQTT-3.2.2-1", version=4)
async def test_connack_comes_first_and_is_4_bytes(world: World) -> None:
    """Also where packets that will be answered come together with CONNECT, in one piece."""
    for version in VERSIONS:
        peer = await world.open(version)
        await peer.send(connect("c", version), b"\xc0\0", publish("t", b"x", 1, 7, version=version))
        await peer.expect_bytes(ACCEPTED, b"\xd0\0", b"\x40\x02\0\7")
        await peer.expect_alive()
        await peer.disconnect()


@statement("MQTT-3.2.0-1", version=4)
async def test_nothing_is_sent_before_connack_even_where_messages_wait(world: World) -> None:
    old = await world.connect("c", 4, clean=False)
    await old.subscribe(("t", 1))
    await old.drop()
    publisher = await world.connect("p", 4)
    await publisher.publish("t", b"waits", 1)
    peer = await world.open(4)
    await peer.send_bytewise(connect("c", 4, clean=False))
    await peer.expect_bytes(SESSION_PRESENT, publish("t", b"waits", 1, 1, version=4))


@both
@statement("MQTT-3.1.4-4", "MQTT-3.1.0-1", version=4)
async def test_a_connect_byte_by_byte(world: World, version: int) -> None:
    peer = await world.open(version)
    whole = connect("c", version, will=Will("w", b"m", 1, True), user_name="u", password=b"p", keep_alive=60)
    await peer.send_bytewise(whole[:-1])
    await peer.expect_nothing()
    await peer.send(whole[-1:])
    await peer.expect_bytes(ACCEPTED)


# --- protocol name and level --------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 2, 3, 0x80, 0x83])
@statement("MQTT-3.1.2-2", "MQTT-3.2.2-5", "MQTT-3.2.2-4", "MQTT-3.1.4-5", version=4)
async def test_a_level_that_is_not_spoken_is_refused_with_return_code_1(world: World, level: int) -> None:
    everything = await world.subscriber("#", client_id="everything", version=4)
    peer = await world.open(4)
    await peer.send(connect("c", 4, level=level), publish("t", b"must not arrive", version=4))
    await peer.expect_bytes(REFUSED_VERSION)
    await peer.expect_closed()
    await everything.expect_nothing()
    assert world.session("c") is None


@pytest.mark.parametrize("level", [0, 1, 2, 4, 0x84])
@statement("MQTT-3.1.2-2", version=4)
async def test_the_name_of_3_1_with_another_level_is_refused_with_return_code_1(world: World, level: int) -> None:
    peer = await world.open(3)
    await peer.send(connect("c", 3, level=level))
    await peer.expect_bytes(REFUSED_VERSION)
    await peer.expect_closed()


@pytest.mark.parametrize("level", [5, 6, 0x7F, 0x86, 0xFF])
async def test_the_name_of_3_1_with_a_level_above_is_refused_in_the_terms_of_3_1(world: World, level: int) -> None:
    """Who says MQIsdp knows nothing of version 5 and its CONNACK."""
    peer = await world.open(3)
    await peer.send(connect("c", 3, level=level))
    await peer.expect_bytes(REFUSED_VERSION)
    await peer.expect_closed()


@both
@statement("MQTT-3.1.2-2", version=4)
async def test_the_bridge_bit_of_the_level_is_understood(world: World, version: int) -> None:
    """A bridge sees RETAIN as it was published, and gets none of its own messages back."""
    bridge = await world.connect("bridge", version, level=version | 0x80)
    assert await bridge.subscribe(("#", 1)) == [1]
    publisher = await world.connect("p", version)
    await publisher.publish("t", b"from elsewhere", 1, retain=True)
    message = await bridge.expect_message()
    assert (message.payload, message.retain) == (b"from elsewhere", True)
    await bridge.publish("t", b"its own", 1)
    await bridge.expect_nothing()


# --- client identifiers -------------------------------------------------------------------


@both
@statement("MQTT-3.1.3-5", version=4)
async def test_client_identifiers_of_1_to_23_letters_and_digits_are_accepted(world: World, version: int) -> None:
    for size in range(1, 24):
        await world.connect("x" * size, version)
    for start in range(0, len(LETTERS_AND_DIGITS), 20):
        await world.connect(LETTERS_AND_DIGITS[start : start + 23], version)
    for character in LETTERS_AND_DIGITS:
        await world.connect(character, version)


@both
@statement("MQTT-3.1.3-4", "MQTT-1.5.3-1", version=4)
async def test_longer_client_identifiers_and_other_characters_are_accepted(world: World, version: int) -> None:
    for client_id in ("x" * 24, "x" * 65_000, "a b/c-d_e:f", "#", "\u00fc\u4e2d\U0001f600", "\ufeffc", "$x"):
        peer = await world.connect(client_id, version, clean=False)
        await peer.drop()
        assert world.session(client_id) is not None, client_id


@statement("MQTT-1.5.3-3", "MQTT-3.1.3-2", version=4)
async def test_u_feff_belongs_to_the_client_identifier(world: World) -> None:
    first = await world.connect("c", 4)
    second = await world.connect(b"\xef\xbb\xbfc", 4)
    third = await world.connect(b"c\xef\xbb\xbf", 4)
    for peer in (first, second, third):
        await peer.expect_alive()


@statement("MQTT-3.1.3-6", "MQTT-3.2.2-1", version=4)
async def test_without_a_client_identifier_each_client_is_another(world: World) -> None:
    known = {one.client_id for one in world.broker.state.sessions}
    peers = [await world.connect("", 4) for _ in range(5)]
    assigned = {one.client_id for one in world.broker.state.sessions} - known
    assert len(assigned) == 5
    assert "" not in assigned
    for number, peer in enumerate(peers):
        await peer.subscribe(f"t/{number}")
    publisher = await world.connect("p", 4)
    for number, peer in enumerate(peers):
        await publisher.publish(f"t/{number}", b"x", 1)
        assert (await peer.expect_message()).topic == f"t/{number}"
    for peer in peers:
        await peer.expect_nothing()
        await peer.drop()
    assert not assigned & {one.client_id for one in world.broker.state.sessions}


@statement("MQTT-3.1.3-7", "MQTT-3.1.3-8", "MQTT-3.1.3-9", "MQTT-3.2.2-4", "MQTT-3.2.2-5", "MQTT-3.1.4-5", version=4)
async def test_no_client_identifier_and_no_clean_session_is_refused_with_return_code_2(world: World) -> None:
    everything = await world.subscriber("#", client_id="everything", version=4)
    peer = await world.open(4)
    will = Will("w", b"must not arrive")
    await peer.send(connect("", 4, clean=False, will=will), publish("t", b"must not arrive", version=4))
    await peer.expect_bytes(REFUSED_CLIENT_ID)
    await peer.expect_closed()
    await everything.expect_nothing()
    assert len(world.broker.state.sessions) == 1


@settings(keep_alive_max_s=60)
@both
@statement("MQTT-3.1.3-9", "MQTT-3.2.2-5", "MQTT-3.1.4-5", version=4)
async def test_a_keep_alive_that_is_not_allowed_is_refused_as_it_can_be(world: World, version: int) -> None:
    """3.x cannot be told of another Keep Alive: of the return codes the 2 is left."""
    await world.connect("c", version, keep_alive=60)
    for keep_alive in (0, 61):
        peer = await world.open(version)
        await peer.send(connect("d", version, keep_alive=keep_alive))
        await peer.expect_bytes(REFUSED_CLIENT_ID)
        await peer.expect_closed()


@both
@statement("MQTT-3.2.2-5", "MQTT-3.2.2-4", "MQTT-3.1.4-5", version=4)
async def test_a_broker_that_stops_refuses_with_return_code_3(world: World, version: int) -> None:
    slow = await world.connect("slow", version)
    world.broker.stop()
    await world.settle()
    # The broker waits for a peer that has not hung up yet.
    late = await world.open(version)
    await late.send(connect("c", version), publish("t", b"x", version=version))
    await late.expect_bytes(REFUSED_UNAVAILABLE)
    await late.expect_closed()
    await slow.expect_closed()
    assert world.session("c") is None


# --- the payload --------------------------------------------------------------------------


@both
@statement("MQTT-3.1.3-1", "MQTT-3.1.3-3", "MQTT-3.1.2-9", "MQTT-3.1.2-19", "MQTT-3.1.2-21", version=4)
async def test_the_fields_of_the_payload_stand_in_their_order(world: World, version: int) -> None:
    watcher = await world.subscriber("#", client_id="watcher", version=version)
    name = "MQIsdp" if version == 3 else "MQTT"
    fields = [string(one) for one in ("the-id", "will/topic", "the message", "the user", "the password")]
    peer = await world.open(version)
    await peer.send(packet(0x10, string(name), bytes([version, 0b11001110]), u16(0), *fields))
    await peer.expect_bytes(ACCEPTED)
    assert world.session("the-id") is not None
    assert [
        link.session.client.user_name for link in world.broker.state.links if link.session is world.session("the-id")
    ]
    await peer.drop()
    message = await watcher.expect_message()
    assert (message.topic, message.payload, message.qos) == ("will/topic", b"the message", 1)


@both
@statement("MQTT-3.1.2-18", "MQTT-3.1.2-19", "MQTT-3.1.2-20", "MQTT-3.1.2-21", "MQTT-3.1.2-22", version=4)
async def test_user_name_and_password_as_flagged(world: World, version: int) -> None:
    rows: list[tuple[str | bytes | None, bytes | None]] = [
        (None, None),
        ("u", None),
        ("", None),
        ("u", b"p"),
        ("u", b""),
        ("\ufeff\u00fc", b"\xff\0\xed\xa0\x80"),
        ("u" * 20_000, b"p" * 20_000),
    ]
    for user_name, password in rows:
        peer = await world.connect("c", version, user_name=user_name, password=password)
        links = [link for link in world.broker.state.links if link.session is not None]
        assert [link.session.client.user_name for link in links] == [user_name]
        await peer.disconnect()


@statement("MQTT-3.1.2-9", version=4)
async def test_a_will_message_may_be_empty_or_any_bytes(world: World) -> None:
    watcher = await world.subscriber("w", client_id="watcher", version=4)
    for payload in (b"", b"\0", b"\xff\xfe", b"x" * 60_000):
        peer = await world.connect("c", 4, will=Will("w", payload))
        await peer.drop()
        assert await watcher.expect(Publish) == Publish("w", payload)


# --- the same client again ----------------------------------------------------------------


@over_sockets
@statement("MQTT-3.1.4-2", "MQTT-3.1.3-2", version=4)
async def test_the_older_connection_of_a_client_identifier_is_closed(world: World) -> None:
    for version in VERSIONS:
        for clean in (True, False):
            old = await world.connect("c", version, clean=clean)
            other = await world.connect("d", version)
            new = await world.connect("c", version, clean=clean)
            await old.expect_closed()
            await new.expect_alive()
            await other.expect_alive()
            await new.disconnect()
            await other.disconnect()


@statement("MQTT-3.1.4-2", version=4)
async def test_a_takeover_goes_on_where_the_old_connection_was(world: World) -> None:
    old = await world.connect("c", 4, clean=False)
    await old.subscribe(("t", 1))
    publisher = await world.connect("p", 4)
    await publisher.publish("t", b"unacknowledged", 1)
    first = await old.expect(Publish)
    new = await world.connect("c", 4, clean=False)
    assert new.connack.session_present
    await new.expect_bytes(publish("t", b"unacknowledged", 1, first.packet_id, version=4, dup=True))
    await old.expect_closed()


@statement("MQTT-3.1.4-2", version=4)
async def test_client_identifiers_are_compared_as_they_are(world: World) -> None:
    """Upper case, a blank, the two ways to write \u00e9: each is a client of its own."""
    peers = [await world.connect(one, 4) for one in ("c", "C", "c ", " c", "\u00e9", "e\u0301")]
    for peer in peers:
        await peer.expect_alive()


@both
@statement("MQTT-3.1.0-2", version=4)
async def test_a_second_connect_ends_the_connection_and_changes_nothing(world: World, version: int) -> None:
    watcher = await world.subscriber("w", client_id="watcher", version=version)
    for again in (connect("c", version), connect("another", version), connect("c", version, will=Will("w", b"2"))):
        peer = await world.connect("c", version, will=Will("w", b"1"))
        await peer.send(again, subscribe("t", version=version))
        await peer.expect_closed()
        assert await watcher.expect(Publish) == Publish("w", b"1")
        await watcher.expect_nothing()
        assert world.session("another") is None
