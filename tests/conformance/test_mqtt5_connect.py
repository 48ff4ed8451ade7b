"""MQTT 5.0: who is let in, under which name, and what CONNACK says about it."""

import string as letters

from conformance.client import World
from conformance.marks import limits, statement
from conformance.packets import (
    PINGREQ,
    Connack,
    Publish,
    Suback,
    Will,
    auth,
    connect,
    properties,
    publish,
    subscribe,
    u32,
)
from noctule.config import limits as defaults


@statement("MQTT-3.1.4-5", "MQTT-3.2.2-1", "MQTT-3.2.2-8", "MQTT-2.2.2-1", version=5)
@limits(receive_maximum=65_535, alias_max_in=0, packet_max_bytes=1_000_000)
async def test_connack_byte_by_byte(world: World) -> None:
    peer = await world.open()
    await peer.send(connect())
    await peer.expect_bytes(b"\x20\x08\x00\x00\x05\x27" + u32(1_000_000))  # flags, code, block of five, packet size
    await peer.expect_nothing()


@statement("5-unnumbered-announced", "MQTT-3.2.2-9", "MQTT-3.2.2-10", "MQTT-3.2.2-12", "MQTT-3.2.2-13", version=5)
async def test_what_is_not_said_to_be_missing_is_there(world: World) -> None:
    """The broker announces its limits alone: QoS 2, retained messages, wildcards, shares and identifiers are had."""
    peer = await world.connect(will=Will("w", b"", 2, retain=True))
    assert peer.connack.properties == {
        "receive_maximum": defaults.RECEIVE_MAXIMUM,
        "maximum_packet_size": defaults.PACKET_MAX_BYTES,
        "topic_alias_maximum": defaults.ALIAS_MAX_IN,
    }
    assert await peer.subscribe(("a", 0), ("b", 1), ("c", 2), ("+/#", 2)) == [0, 1, 2, 2]
    assert await peer.subscribe(("$share/g/x", 2), properties=properties(subscription_identifier=1)) == [2]
    other = await world.connect("other")
    for qos in (0, 1, 2):
        await other.publish("a/b", b"x", qos, retain=True)
        assert (await peer.expect_message()).qos == qos


@statement("MQTT-3.2.0-1", "MQTT-3.2.0-2", version=5)
async def test_connack_comes_first_and_once(world: World) -> None:
    """What waits for the session, and the answers to what was sent with CONNECT in one piece, come behind it."""
    keep = properties(session_expiry_interval=100)
    first = await world.connect("c", properties=keep)
    await first.subscribe("t")
    await first.drop()
    publisher = await world.connect("p")
    await publisher.publish("t", b"waits", 1)
    again = await world.open()
    await again.send(connect("c", clean=False, properties=keep), PINGREQ, subscribe("u"))
    kinds = [type(one).__name__ for one in await again.received()]
    assert kinds[0] == "Connack"
    assert kinds.count("Connack") == 1
    assert sorted(kinds[1:]) == ["Pingresp", "Publish", "Suback"]


@statement("MQTT-3.1.3-5", version=5)
async def test_client_identifiers_that_every_server_takes(world: World) -> None:
    alphabet = letters.digits + letters.ascii_lowercase + letters.ascii_uppercase
    for client_id in (*alphabet, *(alphabet[at : at + 23] for at in range(0, 62, 10)), "x" * 23):
        peer = await world.connect(client_id)
        assert "assigned_client_identifier" not in peer.connack.properties


@statement("MQTT-3.1.3-6", "MQTT-3.1.3-7", "MQTT-3.2.2-16", version=5)
async def test_a_client_without_a_name_gets_one_of_its_own(world: World) -> None:
    names = set()
    for clean in (True, False):
        for _ in range(20):
            peer = await world.connect("", clean=clean)
            assert not peer.connack.session_present
            names.add(peer.connack.properties["assigned_client_identifier"])
    assert len(names) == 40
    assert "" not in names


@statement("MQTT-3.1.3-7", "MQTT-3.1.3-2", version=5)
async def test_the_assigned_name_is_a_name_like_any_other(world: World) -> None:
    keep = properties(session_expiry_interval=100)
    nameless = await world.connect("", properties=keep)
    name = nameless.connack.properties["assigned_client_identifier"]
    await nameless.subscribe("t")
    await nameless.drop()
    again = await world.connect(name, clean=False, properties=keep)
    assert again.connack.session_present
    assert "assigned_client_identifier" not in again.connack.properties
    await (await world.connect("p")).publish("t", b"x")
    assert await again.payloads() == [b"x"]


@statement("MQTT-3.1.3-2", version=5)
async def test_each_client_identifier_has_a_session_of_its_own(world: World) -> None:
    """Case, spaces, and everything else tells names apart."""
    names = ["c", "C", " c", "c ", "c/", "\u00e9", "e\u0301", "x" * 65_000]
    for number, name in enumerate(names):
        peer = await world.connect(name, properties=properties(session_expiry_interval=100))
        assert not peer.connack.session_present
        await peer.subscribe(f"t/{number}")
        await peer.drop()
    publisher = await world.connect("p")
    for number in range(len(names)):
        await publisher.publish(f"t/{number}", b"%d" % number, 1)
    for number, name in enumerate(names):
        peer = await world.connect(name, clean=False, properties=properties(session_expiry_interval=100))
        assert peer.connack.session_present
        assert await peer.payloads() == [b"%d" % number]


@statement("MQTT-3.1.4-3", "MQTT-3.1.4-4", version=5)
async def test_the_second_connection_of_a_name_ends_the_first(world: World) -> None:
    for clean in (True, False):
        old = await world.connect("c")
        new = await world.connect("c", clean=clean)
        await old.expect_end(0x8E)
        await new.expect_alive()


@statement("MQTT-3.1.4-6", "MQTT-3.1.4-1", "MQTT-3.2.2-7", "MQTT-3.2.2-6", version=5)
async def test_after_a_refusal_nothing_that_followed_is_done(world: World) -> None:
    """CONNECT, SUBSCRIBE and PUBLISH in one piece: the first is refused, and nothing of the rest takes effect."""
    everything = await world.subscriber("#", client_id="everything")
    keep = properties(session_expiry_interval=100)
    known = await world.connect("c", properties=keep)
    await known.drop()
    refused = await world.open()
    bad = connect("c", clean=False, properties=properties(receive_maximum=0), will=Will("w", b"will"))
    await refused.send(bad, subscribe("t"), publish("t", b"x"), publish("t", b"y", 1, retain=True))
    answer = await refused.expect_refusal(0x82)
    assert not answer.session_present  # although there is one
    await everything.expect_nothing()
    late = await world.subscriber("#", client_id="late")
    await late.expect_nothing()
    again = await world.connect("c", clean=False, properties=keep)
    assert again.connack.session_present


@statement("MQTT-3.1.4-6", "MQTT-3.1.4-2", "MQTT-3.1.3-8", version=5)
async def test_a_refused_connect_takes_nobodys_session(world: World) -> None:
    """Well formed, and refused all the same: a method of authentication that nobody knows."""
    here = await world.connect("c")
    refused = await world.open()
    method = properties(authentication_method="no such method")
    await refused.send(connect("c", properties=method, will=Will("w", b"x")), publish("t"))
    await refused.expect_refusal(0x8C)
    await here.expect_alive()


@statement("MQTT-3.1.2-2", version=5)
async def test_the_refusal_of_a_version_that_is_to_come(world: World) -> None:
    peer = await world.open()
    await peer.send(b"\x10\x0f\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x02hi")
    found = await peer.expect(Connack)
    assert (found.code, found.session_present) == (0x84, False)
    await peer.expect_closed()


@statement("MQTT-3.1.3-1", "MQTT-3.1.2-17", "MQTT-3.1.2-19", "MQTT-3.1.2-9", version=5)
async def test_the_payload_of_connect_is_read_in_its_order(world: World) -> None:
    watcher = await world.subscriber("#", client_id="watcher")
    will = Will("topic", b"payload", 1, properties=properties(content_type="type"))
    for user_name, password in ((None, None), ("u", None), (None, b"p"), ("u", b"p"), ("", b"")):
        peer = await world.connect("id", will=will, user_name=user_name, password=password)
        assert world.session("id") is not None
        await peer.drop()
        message = await watcher.expect_message()
        assert (message.topic, message.payload, message.qos) == ("topic", b"payload", 1)
        assert message.properties == {"content_type": "type"}


@statement("MQTT-3.1.2-22", "MQTT-3.2.2-22", version=5)
async def test_a_silent_client_is_closed_after_one_and_a_half_keep_alives(world: World) -> None:
    watcher = await world.subscriber("w", client_id="watcher")
    peer = await world.connect("c", keep_alive=10, will=Will("w", b"gone"))
    assert "server_keep_alive" not in peer.connack.properties
    await world.after(14.9)
    await peer.expect_nothing()
    await world.after(0.2)
    await peer.expect_end(0x8D)
    assert await watcher.payloads() == [b"gone"]


@statement("MQTT-3.1.2-22", version=5)
async def test_every_packet_of_the_client_keeps_it_alive_and_none_of_the_brokers_does(world: World) -> None:
    peer = await world.connect("c", keep_alive=10)
    publisher = await world.connect("p")
    for data in (PINGREQ, publish("x"), publish("x", b"", 1, 3), subscribe("t"), b"\x50\x02\x00\x09", PINGREQ):
        await world.after(14)
        await peer.send(data)
        await peer.received()
        await peer.expect_nothing()
    await world.after(10)
    await publisher.publish("t", b"x")
    await peer.expect(Publish)
    await world.after(5.1)
    await peer.expect_end(0x8D)


@statement("MQTT-3.1.2-22", version=5)
async def test_half_a_packet_does_not_keep_alive(world: World) -> None:
    peer = await world.connect("c", keep_alive=10)
    data = publish("t", bytes(100))
    for at in range(3):
        await world.after(6)
        if at < 2:
            await peer.send(data[at : at + 1])
    await peer.expect_end(0x8D)


@statement("MQTT-3.1.2-22", version=5)
async def test_without_keep_alive_silence_is_no_fault(world: World) -> None:
    peer = await world.connect("c", keep_alive=0)
    await world.after(1_000_000)
    await peer.expect_alive()


@statement("MQTT-3.1.2-24", "MQTT-3.2.2-19", "MQTT-3.2.2-20", version=5)
async def test_a_refusal_is_no_larger_than_the_client_takes(world: World) -> None:
    """The reason string is what goes first."""
    for size in (5, 10, 20, 1_000):
        peer = await world.open()
        await peer.send(
            connect(properties=properties(authentication_method="no such method", maximum_packet_size=size))
        )
        found = await peer.expect_refusal(0x8C)
        assert found.size <= size
        assert ("reason_string" in found.properties) == (size == 1_000)


@statement("MQTT-3.1.2-24", version=5)
async def test_connack_is_no_larger_than_the_client_takes(world: World) -> None:
    """docs/conformance.md: our limits are left unsaid where there is no room; below five bytes nobody can come in."""
    for size in (1, 4, 5, 15, 16, 17):
        peer = await world.open()
        await peer.send(connect(properties=properties(maximum_packet_size=size)), publish("t"))
        if size < 5:
            await peer.expect_closed()
            continue
        connack = await peer.expect(Connack)
        assert connack.size == (5 if size < 16 else 16)
        assert bool(connack.properties) == (size >= 16)
        await peer.expect_alive()


@statement("MQTT-3.2.2-16", "MQTT-3.1.2-24", version=5)
async def test_an_assigned_name_that_cannot_be_told_is_not_assigned(world: World) -> None:
    peer = await world.open()
    await peer.send(connect("", properties=properties(maximum_packet_size=20)))
    await peer.expect_refusal(0x83)


@statement("5-unnumbered-reason-string", version=5)
async def test_a_refusal_says_why(world: World) -> None:
    peer = await world.open()
    await peer.send(connect(properties=properties(receive_maximum=0)))
    assert (await peer.expect_refusal(0x82)).properties["reason_string"]
    peer = await world.connect()
    await peer.send(publish("+"))
    ending = await peer.expect_end(0x90)
    assert ending is not None
    assert ending.properties["reason_string"]


@statement("MQTT-3.1.2-29", version=5)
async def test_without_request_problem_information_acknowledgements_explain_nothing(world: World) -> None:
    """CONNACK, PUBLISH and DISCONNECT may; what is forwarded is not touched."""
    peer = await world.connect("c", properties=properties(request_problem_information=0))
    await peer.send(
        subscribe("a/#", "b#", "$share/g"),
        publish("nobody", b"", 1, 5),
        publish("nobody", b"", 2, 6),
        b"\x62\x02\x00\x07",
        b"\x50\x02\x00\x08",
        b"\xa2\x08\x00\x02\x00\x00\x03b#c",
    )
    found = await peer.received()
    assert len(found) == 6
    for one in found:
        assert one.properties == {}, one  # type: ignore[union-attr]
    sent = properties(user_property=("n", "v"))
    await (await world.connect("p")).publish("a/b", b"x", properties=sent)
    assert (await peer.expect(Publish)).properties == {"user_property": [("n", "v")]}


@statement("MQTT-3.1.2-28", version=5)
async def test_no_response_information_where_none_was_asked_for(world: World) -> None:
    for asked in (b"", properties(request_response_information=0)):
        peer = await world.connect(properties=asked)
        assert "response_information" not in peer.connack.properties


@statement("MQTT-4.12.0-1", version=5)
async def test_an_authentication_method_that_is_not_supported(world: World) -> None:
    peer = await world.open()
    await peer.send(connect(properties=properties(authentication_method="no such method")))
    await peer.expect_refusal(0x8C)


@statement("MQTT-4.12.0-6", "MQTT-4.12.0-7", version=5)
async def test_without_an_authentication_method_there_is_no_auth(world: World) -> None:
    for data in (auth(), auth(0x18, properties(authentication_method="m")), auth(0x19, b"")):
        peer = await world.connect()
        assert "authentication_method" not in peer.connack.properties
        await peer.send(data)
        await peer.expect_end(0x82)


@statement("MQTT-3.1.4-5", "MQTT-2.2.1-6", version=5)
async def test_properties_of_connect_that_ask_for_nothing_special(world: World) -> None:
    everything = properties(
        session_expiry_interval=0,
        receive_maximum=65_535,
        maximum_packet_size=0xFFFFFFFF,
        topic_alias_maximum=65_535,
        request_response_information=0,
        request_problem_information=1,
        user_property=[("n", "v"), ("n", "v"), ("", "")],
    )
    peer = await world.connect("c", properties=everything, keep_alive=65_535)
    await peer.send(subscribe("t", packet_id=65_535))
    assert await peer.expect(Suback) == Suback(65_535, [2])
