"""A connection that is lost is made again: when, how often, and what becomes of messages and subscriptions."""

from typing import Any

import pytest
import trio
import trio.testing
from client.cutting import TO_CLIENT, TO_SERVER, Network, broker_behind
from client.scripted_server import ScriptedServer, on_mock_clock
from noctule.client import (
    AuthenticationError,
    ClientError,
    DisconnectedError,
    NoAnswerError,
    Reconnect,
    RefusedError,
    SessionLostError,
    SubscriptionRefusedError,
    UnreachableError,
    connect,
    opening,
)
from noctule.client.reconnecting import BackOff, is_final
from noctule.protocol import ReasonCode, SubscriptionRequest

CONNACK = b"\x20\x03\x00\x00\x00"
CONNACK_PRESENT = b"\x20\x03\x01\x00\x00"
REFUSED = b"\x20\x03\x00\x87\x00"
BUSY = b"\x20\x03\x00\x89\x00"
PINGREQ = b"\xc0\x00"


@pytest.mark.parametrize(
    ("drawn", "delays"),
    [(0.0, [0.5, 1, 2, 4, 5, 5]), (1.0, [1, 2, 4, 8, 10, 10]), (0.5, [0.75, 1.5, 3, 6, 7.5, 7.5])],
)
def test_the_waits_double_up_to_a_limit(drawn: float, delays: list[float]) -> None:
    back_off = BackOff(Reconnect(first_delay_s=1, maximum_delay_s=10), lambda: drawn)
    assert [back_off.next_delay_s() for _ in delays] == delays
    back_off.reset()
    assert back_off.next_delay_s() == delays[0]


@pytest.mark.parametrize("wrong", [{"first_delay_s": 0}, {"maximum_delay_s": 0.5}, {"factor": 0.5}])
def test_waits_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="waits"):
        Reconnect(**wrong)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (RefusedError(ReasonCode.NOT_AUTHORIZED, 5), True),
        (RefusedError(ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4), True),
        (RefusedError(ReasonCode.SERVER_MOVED, 0x9D, None, "other:1883"), True),
        (RefusedError(ReasonCode.SERVER_UNAVAILABLE, 3), False),
        (RefusedError(ReasonCode.SERVER_BUSY, 0x89), False),
        (DisconnectedError("taken over", ReasonCode.SESSION_TAKEN_OVER), True),
        (DisconnectedError("stops", ReasonCode.SERVER_SHUTTING_DOWN), False),
        (DisconnectedError("broke off"), False),
        (UnreachableError("nobody"), False),
        (NoAnswerError("silence"), False),
        (AuthenticationError("no proof"), True),
    ],
)
def test_what_is_not_tried_again(failure: ClientError, expected: bool) -> None:
    assert is_final(failure) is expected


class Servers:
    """Streams in memory for ``connect``: each connection is taken by the next of the scripts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, *scripts: Any) -> None:
        self.opened_at: list[float] = []
        self._scripts = list(scripts)

        async def open_stream(_route: object, _nursery: object) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            self.opened_at.append(trio.current_time())
            script = self._scripts.pop(0) if self._scripts else None
            if script is None:
                raise UnreachableError("nobody listens")
            near, far = trio.testing.memory_stream_pair()
            nursery.start_soon(script, ScriptedServer(far))
            return near

        monkeypatch.setattr(opening, "open_stream", open_stream)


def answering(connack: bytes, *, seconds: float = 0.0) -> Any:
    """A server that answers CONNECT so and hangs up after so long."""

    async def script(server: ScriptedServer) -> None:
        await server.packet()
        await server.send(connack)
        await trio.sleep(seconds)
        await server.close()

    return script


async def staying(server: ScriptedServer) -> None:
    """A server that accepts, and closes when we have left."""
    await server.packet()
    await server.send(CONNACK)
    while packet := await server.packet():
        if packet[0] == 0xE0:
            break
    await server.close()


@on_mock_clock
async def test_attempts_come_later_and_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        servers = Servers(monkeypatch, nursery, answering(CONNACK), None, None, answering(BUSY), staying)
        async with connect("h", reconnect=Reconnect(1, 60)) as client:
            await trio.testing.wait_all_tasks_blocked()
            assert not client.is_connected
            await client.wait_connected()
            assert client.is_connected
        waits = [later - earlier for earlier, later in zip(servers.opened_at, servers.opened_at[1:], strict=False)]
    assert len(waits) == 4
    for wait, limit in zip(waits, [1, 2, 4, 8], strict=True):
        assert limit / 2 <= wait <= limit


@on_mock_clock
async def test_a_sound_connection_begins_the_waits_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = [answering(CONNACK), None, None, None, answering(CONNACK, seconds=20), staying]
    async with trio.open_nursery() as nursery:
        servers = Servers(monkeypatch, nursery, *scripts)
        async with connect("h", reconnect=Reconnect(1, 60)) as client:
            await trio.sleep(80)
            await client.wait_connected()
    assert 20.5 <= servers.opened_at[5] - servers.opened_at[4] <= 21


@on_mock_clock
async def test_a_refusal_that_stays_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        Servers(monkeypatch, nursery, answering(CONNACK), answering(REFUSED))
        async with connect("h") as client:
            with pytest.raises(RefusedError):
                await client.receive()
            with pytest.raises(RefusedError):
                await client.publish("t", b"", 1)


@on_mock_clock
async def test_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        Servers(monkeypatch, nursery, answering(CONNACK))
        async with connect("h", reconnect=Reconnect(give_up_after_s=30)) as client:
            began_at = trio.current_time()
            with pytest.raises(UnreachableError):
                await client.receive()
            assert 30 <= trio.current_time() - began_at <= 60


@on_mock_clock
async def test_the_first_connection_is_tried_once_or_again_as_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        servers = Servers(monkeypatch, nursery, None, staying)
        with pytest.raises(UnreachableError):
            async with connect("h"):
                pytest.fail("connected")
        servers = Servers(monkeypatch, nursery, None, None, staying)
        async with connect("h", reconnect=Reconnect(retry_first=True)) as client:
            assert client.is_connected
        assert len(servers.opened_at) == 3
        Servers(monkeypatch, nursery, answering(REFUSED))
        with pytest.raises(RefusedError):
            async with connect("h", reconnect=Reconnect(retry_first=True)):
                pytest.fail("connected")


@on_mock_clock
async def test_leaving_does_not_wait_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        Servers(monkeypatch, nursery, answering(CONNACK))
        async with connect("h"):
            await trio.sleep(10)
            left_at = trio.current_time()
        assert trio.current_time() == left_at


@on_mock_clock
async def test_a_message_waits_for_the_next_connection_as_long_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    received = []

    async def second(server: ScriptedServer) -> None:
        await server.packet()
        await server.send(CONNACK_PRESENT)
        received.append(await server.packet())
        await server.send(b"\x40\x02\x00\x01")
        await staying(server)

    async with trio.open_nursery() as nursery:
        Servers(monkeypatch, nursery, answering(CONNACK), None, second)
        async with connect("h", timeout_s=20) as client:
            await trio.testing.wait_all_tasks_blocked()
            assert await client.publish("t", b"x", 1) == 0
        assert received == [b"\x32\x07\x00\x01t\x00\x01\x00x"]  # it had not been sent: no DUP
        Servers(monkeypatch, nursery, answering(CONNACK))
        async with connect("h", timeout_s=5) as client:
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(NoAnswerError, match="connection is lost"):
                await client.publish("t", b"x", 1)


@on_mock_clock
async def test_the_session_of_version_5_is_kept_and_at_the_end_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with broker_behind(monkeypatch) as (_, network):
        async with connect("mqtt://cut", client_id="c") as client:
            await client.subscribe("t", 1)
            network.cut_after(TO_SERVER, 0)
            with trio.move_on_after(1):
                await client.publish("lost", b"")
            async with connect("mqtt://past") as other:
                await other.publish("t", b"while away", 1)
            assert (await client.receive()).payload == b"while away"
            assert client.connack.session_present
        async with connect("mqtt://past", client_id="c", clean_start=False) as client:
            assert not client.connack.session_present


@on_mock_clock
async def test_subscriptions_are_made_again_where_the_session_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        broker_behind(monkeypatch) as (_, network),
        connect("mqtt://cut", version=4) as client,
        client.subscription("own/#", 1) as own,
    ):
        await client.subscribe(["a", SubscriptionRequest("b", 2)], 1)
        await client.subscribe("c")
        await client.unsubscribe("c")
        network.cut_after(TO_SERVER, 0)
        await client.publish("lost", b"")
        await trio.testing.wait_all_tasks_blocked()
        await client.wait_connected()
        assert (network.cuts, client.is_connected, client.connack.session_present) == (1, True, False)
        async with connect("mqtt://past") as other:
            for topic in ("c", "a", "b", "own/x"):
                await other.publish(topic, topic.encode(), 2)
        assert [(await client.receive()).payload, (await client.receive()).qos] == [b"a", 2]
        assert (await own.receive()).topic == "own/x"


@on_mock_clock
async def test_a_subscription_that_is_refused_the_second_time_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def accepting(server: ScriptedServer, code: int) -> None:
        await server.packet()
        await server.send(CONNACK)
        subscribe = await server.packet()
        await server.send(b"\x90\x04" + subscribe[2:4] + bytes((0, code)))

    async def first(server: ScriptedServer) -> None:
        await accepting(server, 0)
        await server.close()

    async def second(server: ScriptedServer) -> None:
        await accepting(server, 0x87)
        await staying(server)

    async def consume() -> None:
        async with connect("h") as client, client.subscription("t") as messages:
            async for _ in messages:
                pytest.fail("a message")

    async with trio.open_nursery() as nursery:
        Servers(monkeypatch, nursery, first, second)
        with pytest.raises(SubscriptionRefusedError) as caught:
            await consume()
        assert (caught.value.topic_filter, caught.value.reason_code) == ("t", 0x87)


@pytest.mark.parametrize(
    ("qos", "count", "direction", "outcome"),
    [
        (1, 12, TO_SERVER, "sent again"),  # before or after the server has it: at least once
        (2, 8, TO_CLIENT, "done"),  # PUBREC had come, PUBCOMP had not
        (2, 3, TO_CLIENT, "unknown"),  # PUBREC had not come
    ],
)
@on_mock_clock
async def test_messages_where_the_session_was_lost(
    qos: int, count: int, direction: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with broker_behind(monkeypatch) as (_, network), connect("mqtt://past") as reader:
        await reader.subscribe("t", 2)
        async with connect("mqtt://cut", version=4) as client:
            network.cut_after(direction, count if direction == TO_CLIENT else 5)
            if outcome == "unknown":
                with pytest.raises(SessionLostError):
                    await client.publish("t", b"x", qos)
            else:
                if outcome == "done":
                    network.cut_after(TO_CLIENT, 5)  # all of PUBREC, and one byte of PUBCOMP
                assert await client.publish("t", b"x", qos) == 0
        async with connect("mqtt://past") as other:
            await other.publish("t", b"end", 1)
        payloads = [(await reader.receive()).payload]
        while payloads[-1] != b"end":
            payloads.append((await reader.receive()).payload)
        # Exactly once at QoS 2 if the flow had got as far as that; never more.
        assert payloads.count(b"x") == (0 if outcome == "unknown" and payloads == [b"end"] else 1)


@on_mock_clock
async def test_a_message_of_the_old_session_is_not_acknowledged_in_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its identifier means another message there, if it means anything."""
    late: list[bytes] = []

    async def first(server: ScriptedServer) -> None:
        await server.packet()
        await server.send(CONNACK + b"\x34\x06\x00\x01t\x00\x07\x00")
        await server.close()

    async def second(server: ScriptedServer) -> None:
        await server.packet()
        await server.send(CONNACK)
        late.append(await server.packet())
        await server.close()

    async with trio.open_nursery() as nursery:
        Servers(monkeypatch, nursery, first, second)
        async with connect("h") as client:
            await trio.testing.wait_all_tasks_blocked()
            await client.wait_connected()
            assert (await client.receive()).qos == 2
        assert late[0][0] == 0xE0  # DISCONNECT, and no PUBREC before it


@on_mock_clock
async def test_a_slow_consumer_loses_nothing_by_a_reconnection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the mailbox unacknowledged is sent again by the server and must not be there twice."""
    async with (
        broker_behind(monkeypatch) as (_, network),
        connect("mqtt://cut", client_id="c", version=4, clean_start=False) as client,
    ):
        await client.subscribe("t", 2)
        async with connect("mqtt://past") as other:
            for qos in (1, 2, 1, 2):
                await other.publish("t", b"%d" % qos, qos)
        await trio.testing.wait_all_tasks_blocked()
        network.cut_after(TO_SERVER, 0)
        with trio.move_on_after(5):
            await client.publish("lost", b"", 1)
        await client.wait_connected()
        assert network.cuts == 1
        payloads = [(await client.receive()).payload for _ in range(4)]
        async with connect("mqtt://past") as other:
            await other.publish("t", b"end", 1)
        assert (await client.receive()).payload == b"end"
        assert payloads == [b"1", b"2", b"1", b"2"]


def test_the_network_of_these_tests_counts() -> None:
    network = Network()
    network.cut_after(TO_SERVER, 3)
    assert network.pass_through(TO_SERVER, b"ab") == (b"ab", False)
    assert network.pass_through(TO_CLIENT, b"xyz") == (b"xyz", False)
    assert network.pass_through(TO_SERVER, b"cd") == (b"c", True)
    assert network.cuts == 1
