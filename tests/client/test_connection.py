"""How a connection begins, stays alive and ends."""

from collections.abc import Callable

import pytest
import trio
import trio.testing
from client.scripted_server import ScriptedServer, connected, on_mock_clock
from noctule.client import (
    Client,
    DisconnectedError,
    NoAnswerError,
    RefusedError,
    UnreachableError,
    connect,
    open_client,
)
from noctule.protocol import Connack, Connect, ProtocolVersion, ReasonCode, Will

PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0\x00"
DISCONNECT = b"\xe0\x00"


async def refused(error: type[Exception], version: int, answer: bytes | None) -> Exception:
    """What opening raises when the server answers CONNECT with these bytes and hangs up (None: says nothing)."""
    near, far = trio.testing.memory_stream_pair()
    server = ScriptedServer(far)

    async def act() -> None:
        await server.packet()
        if answer is not None:
            await server.send(answer)
            await server.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(act)
        with pytest.raises(error) as caught:
            async with open_client(near, Connect(ProtocolVersion(version), "c"), timeout_s=5):
                pytest.fail("the client was opened")
    with pytest.raises(trio.ClosedResourceError):  # the stream is closed whatever happened
        await near.send_all(b"x")
    return caught.value


@on_mock_clock
async def test_the_way_in_and_out() -> None:
    near, far = trio.testing.memory_stream_pair()
    server = ScriptedServer(far)
    will = Will("w", b"gone", 1, True)
    request = Connect(ProtocolVersion.V3_1_1, "me", True, 60, will, "u", b"p")
    async with trio.open_nursery() as nursery:

        async def act() -> None:
            await server.expect(
                b"\x10\x1d\x00\x04MQTT\x04"  # 29 bytes, protocol name and level
                b"\xee\x00\x3c"  # user name, password, will retain, will QoS 1, will, clean session; 60 s
                b"\x00\x02me\x00\x01w\x00\x04gone\x00\x01u\x00\x01p"
            )
            await server.send(b"\x20\x02\x00\x00")
            await server.expect(b"\x30\x04\x00\x01th", DISCONNECT)
            await server.close()

        nursery.start_soon(act)
        async with open_client(near, request) as client:
            assert (client.client_id, client.version) == ("me", ProtocolVersion.V3_1_1)
            await client.publish("t", b"h")


@on_mock_clock
async def test_what_connack_says_is_known() -> None:
    connack = Connack(assigned_client_identifier="auto-1", session_present=True, topic_alias_maximum=3)
    async with connected(connack=connack) as (client, _):
        assert client.client_id == "auto-1"
        assert client.connack == connack


@pytest.mark.parametrize(
    ("version", "answer", "reason_code", "code"),
    [
        (3, b"\x20\x02\x00\x02", 0x85, 2),
        (4, b"\x20\x02\x00\x05", 0x87, 5),
        (5, b"\x20\x03\x00\x87\x00", 0x87, 0x87),
    ],
)
@on_mock_clock
async def test_a_refusal_has_its_code(version: int, answer: bytes, reason_code: int, code: int) -> None:
    error = await refused(RefusedError, version, answer)
    assert isinstance(error, RefusedError)
    assert (error.reason_code, error.code, error.reason_string) == (reason_code, code, None)


@on_mock_clock
async def test_a_refusal_has_its_reason() -> None:
    error = await refused(RefusedError, 5, b"\x20\x09\x00\x87\x06\x1f\x00\x03why")
    assert isinstance(error, RefusedError)
    assert error.reason_string == "why"
    assert str(error) == "the server refuses the connection: Not authorized (why)"


@pytest.mark.parametrize(
    "answer",
    [
        b"",  # nothing
        b"\x20\x02\x00",  # half a packet
        b"\x20\x02\x00\x63",  # a return code that is none
        b"\x20\xff\xff\xff\xff\x7f",  # a Remaining Length that is none
        b"\x30\x03\x00\x01t",  # PUBLISH before CONNACK [MQTT-3.2.0-1]
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
@on_mock_clock
async def test_an_answer_that_is_none(answer: bytes) -> None:
    await refused(DisconnectedError, 4, answer)


@on_mock_clock
async def test_no_answer_to_connect() -> None:
    began_at = trio.current_time()
    await refused(NoAnswerError, 5, None)
    assert trio.current_time() - began_at == pytest.approx(5)


@on_mock_clock
async def test_a_packet_that_comes_with_connack_is_not_lost() -> None:
    near, far = trio.testing.memory_stream_pair()
    server = ScriptedServer(far)
    async with trio.open_nursery() as nursery:

        async def act() -> None:
            await server.packet()
            await server.send(b"\x20\x02\x01\x00\x30\x04\x00\x01ta\x30\x04\x00\x01tb")
            await server.expect(DISCONNECT)
            await server.close()

        nursery.start_soon(act)
        async with open_client(near, Connect(ProtocolVersion.V3_1_1, "c", False)) as client:
            assert [(await client.receive()).payload, (await client.receive()).payload] == [b"a", b"b"]


@on_mock_clock
async def test_nobody_listens() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(UnreachableError, match=rf"^mqtt://127\.0\.0\.1:{port} cannot be reached: Connection refused$"):
        async with connect(f"mqtt://127.0.0.1:{port}"):
            pytest.fail("connected to nobody")


@on_mock_clock
async def test_a_request_that_cannot_be_written_reaches_no_network() -> None:
    with pytest.raises(ValueError, match="control character"):
        async with connect("mqtt://127.0.0.1:1", client_id="a\nb"):
            pytest.fail("connected")


# Keep Alive


@on_mock_clock
async def test_silence_is_broken_by_pingreq() -> None:
    async with connected(keep_alive_s=60) as (_, server):
        began_at = trio.current_time()
        await server.expect(PINGREQ)
        assert trio.current_time() - began_at == pytest.approx(60)
        await server.send(PINGRESP)
        await server.expect(PINGREQ)
        assert trio.current_time() - began_at == pytest.approx(120)
        await server.send(PINGRESP)


@on_mock_clock
async def test_whatever_is_sent_puts_it_off() -> None:
    async with connected(keep_alive_s=60) as (client, server):
        began_at = trio.current_time()
        await trio.sleep(50)
        await client.publish("t")
        await server.packet()
        await server.expect(PINGREQ)
        assert trio.current_time() - began_at == pytest.approx(110)
        await server.send(PINGRESP)


@on_mock_clock
async def test_the_keep_alive_of_the_server_counts() -> None:
    async with connected(keep_alive_s=60, connack=Connack(server_keep_alive_s=7)) as (_, server):
        began_at = trio.current_time()
        await server.expect(PINGREQ)
        assert trio.current_time() - began_at == pytest.approx(7)
        await server.send(PINGRESP)


@on_mock_clock
async def test_a_server_that_does_not_answer_pingreq_is_gone() -> None:
    async with connected(keep_alive_s=60, timeout_s=10) as (client, _):
        began_at = trio.current_time()
        with pytest.raises(NoAnswerError, match="PINGREQ"):
            await client.receive()
        assert trio.current_time() - began_at == pytest.approx(70)


@on_mock_clock
async def test_no_keep_alive_no_pingreq() -> None:
    async with connected(keep_alive_s=0) as (_, server):
        with trio.move_on_after(100_000):
            await server.packet()
            pytest.fail("something was sent")


# The end


async def receive(client: Client) -> object:
    return await client.receive()


async def publish(client: Client) -> object:
    return await client.publish("t", b"", 1)


async def subscribe(client: Client) -> object:
    return await client.subscribe("t")


async def unsubscribe(client: Client) -> object:
    return await client.unsubscribe("t")


@pytest.mark.parametrize("wait", [receive, publish, subscribe, unsubscribe])
@on_mock_clock
async def test_whoever_waits_hears_that_the_server_has_gone(wait: Callable[[Client], object]) -> None:
    async with connected() as (client, server):
        async with trio.open_nursery() as nursery:

            async def expect_the_end() -> None:
                with pytest.raises(DisconnectedError, match="closed the connection"):
                    await wait(client)  # type: ignore[misc]

            nursery.start_soon(expect_the_end)
            await trio.testing.wait_all_tasks_blocked()
            await server.close()
        with pytest.raises(DisconnectedError):  # and so does whoever comes later
            await wait(client)  # type: ignore[misc]


@on_mock_clock
async def test_the_reason_of_the_server() -> None:
    async with connected() as (client, server):
        await server.send(b"\xe0\x09\x8e\x07\x1f\x00\x04gone")
        with pytest.raises(DisconnectedError, match=r"Session taken over \(gone\)") as caught:
            await client.receive()
        assert caught.value.reason_code == ReasonCode.SESSION_TAKEN_OVER


@pytest.mark.parametrize(
    ("packet", "reason_code"),
    [
        (b"\x36\x05\x00\x01t\x00\x01", 0x81),  # PUBLISH of QoS 3
        (b"\x30\x04\x00\x01#\x00", 0x90),  # a wildcard in a topic name
        (b"\x20\x03\x00\x00\x00", 0x82),  # a second CONNACK
        (b"\x10\x00", 0x82),  # CONNECT
        (b"\x90\x04\x00\x09\x00\x00", 0x82),  # SUBACK for nothing
        (b"\x30\x07\x00\x00\x03\x23\x00\x01x", 0x94),  # a Topic Alias, where none was allowed
        (b"\xd0\x01\x00", 0x81),  # PINGRESP with a body
        (b"\x00\x00", 0x82),
    ],
)
@on_mock_clock
async def test_a_server_that_breaks_the_protocol_is_told(packet: bytes, reason_code: int) -> None:
    async with connected(leave_politely=False) as (client, server):
        await server.send(packet)
        with pytest.raises(DisconnectedError, match="broke the protocol"):
            await client.receive()
        await server.expect(b"\xe0\x01" + bytes((reason_code,)))


@on_mock_clock
async def test_an_exception_comes_out_as_it_is_and_the_will_is_not_published() -> None:
    class OwnError(Exception):
        pass

    near, far = trio.testing.memory_stream_pair()
    server = ScriptedServer(far)
    await server.send(b"\x20\x02\x00\x00")
    with pytest.raises(OwnError):  # not a group of exceptions
        async with open_client(near, Connect(ProtocolVersion.V3_1_1, "c")):
            raise OwnError
    await server.packet()
    await server.expect(DISCONNECT, b"")


@on_mock_clock
async def test_cancelled_it_says_goodbye_within_a_second() -> None:
    near, far = trio.testing.memory_stream_pair()
    server = ScriptedServer(far)
    await server.send(b"\x20\x02\x00\x00")
    began_at = trio.current_time()
    with trio.move_on_after(10) as scope:
        async with open_client(near, Connect(ProtocolVersion.V3_1_1, "c")) as client:
            await client.receive()
    assert scope.cancelled_caught
    assert trio.current_time() - began_at == pytest.approx(11)  # the server does not close its side
    await server.packet()
    await server.expect(DISCONNECT, b"")


@on_mock_clock
async def test_a_server_that_reads_nothing_holds_nobody_up() -> None:
    """The end is bounded although neither the message nor DISCONNECT can be sent; and that is not kept a secret."""
    near, far = trio.testing.lockstep_stream_pair()
    server = ScriptedServer(far)
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            await server.packet()
            await server.send(b"\x20\x02\x00\x00")

        nursery.start_soon(accept)
        began_at = trio.current_time()

        async def publish_and_leave() -> None:
            async with open_client(near, Connect(ProtocolVersion.V3_1_1, "c"), timeout_s=5) as client:
                await client.publish("t", b"never read")

        with pytest.raises(NoAnswerError, match="does not read"):
            await publish_and_leave()
    assert trio.current_time() - began_at <= 7


@on_mock_clock
async def test_iterating_ends_when_we_leave() -> None:
    taken = []

    async def consume(client: Client) -> None:
        async for message in client:
            taken.append(message.payload)

    async with trio.open_nursery() as nursery, connected(4) as (client, server):
        nursery.start_soon(consume, client)
        await server.send(b"\x30\x04\x00\x01ta")
        await trio.testing.wait_all_tasks_blocked()
    assert taken == [b"a"]


@on_mock_clock
async def test_nothing_can_be_asked_of_a_client_that_has_left() -> None:
    async with connected() as (client, _):
        pass
    for wait in (receive, publish, subscribe, unsubscribe):
        with pytest.raises(DisconnectedError):
            await wait(client)
