"""Subscriptions with messages of their own, requests and responses, authentication in steps."""

from typing import Any

import pytest
import trio
import trio.testing
from client.cutting import broker_behind
from client.scripted_server import connected, on_mock_clock
from noctule.auth.scram import ScramCredential, derive_credential
from noctule.auth.scram import ScramSha256 as ScramOfBroker
from noctule.client import (
    AuthenticationError,
    DisconnectedError,
    NoAnswerError,
    RefusedError,
    ScramSha256,
    SubscriptionRefusedError,
    connect,
    filter_matches,
)
from noctule.client.mailbox import MESSAGE_BUFFER, MESSAGE_BUFFER_MAXIMUM
from noctule.protocol import Connack


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/b", "a", False),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("+/b", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("+", "", True),
        ("/+", "/a", True),
        ("a//b", "a//b", True),
        ("a/+/b", "a//b", True),
        ("$share/g/a/+", "a/b", True),
        ("$share/g/a/+", "b", False),
    ],
)
def test_filters(topic_filter: str, topic: str, expected: bool) -> None:
    assert filter_matches(topic_filter, topic) is expected


@pytest.mark.parametrize("version", [4, 5])
@on_mock_clock
async def test_each_subscription_gets_its_own(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        broker_behind(monkeypatch),
        connect("mqtt://past", version=version) as client,
        connect("mqtt://past") as other,
    ):
        await client.subscribe("rest")
        async with client.subscription("a/#", 1) as of_a, client.subscription(["b", "c"], 2) as of_b:
            assert (of_a.reason_codes, of_b.reason_codes) == ((1,), (2, 2))
            for topic in ("rest", "c", "a/1", "b", "a"):
                await other.publish(topic, topic.encode(), 2)
            assert [(await of_a.receive()).topic, (await of_a.receive()).topic] == ["a/1", "a"]
            assert [(await of_b.receive()).topic, (await of_b.receive()).topic] == ["c", "b"]
            assert (await client.receive()).topic == "rest"
        await other.publish("a/2", b"", 1)  # nobody has subscribed any more
        await other.publish("rest", b"end", 1)
        assert (await client.receive()).payload == b"end"


@on_mock_clock
async def test_overlapping_subscriptions_are_told_apart_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        broker_behind(monkeypatch),
        connect("mqtt://past") as client,
        client.subscription("a/#", 2) as wide,
        client.subscription("a/b", 2) as narrow,
    ):
        await client.publish("a/b", b"both", 2)
        await client.publish("a/c", b"one", 2)
        assert [(await wide.receive()).payload, (await wide.receive()).payload] == [b"both", b"one"]
        assert (await narrow.receive()).payload == b"both"
        assert len(narrow.mailbox) == 0


@on_mock_clock
async def test_what_is_left_at_the_end_of_the_block_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """More messages than may be unacknowledged: they must not stay so for ever."""
    async with broker_behind(monkeypatch), connect("mqtt://past", receive_maximum=3) as client:
        for _ in range(3):
            async with client.subscription("t", 1), connect("mqtt://past") as other:
                for number in range(3):
                    await other.publish("t", b"%d" % number, 1)
        async with client.subscription("t", 1) as messages:
            await client.publish("t", b"end", 1)
            assert (await messages.receive()).payload == b"end"


@on_mock_clock
async def test_a_subscription_that_is_refused() -> None:
    async def subscribe(client: Any) -> None:
        async with client.subscription(["a", "b"]):
            pytest.fail("subscribed")

    async with connected(4) as (client, server), trio.open_nursery() as nursery:

        async def refuse() -> None:
            await server.packet()
            await server.send(b"\x90\x04\x00\x01\x00\x80")
            assert (await server.packet())[0] == 0xA2  # and gives up the one that was granted

        nursery.start_soon(refuse)
        with pytest.raises(SubscriptionRefusedError, match="to b"):
            await subscribe(client)


@on_mock_clock
async def test_a_subscription_ends_with_the_connection() -> None:
    async def consume(client: Any) -> None:
        async with client.subscription("t") as messages:
            async for _ in messages:
                pytest.fail("a message")

    async with connected(4) as (client, server), trio.open_nursery() as nursery:

        async def act() -> None:
            await server.packet()
            await server.send(b"\x90\x03\x00\x01\x00")
            await trio.testing.wait_all_tasks_blocked()
            await server.close()

        nursery.start_soon(act)
        with pytest.raises(DisconnectedError):
            await consume(client)


@on_mock_clock
async def test_a_full_row_stops_the_reading_whoever_waits() -> None:
    """Up to a limit messages are taken while a caller waits for an answer behind them; a flood is not."""
    async with connected(4, timeout_s=5, keep_alive_s=0) as (client, server):
        count = MESSAGE_BUFFER_MAXIMUM + 500
        await server.send(b"\x30\x04\x00\x01tx" * count)
        await server.send(b"\x40\x02\x00\x01")
        await trio.testing.wait_all_tasks_blocked()
        assert len(client._session.mailbox) <= MESSAGE_BUFFER
        with pytest.raises(NoAnswerError):
            await client.publish("t", b"", 1)
        assert len(client._session.mailbox) == MESSAGE_BUFFER_MAXIMUM
        for _ in range(count):
            await client.receive()


# Requests


@on_mock_clock
async def test_requests_and_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(client: Any, task_status: Any) -> None:
        async with client.subscription("service/+") as requests:
            task_status.started()
            held = []
            async for request in requests:
                held.append(request)
                if len(held) == 3:  # answered the other way round
                    for one in reversed(held):
                        await client.respond(one, one.payload.upper(), 1, content_type="text")

    answers: dict[bytes, Any] = {}

    async def ask(client: Any, payload: bytes) -> None:
        answers[payload] = await client.request("service/upper", payload, 1)

    async with (
        broker_behind(monkeypatch),
        connect("mqtt://past") as server,
        connect("mqtt://past") as client,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(lambda task_status: answer(server, task_status))
        async with trio.open_nursery() as asking:
            for payload in (b"a", b"b", b"c"):
                asking.start_soon(ask, client, payload)
        nursery.cancel_scope.cancel()
    assert {payload: message.payload for payload, message in answers.items()} == {b"a": b"A", b"b": b"B", b"c": b"C"}
    assert answers[b"a"].content_type == "text"


@on_mock_clock
async def test_a_request_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with broker_behind(monkeypatch), connect("mqtt://past") as client:
        began_at = trio.current_time()
        with pytest.raises(NoAnswerError, match="response from nobody"):
            await client.request("nobody", b"", timeout_s=3)
        assert trio.current_time() - began_at == pytest.approx(3)


@on_mock_clock
async def test_requests_need_version_5() -> None:
    async with connected(4) as (client, _):
        with pytest.raises(ValueError, match="version 5"):
            await client.request("t")


@on_mock_clock
async def test_a_message_that_wants_no_response_gets_none() -> None:
    async with connected() as (client, server):
        await server.send(b"\x30\x05\x00\x01t\x00x")
        with pytest.raises(ValueError, match="no Response Topic"):
            await client.respond(await client.receive())


@on_mock_clock
async def test_responses_come_where_the_server_says() -> None:
    async with connected(connack=Connack(response_information="replies/7/"), timeout_s=1) as (client, server):
        with pytest.raises(NoAnswerError):
            await client.request("t")
        assert b"replies/7/" in await server.packet()


# Enhanced authentication


class Users(dict[str, ScramCredential]):
    def find(self, user_name: str) -> ScramCredential | None:
        return self.get(user_name)


USERS = Users(ada=derive_credential("right", 4096, b"salt" * 4))


@on_mock_clock
async def test_scram(monkeypatch: pytest.MonkeyPatch) -> None:
    method = ScramOfBroker(USERS)
    async with broker_behind(monkeypatch) as (broker, network):
        broker.state.authentication_methods = {method.name: method}
        async with connect("mqtt://cut", authentication=lambda: ScramSha256("ada", "right")) as client:
            await client.reauthenticate()
            network.cut_after("to the server", 0)
            await client.publish("lost")
            await trio.sleep(5)
            assert (network.cuts, client.is_connected) == (1, True)
            await client.reauthenticate()
        for user, password in (("ada", "wrong"), ("eve", "right")):
            with pytest.raises(RefusedError):
                async with connect("mqtt://past", authentication=lambda u=user, p=password: ScramSha256(u, p)):  # type: ignore[misc]
                    pytest.fail("connected")


@on_mock_clock
async def test_a_server_that_does_not_know_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says yes to everybody; the client says no to it."""

    class Careless(ScramSha256):
        async def respond(self, data: bytes | None) -> bytes:
            self._seen = await super().respond(data)
            return self._seen

        async def finish(self, data: bytes | None) -> None:
            await super().finish(b"v=" + b"A" * 44)

    method = ScramOfBroker(USERS)
    async with broker_behind(monkeypatch) as (broker, _):
        broker.state.authentication_methods = {method.name: method}
        with pytest.raises(AuthenticationError, match="does not prove"):
            async with connect("mqtt://past", authentication=lambda: Careless("ada", "right")):
                pytest.fail("connected")


@on_mock_clock
async def test_without_a_method_there_is_nothing_to_repeat() -> None:
    async with connected() as (client, _):
        with pytest.raises(ValueError, match="no method"):
            await client.reauthenticate()
