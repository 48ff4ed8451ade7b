"""MQTT 5.0: enhanced authentication, before CONNACK and again on an open connection (3.15, 4.12)."""

import pytest
from conformance.challenge import ANSWER, METHODS, QUESTION, RIDDLE, SILENT, SLOW, WELCOME
from conformance.client import Peer, World
from conformance.marks import broker, limits, statement
from conformance.packets import (
    PINGREQ,
    Auth,
    Connack,
    Puback,
    Publish,
    Will,
    auth,
    connect,
    disconnect,
    packet,
    properties,
    publish,
    subscribe,
    unsubscribe,
)

pytestmark = broker(authentication_methods=METHODS)

CONTINUE, AGAIN = 0x18, 0x19
PROTOCOL_ERROR, MALFORMED, NOT_AUTHORIZED = 0x82, 0x81, 0x87


def with_method(method: str = RIDDLE, data: bytes | None = None) -> bytes:
    """The properties that name the method, and the data if there are any."""
    return properties(authentication_method=method) + (
        properties(authentication_data=data) if data is not None else b""
    )


def asks(code: int = CONTINUE) -> Auth:
    return Auth(code, {"authentication_method": RIDDLE, "authentication_data": QUESTION})


async def asked(world: World, **fields: object) -> Peer:
    """A peer that has sent CONNECT and has been asked the riddle."""
    peer = await world.open()
    extra = fields.pop("properties", b"")
    assert isinstance(extra, bytes)
    await peer.send(connect(properties=with_method() + extra, **fields))  # type: ignore[arg-type]
    assert await peer.expect(Auth) == asks()
    return peer


async def let_in(world: World, **fields: object) -> Peer:
    """A peer that has answered the riddle."""
    peer = await asked(world, **fields)
    await peer.send(auth(CONTINUE, with_method(data=ANSWER)))
    peer.connack = await peer.expect(Connack)
    assert peer.connack.code == 0
    return peer


@statement("MQTT-4.12.0-2", "MQTT-4.12.0-3", "MQTT-4.12.0-5", "MQTT-3.2.0-1", "MQTT-3.15.2-1", version=5)
async def test_question_answer_and_welcome(world: World) -> None:
    """AUTH 0x18 in both directions, then CONNACK, all with the method of CONNECT."""
    peer = await let_in(world)
    assert peer.connack.properties["authentication_method"] == RIDDLE
    assert peer.connack.properties["authentication_data"] == WELCOME
    await peer.expect_alive()


@statement("MQTT-4.12.0-2", version=5)
async def test_auth_byte_by_byte(world: World) -> None:
    peer = await world.open()
    await peer.send(connect(properties=with_method()))
    method, question = b"\x15\x00\x06RIDDLE", b"\x16\x00\x15" + QUESTION
    await peer.expect_bytes(b"\xf0\x23\x18\x21" + method + question)


@statement("MQTT-4.12.0-4", "MQTT-3.1.4-2", "MQTT-3.1.4-6", version=5)
async def test_a_wrong_answer_is_refused(world: World) -> None:
    """With CONNACK, and nothing of the CONNECT or of what follows takes effect."""
    watcher = await world.subscriber("#", client_id="watcher")
    for answer in (b"cats", b"", None):
        peer = await asked(world, will=Will("w", b"gone"))
        await peer.send(auth(CONTINUE, with_method(data=answer)), publish("t"), subscribe("t"))
        refusal = await peer.expect_refusal(NOT_AUTHORIZED)
        assert not refusal.session_present
    assert world.session("c") is None
    await watcher.expect_nothing()


@statement("MQTT-4.12.0-1", version=5)
async def test_an_unknown_method_is_refused(world: World) -> None:
    """Methods are compared to the letter."""
    for method in ("riddle", "RIDDLE ", "", "SCRAM-SHA-1"):
        peer = await world.open()
        await peer.send(connect(properties=with_method(method)))
        await peer.expect_refusal(0x8C)


@statement("MQTT-3.1.2-30", version=5)
@pytest.mark.parametrize(
    "data",
    [PINGREQ, publish("t"), publish("t", qos=1), subscribe("t"), unsubscribe("t"), connect("c"), b"\x40\x02\x00\x01"],
    ids=["PINGREQ", "PUBLISH", "PUBLISH at QoS 1", "SUBSCRIBE", "UNSUBSCRIBE", "CONNECT", "PUBACK"],
)
@pytest.mark.parametrize("when", ["after the question", "with CONNECT"])
async def test_before_connack_only_auth_and_disconnect_come(world: World, data: bytes, when: str) -> None:
    watcher = await world.subscriber("#", client_id="watcher")
    if when == "with CONNECT":
        peer = await world.open()
        await peer.send(connect(properties=with_method(), will=Will("w", b"gone")), data)
        found = await peer.receive()
        if type(found) is Auth:  # the question may have been sent before the rest was looked at
            found = await peer.receive()
        assert isinstance(found, Connack)
        assert found.code == PROTOCOL_ERROR
        await peer.expect_closed()
    else:
        peer = await asked(world, will=Will("w", b"gone"))
        await peer.send(data, auth(CONTINUE, with_method(data=ANSWER)))
        await peer.expect_refusal(PROTOCOL_ERROR)
    assert world.session("c") is None
    await watcher.expect_nothing()


@statement("MQTT-3.1.2-30", "MQTT-3.14.0-1", version=5)
async def test_a_client_may_give_up_with_disconnect(world: World) -> None:
    """Its Will has not become one: CONNECT was never accepted."""
    watcher = await world.subscriber("#", client_id="watcher")
    for code in (0x00, 0x04):
        peer = await asked(world, will=Will("w", b"gone"))
        await peer.send(disconnect(code))
        await peer.expect_closed()
    await watcher.expect_nothing()


@statement("MQTT-3.1.4-3", "MQTT-3.1.4-2", version=5)
async def test_nobody_is_taken_over_before_the_riddle_is_solved(world: World) -> None:
    here = await let_in(world)
    other = await asked(world)
    await here.expect_alive()
    await other.send(auth(CONTINUE, with_method(data=b"cats")))
    await other.expect_refusal(NOT_AUTHORIZED)
    await here.expect_alive()
    await let_in(world)
    await here.expect_end(0x8E)


@statement("MQTT-3.2.0-1", version=5)
async def test_what_waits_for_the_session_comes_behind_connack(world: World) -> None:
    keep = properties(session_expiry_interval=100)
    peer = await let_in(world, properties=keep)
    await peer.subscribe("t")
    await peer.drop()
    await (await world.connect("p")).publish("t", b"x", 1)
    again = await asked(world, properties=keep, clean=False)
    await again.expect_nothing()
    await again.send(auth(CONTINUE, with_method(data=ANSWER)))
    assert (await again.expect(Connack)).session_present
    assert (await again.expect(Publish)).payload == b"x"


@statement("MQTT-4.12.0-5", version=5)
@pytest.mark.parametrize("other", [with_method(SLOW), b""], ids=["another", "none"])
async def test_the_method_stays_the_same(world: World, other: bytes) -> None:
    peer = await asked(world)
    await peer.send(auth(CONTINUE, other + properties(authentication_data=ANSWER)))
    await peer.expect_refusal(PROTOCOL_ERROR)
    peer = await let_in(world)
    await peer.send(auth(AGAIN, other))
    await peer.expect_end(PROTOCOL_ERROR)


@statement("MQTT-3.15.2-1", "MQTT-4.12.0-3", version=5)
async def test_the_codes_of_auth(world: World) -> None:
    """Before CONNACK a client says 0x18 alone; afterwards it begins with 0x19 alone."""
    for code in range(256):
        before = await asked(world)
        await before.send(auth(code, with_method(data=ANSWER)))
        if code == CONTINUE:
            await before.expect(Connack)
        else:
            await before.expect_refusal(PROTOCOL_ERROR)
    for code in range(256):
        after = await let_in(world)
        await after.send(auth(code, with_method()))
        if code == AGAIN:
            assert await after.expect(Auth) == asks()
        else:
            await after.expect_end(PROTOCOL_ERROR)


@statement("MQTT-3.15.1-1", "MQTT-2.1.3-1", version=5)
async def test_the_flags_of_auth(world: World) -> None:
    answer = auth(CONTINUE, with_method(data=ANSWER))
    for flags in range(1, 16):
        before = await asked(world)
        await before.send(bytes([0xF0 | flags]) + answer[1:])
        await before.expect_refusal(MALFORMED)
    after = await let_in(world)
    await after.send(b"\xf1" + auth(AGAIN, with_method())[1:])
    await after.expect_end(MALFORMED)


@statement(
    "5-unnumbered-property-block",
    "5-unnumbered-property-twice",
    "5-unnumbered-property-of-another-packet",
    "5-unnumbered-cut-short",
    "5-unnumbered-left-over",
    version=5,
)
@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(packet(0xF0, b"\x18"), MALFORMED, id="a code alone"),
        pytest.param(packet(0xF0, b"\x18\x7f"), MALFORMED, id="block beyond the packet"),
        pytest.param(packet(0xF0, b"\x18\x00\x00"), MALFORMED, id="a byte left over"),
        pytest.param(auth(CONTINUE, b"\x15\x00\x09RID"), MALFORMED, id="method cut short"),
        pytest.param(auth(CONTINUE, b"\x15\x00\x01\xff"), MALFORMED, id="method ill-formed"),
        pytest.param(auth(CONTINUE, with_method() * 2), PROTOCOL_ERROR, id="method twice"),
        pytest.param(
            auth(CONTINUE, with_method() + properties(authentication_data=["a", "b"])), PROTOCOL_ERROR, id="data twice"
        ),
        pytest.param(
            auth(CONTINUE, with_method() + properties(reason_string=["a", "b"])), PROTOCOL_ERROR, id="reason twice"
        ),
        pytest.param(
            auth(CONTINUE, with_method() + properties(session_expiry_interval=1)), MALFORMED, id="session expiry"
        ),
        pytest.param(auth(CONTINUE, with_method() + b"\x7e"), MALFORMED, id="unknown property"),
        pytest.param(auth(), PROTOCOL_ERROR, id="nothing"),
    ],
)
async def test_an_auth_that_breaks_a_rule(world: World, data: bytes, code: int) -> None:
    before = await asked(world)
    await before.send(data)
    await before.expect_refusal(code)


@statement("MQTT-3.15.2-2", "MQTT-3.15.2-3", "MQTT-3.1.2-24", "MQTT-3.1.2-29", version=5)
async def test_auth_is_no_larger_than_the_client_takes(world: World) -> None:
    """It explains nothing; and where the question itself does not fit, the client cannot come in."""
    whole = 37
    for size in range(5, 60):
        peer = await world.open()
        await peer.send(connect(properties=with_method() + properties(maximum_packet_size=size)))
        found = await peer.receive()
        if size >= whole:
            assert found == asks()
            assert isinstance(found, Auth)
            assert found.size == whole
        else:
            assert isinstance(found, Connack)
            assert found.code >= 0x80
            assert found.size <= size
            await peer.expect_closed()


@statement("MQTT-4.12.1-1", "MQTT-4.12.0-5", version=5)
async def test_a_client_authenticates_again(world: World) -> None:
    """And again; what else it does goes on meanwhile."""
    peer = await let_in(world)
    await peer.subscribe("t")
    publisher = await world.connect("p")
    for _ in range(3):
        await peer.send(auth(AGAIN, with_method()))
        assert await peer.expect(Auth) == asks()
        await peer.send(publish("x", b"", 1, 5))
        assert await peer.expect(Puback) == Puback(5, 0x10)
        await publisher.publish("t", b"x")
        assert await peer.payloads() == [b"x"]
        await peer.send(auth(CONTINUE, with_method(data=ANSWER)))
        welcome = await peer.expect(Auth)
        assert welcome == Auth(0, {"authentication_method": RIDDLE, "authentication_data": WELCOME})
        await peer.expect_alive()


@statement("MQTT-4.12.1-2", "MQTT-4.13.2-1", version=5)
async def test_who_fails_to_authenticate_again_is_closed(world: World) -> None:
    watcher = await world.subscriber("w", client_id="watcher")
    peer = await let_in(world, will=Will("w", b"gone"))
    await peer.send(auth(AGAIN, with_method()))
    assert await peer.expect(Auth) == asks()
    await peer.send(auth(CONTINUE, with_method(data=b"cats")), publish("w", b"must not arrive"))
    await peer.expect_end(NOT_AUTHORIZED)
    assert await watcher.payloads() == [b"gone"]


@statement("MQTT-4.12.1-1", version=5)
async def test_re_authentication_out_of_turn(world: World) -> None:
    """Before CONNACK, within an exchange, and continued where nothing has begun."""
    before = await asked(world)
    await before.send(auth(AGAIN, with_method()))
    await before.expect_refusal(PROTOCOL_ERROR)
    within = await let_in(world)
    await within.send(auth(AGAIN, with_method()), auth(AGAIN, with_method()))
    assert await within.expect(Auth) == asks()
    await within.expect_end(PROTOCOL_ERROR)
    nothing = await let_in(world)
    await nothing.send(auth(CONTINUE, with_method(data=ANSWER)))
    await nothing.expect_end(PROTOCOL_ERROR)


@statement("MQTT-4.12.0-6", "MQTT-4.12.0-7", version=5)
async def test_who_came_without_a_method_does_not_get_one_later(world: World) -> None:
    peer = await world.connect("c")
    assert "authentication_method" not in peer.connack.properties
    await peer.send(auth(AGAIN, with_method()))
    await peer.expect_end(PROTOCOL_ERROR)


@statement("MQTT-3.1.2-30", "MQTT-3.2.0-1", version=5)
async def test_while_the_method_thinks_nothing_else_is_done(world: World) -> None:
    watcher = await world.subscriber("#", client_id="watcher")
    peer = await world.open()
    await peer.send(connect(properties=with_method(SLOW)))
    await peer.expect_nothing()
    await watcher.expect_alive()
    await world.after(1.1)
    connack = await peer.expect(Connack)
    assert (connack.code, connack.properties["authentication_method"]) == (0, SLOW)


@statement("MQTT-4.12.0-4", version=5)
@limits(decision_timeout_s=3.0, connect_timeout_s=10.0)
async def test_a_method_that_does_not_answer_refuses(world: World) -> None:
    peer = await world.open()
    await peer.send(connect(properties=with_method(SILENT)))
    await world.after(2.9)
    await peer.expect_nothing()
    await world.after(0.2)
    found = await peer.expect(Connack)
    assert found.code >= 0x80
    await peer.expect_closed()


@statement("MQTT-4.12.0-4", "5-unnumbered-connect-in-time", version=5)
@limits(connect_timeout_s=10.0)
async def test_a_client_that_does_not_answer_is_closed(world: World) -> None:
    peer = await asked(world)
    await world.after(10.1)
    found = await peer.expect(Connack)
    assert found.code >= 0x80
    await peer.expect_closed()
