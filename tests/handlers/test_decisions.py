"""Decisions that are waited for: what goes on meanwhile, what does not, and what counts as no."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from handlers.direct_links import DirectBroker
from net.stream_clients import LOOPBACK, PINGREQ, PINGRESP, V5, RunningBroker, StreamClient, run_mocked
from noctule._speedups.codec import encode_publish
from noctule._speedups.link import Link
from noctule.app import HAS_REACTOR, Broker
from noctule.config.settings import Carrier, Limits, Settings
from noctule.core.authentication import AuthContinue, AuthenticationMethod, AuthSuccess, Claimant
from noctule.protocol import (
    Auth,
    Connack,
    Connect,
    Subscribe,
    SubscriptionRequest,
    Will,
    decode_auth,
    decode_connack,
    decode_disconnect,
    encode_auth,
    encode_connect,
    encode_subscribe,
)

METHOD = "SLOW"
AGAIN = encode_auth(Auth(0x19, METHOD), V5)
CONTINUE = encode_auth(Auth(0x18, METHOD), V5)
YES = AuthSuccess("ann")

carriers = pytest.mark.parametrize(
    "carrier",
    [
        None,
        Carrier.STREAMS,
        pytest.param(Carrier.REACTOR, marks=pytest.mark.skipif(not HAS_REACTOR, reason="there is no epoll here")),
    ],
    ids=["memory", "streams", "reactor"],
)


def connect(client_id: str = "c", **fields: Any) -> bytes:
    return encode_connect(Connect(V5, client_id, authentication_method=METHOD, **fields))


class AwaitedMethod:
    """Every step awaits ``step(data)``."""

    name = METHOD

    def __init__(self, step: Callable[[bytes | None], Awaitable[object]]) -> None:
        self._step = step

    def start(self, claimant: Claimant) -> "AwaitedMethod":
        return self

    def step(self, data: bytes | None) -> Any:
        return self._step(data)


class Gate:
    """A method whose steps wait until the test opens the gate."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers) or [YES]
        self.event = trio.Event()
        self.waiting = 0
        self.cancelled = 0

    async def step(self, data: bytes | None) -> object:
        self.waiting += 1
        try:
            await self.event.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        return self.answers.pop(0)

    async def reached(self, count: int = 1) -> None:
        while self.waiting != count:
            await trio.testing.wait_all_tasks_blocked(0.001)


@asynccontextmanager
async def running(
    step: Callable[[bytes | None], Awaitable[object]], carrier: Carrier | None = None, **limits: Any
) -> AsyncIterator[RunningBroker]:
    method: AuthenticationMethod = AwaitedMethod(step)
    settings = Settings(() if carrier is None else (LOOPBACK,), Limits(**limits), carrier)
    broker = Broker(settings, authentication_methods=[method])
    streams: list[trio.abc.Stream] = []
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.run)
            yield RunningBroker(broker, nursery, streams)
            for stream in streams:
                await trio.aclose_forcefully(stream)
            broker.stop()
    finally:
        for stream in streams:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
    assert not broker.state.links
    assert not len(decisions_of(broker))


def decisions_of(broker: Broker) -> Any:
    return broker._dispatcher.decisions


def received(world: RunningBroker) -> int:
    """How many bytes the broker has read from its clients."""
    count: int = world.broker.state.plane.counts["bytes_received"]
    return count


async def connack_of(client: StreamClient) -> Connack:
    first, body = await client.receive()
    return decode_connack(body, V5, first)


def test_what_is_awaited_comes_in_its_order() -> None:
    """DESIGN.md 2, point 5: nothing behind CONNECT is looked at before it is decided, and nothing is lost."""

    async def main(carrier: Carrier | None) -> None:
        gate = Gate()
        async with running(gate.step, carrier) as world:
            client = await world.open()
            publishes = [encode_publish(b"t", b"%d" % number, 5) for number in range(50)]
            subscribe = encode_subscribe(Subscribe(1, (SubscriptionRequest("t"),)), V5)
            packet = connect()
            await client.send(packet[:5])
            await client.send(packet[5:], subscribe, *publishes[:20])
            await gate.reached()
            await client.send(*publishes[20:], PINGREQ)
            other = await world.connect("other")
            await other.ping()
            assert len(world.broker.state.sessions) == 1
            gate.event.set()
            packets = [await client.receive() for _ in range(53)]
            assert [first for first, _ in packets] == [0x20, 0x90, *[0x30] * 50, 0xD0]
            assert [body[4:] for first, body in packets if first == 0x30] == [b"%d" % number for number in range(50)]

    trio.run(main, None)
    trio.run(main, Carrier.STREAMS)
    if HAS_REACTOR:
        trio.run(main, Carrier.REACTOR)


@carriers
def test_a_client_that_is_not_listened_to_is_not_read_without_end(carrier: Carrier | None) -> None:
    """R1: a stranger whose decision takes its time cannot fill our memory meanwhile."""

    async def main() -> None:
        gate = Gate()
        async with running(gate.step, carrier) as world, trio.open_nursery() as nursery:
            client = await world.open()
            await client.send(connect())
            await gate.reached()
            other = await world.connect("other")
            before = received(world)
            flood = encode_publish(b"t", bytes(60_000), 5)
            nursery.start_soon(client.send, flood * (100 if carrier is None else 500), PINGREQ)
            last = -1
            while last != received(world):
                last = received(world) + 20 * len(PINGREQ)
                for _ in range(20):
                    await other.ping()
            assert received(world) - before < 400_000
            gate.event.set()
            assert (await connack_of(client)).reason_code == 0
            assert await client.receive() == PINGRESP

    trio.run(main)


def test_the_answer_has_a_deadline() -> None:
    async def main() -> None:
        gate = Gate()
        async with running(gate.step, decision_timeout_s=3, connect_timeout_s=10) as world:
            old = await world.connect("c")
            client = await world.open()
            await client.send(connect(will=Will("w", b"p")), PINGREQ)
            started_at = trio.current_time()
            assert (await connack_of(client)).reason_code == 0x87
            assert trio.current_time() - started_at == pytest.approx(3)
            assert await client.until_end() == []
            counts = decisions_of(world.broker).counts
            assert (counts.late, counts.failed, counts.unanswered, gate.cancelled) == (1, 0, 0, 1)
            await old.ping()
            assert len(world.broker.state.sessions) == 1

    run_mocked(main)


def test_an_answer_that_ignores_the_deadline_is_no_answer() -> None:
    async def step(data: bytes | None) -> object:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return YES

    async def main() -> None:
        async with running(step) as world:
            client = await world.open()
            await client.send(connect())
            assert (await connack_of(client)).reason_code == 0x87
            assert decisions_of(world.broker).counts.late == 1

    run_mocked(main)


@pytest.mark.parametrize(
    ("answer", "failed", "unanswered"), [(ValueError("x"), 1, 0), (None, 0, 1), (7, 0, 0)], ids=str
)
def test_what_is_awaited_and_is_no_yes_is_a_no(answer: object, failed: int, unanswered: int) -> None:
    async def step(data: bytes | None) -> object:
        await trio.sleep(1)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def main() -> None:
        async with running(step) as world:
            client = await world.open()
            await client.send(connect())
            assert (await connack_of(client)).reason_code == 0x87
            counts = decisions_of(world.broker).counts
            assert (counts.failed, counts.late, counts.unanswered) == (failed, 0, unanswered)
            assert len(world.broker.state.sessions) == 0
            await (await world.connect("other")).ping()

    run_mocked(main)


def test_errors_that_come_in_groups_are_errors() -> None:
    """A method that opens a nursery raises a group; the broker goes on."""

    async def step(data: bytes | None) -> object:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyError("x")

    async def main() -> None:
        async with running(step) as world:
            client = await world.open()
            await client.send(connect())
            assert (await connack_of(client)).reason_code == 0x87
            assert decisions_of(world.broker).counts.failed == 1

    run_mocked(main)


def test_a_link_that_ends_meanwhile_needs_no_answer() -> None:
    """The deadline of CONNECT comes first: whoever was asked is cancelled, and counted as nothing."""

    async def main() -> None:
        gate = Gate()
        async with running(gate.step, connect_timeout_s=4, decision_timeout_s=60) as world:
            client = await world.open()
            await client.send(connect())
            assert (await connack_of(client)).reason_code == 0x87
            assert trio.current_time() == pytest.approx(4)
            assert await client.until_end() == []
            await trio.testing.wait_all_tasks_blocked()
            assert gate.cancelled == 1
            assert not len(decisions_of(world.broker))
            counts = decisions_of(world.broker).counts
            assert (counts.failed, counts.late, counts.unanswered) == (0, 0, 0)

    run_mocked(main)


@carriers
def test_a_client_that_goes_meanwhile_leaves_nothing(carrier: Carrier | None) -> None:
    async def main() -> None:
        gate = Gate()
        async with running(gate.step, carrier) as world:
            watching = await world.connect("watching")
            await watching.subscribe("w")
            client = await world.open()
            await client.send(connect())
            await gate.reached()
            await client.stream.aclose()
            await watching.ping()
            gate.event.set()
            while len(world.broker.state.links) > 1:
                await trio.testing.wait_all_tasks_blocked(0.001)
            assert len(world.broker.state.sessions) == 1
            await watching.ping()

    trio.run(main)


@pytest.mark.skipif(not HAS_REACTOR, reason="there is no epoll here")
def test_a_connection_that_is_reset_meanwhile_is_noticed() -> None:
    async def main() -> None:
        gate = Gate()
        async with running(gate.step, Carrier.REACTOR, decision_timeout_s=60) as world:
            client = await world.open()
            await client.send(connect())
            await gate.reached()
            assert isinstance(client.stream, trio.SocketStream)
            client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            await client.stream.aclose()
            while world.broker.state.links:
                await trio.testing.wait_all_tasks_blocked(0.001)
            await gate.reached(0)
            assert gate.cancelled == 1
            assert len(world.broker.state.sessions) == 0

    trio.run(main)


def test_the_broker_stops_meanwhile() -> None:
    """Before CONNACK the end is told with one, not with DISCONNECT [MQTT-3.14.0-1]."""

    async def main() -> None:
        gate = Gate()
        async with running(gate.step) as world:
            client = await world.open()
            await client.send(connect())
            await gate.reached()
            world.broker.stop()
            assert (await connack_of(client)).reason_code == 0x88
            assert await client.until_end() == []
        assert gate.cancelled == 1

    run_mocked(main)


def test_authenticating_again_holds_up_what_the_client_sends_and_nothing_else() -> None:
    """4.12.1: deliveries go on, and who is not listened to is not silent [MQTT-3.1.2-22]."""

    async def main() -> None:
        gate = Gate(YES, YES)
        gate.event.set()
        async with running(gate.step, decision_timeout_s=30) as world:
            client = await world.open()
            await client.send(connect(keep_alive_s=2))
            assert (await connack_of(client)).reason_code == 0
            await client.subscribe("t")
            gate.event = trio.Event()
            await client.send(AGAIN, PINGREQ)
            await gate.reached()
            other = await world.connect("other")
            for number in range(10):
                await trio.sleep(2)
                await other.publish("t", b"%d" % number)
                assert (await client.receive_publish()).payload == b"%d" % number
            gate.event.set()
            first, body = await client.receive()
            assert decode_auth(body, V5, first).reason_code == 0
            assert await client.receive() == PINGRESP
            with trio.fail_after(5):
                first, body = await client.receive()  # nothing more from the client: now it is silent
            assert decode_disconnect(body, V5, first, from_server=True).reason_code == 0x8D

    run_mocked(main)


def test_a_connection_that_is_taken_over_meanwhile_stays_taken_over() -> None:
    async def main() -> None:
        gate = Gate(YES, YES)
        gate.event.set()
        async with running(gate.step) as world:
            old = await world.open()
            await old.send(connect())
            await old.receive()
            gate.event = trio.Event()
            await old.send(AGAIN)
            await gate.reached()
            new = await world.connect("c", user_name="ann")
            first, body = await old.receive()
            assert decode_disconnect(body, V5, first, from_server=True).reason_code == 0x8E
            gate.event.set()
            assert await old.until_end() == []
            await new.ping()

    run_mocked(main)


def test_many_wait_at_once() -> None:
    """Each client waits for its own answer alone."""

    async def main() -> None:
        gate = Gate(*[YES] * 200)
        async with running(gate.step) as world:
            clients = [await world.open() for _ in range(200)]
            for number, client in enumerate(clients):
                await client.send(connect(f"c{number}"))
            await gate.reached(200)
            assert len(decisions_of(world.broker)) == 200
            await (await world.connect("other")).ping()
            gate.event.set()
            for client in clients:
                assert (await connack_of(client)).reason_code == 0

    run_mocked(main)


def test_steps_that_are_awaited_one_after_the_other() -> None:
    async def main() -> None:
        gate = Gate(AuthContinue(b"1"), AuthContinue(b"2"), YES)
        gate.event.set()
        async with running(gate.step) as world:
            client = await world.open()
            await client.send(connect(), CONTINUE, CONTINUE, PINGREQ)
            packets = [await client.receive() for _ in range(4)]
            assert [first for first, _ in packets] == [0xF0, 0xF0, 0x20, 0xD0]

    run_mocked(main)


# --- the mechanism by itself ---


async def some_answer() -> int:
    return 7


def test_without_a_broker_that_runs_nothing_can_be_waited_for() -> None:
    broker = DirectBroker()
    client = broker.open()
    found: list[int | None] = []
    broker.dispatcher.decisions.ask(client.link, "somebody", some_answer, found.append)
    assert found == [None]
    assert not client.link.is_paused
    assert broker.dispatcher.decisions.counts.failed == 1


def test_what_is_known_at_once_is_used_at_once() -> None:
    broker = DirectBroker()
    client = broker.open()
    found: list[int | None] = []
    broker.dispatcher.decisions.ask(client.link, "somebody", lambda: 7, found.append)
    broker.dispatcher.decisions.ask(client.link, "somebody", lambda: False, found.append)
    assert found == [7, False]
    assert not client.link.is_paused


class NoTurns:
    def begin_turn(self) -> None: ...

    def end_turn(self) -> None: ...


def test_what_goes_wrong_with_the_answer_closes_the_link() -> None:
    async def main() -> None:
        broker = DirectBroker()
        client = broker.open()
        decisions = broker.dispatcher.decisions
        async with trio.open_nursery() as nursery:
            decisions.wait_in(nursery, NoTurns())
            decisions.ask(client.link, "somebody", some_answer, lambda answer: 1 // 0)
            assert client.link.is_paused
            with pytest.raises(RuntimeError):
                await_again(broker, client.link)
        assert client.is_closed
        assert not len(decisions)

    def await_again(broker: DirectBroker, link: Link) -> None:
        awaited = some_answer()
        try:
            broker.dispatcher.decisions.ask(link, "somebody", lambda: awaited, lambda answer: None)
        finally:
            awaited.close()

    trio.run(main)


def test_one_answer_may_lead_to_the_next_question() -> None:
    """The link stays paused until the last of them is there."""

    async def main() -> None:
        broker = DirectBroker()
        client = broker.open()
        decisions = broker.dispatcher.decisions
        found: list[tuple[int | None, bool]] = []

        def first(answer: int | None) -> None:
            found.append((answer, client.link.is_paused))
            decisions.ask(client.link, "another", some_answer, second)

        def second(answer: int | None) -> None:
            found.append((answer, client.link.is_paused))

        async with trio.open_nursery() as nursery:
            decisions.wait_in(nursery, NoTurns())
            decisions.ask(client.link, "somebody", some_answer, first)
        assert found == [(7, True), (7, True)]
        assert not client.link.is_paused

    trio.run(main)


def test_decisions_that_fail_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """R20"""
    broker = DirectBroker()
    for _ in range(100):
        broker.dispatcher.decisions.ask(broker.open().link, "somebody", lambda: 1 // 0, lambda answer: None)
    assert len(caplog.records) == 5
    assert all(record.exc_info for record in caplog.records)
    assert broker.dispatcher.decisions.counts.failed == 100


def test_the_turn_ends_for_an_answer_that_is_waited_for() -> None:
    """A turn that lingers would keep the task from running that has just been started."""

    async def step(data: bytes | None) -> object:
        await trio.lowlevel.checkpoint()
        return YES

    async def main() -> None:
        async with running(step) as world:
            ended: list[bool] = []
            world.broker._dispatcher.decisions.end_turn_soon = lambda: ended.append(True)
            other = await world.connect("other")
            await other.ping()
            assert ended == []
            client = await world.open()
            await client.send(connect())
            assert (await client.receive())[0] == 0x20
            assert ended == [True]

    run_mocked(main)
