"""The broker as a whole: starting, stopping, being cancelled, and two of them side by side."""

import gc
import socket
import sys
from contextlib import AsyncExitStack

import pytest
import trio
from net.stream_clients import LOOPBACK, StreamClient, dial, run_mocked
from noctule._speedups.link import Link
from noctule.app import HAS_REACTOR, Broker, QuietCollector
from noctule.config.settings import Carrier, Limits, ListenerSettings, Settings
from noctule.net.listeners import ListenError

CARRIERS = [Carrier.STREAMS, Carrier.REACTOR] if HAS_REACTOR else [Carrier.STREAMS]
every_carrier = pytest.mark.parametrize("carrier", CARRIERS, ids=lambda carrier: carrier.value)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_nothing_said_is_the_loopback_alone() -> None:
    """A1"""
    broker = Broker()
    assert broker.settings.listeners == (ListenerSettings("127.0.0.1", 1883),)
    assert broker.carrier is (Carrier.REACTOR if sys.platform.startswith("linux") else Carrier.STREAMS)


@every_carrier
def test_it_is_ready_when_every_listener_is_open(carrier: Carrier) -> None:
    async def main() -> None:
        broker = Broker(Settings((LOOPBACK, LOOPBACK), carrier=carrier))
        async with trio.open_nursery() as nursery:
            urls = await nursery.start(broker.run)
            assert urls == broker.urls
            assert len(set(urls)) == 2
            for number, url in enumerate(urls):
                async with await dial(url) as client:
                    await client.connect(str(number))
                    await client.send(b"\xe0\x00")
                    assert await client.until_end() == []
            broker.stop()
        assert all(is_free(port_of(url)) for url in urls)

    run_mocked(main)


@every_carrier
def test_a_listener_that_cannot_be_opened_leaves_none_open(carrier: Carrier) -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                free = probe.getsockname()[1]
            first = ListenerSettings("127.0.0.1", free)
            second = ListenerSettings("127.0.0.1", taken.getsockname()[1])
            with pytest.raises(ListenError):
                await Broker(Settings((first, second), carrier=carrier)).run()
            assert is_free(free)

    run_mocked(main)


@every_carrier
def test_being_cancelled_closes_everything(carrier: Carrier) -> None:
    async def main() -> None:
        broker = Broker(Settings((LOOPBACK,), carrier=carrier))
        async with trio.open_nursery() as outer:
            async with trio.open_nursery() as nursery:
                (url,) = await nursery.start(broker.run)
                clients = [await dial(url) for _ in range(3)]
                await clients[0].connect("c")
                await clients[1].connect("d")
                nursery.cancel_scope.cancel()
            assert not broker.state.links
            assert is_free(port_of(url))
            for client in clients:
                assert await client.until_end() == []
            outer.cancel_scope.cancel()

    run_mocked(main)


@every_carrier
def test_nobody_connects_to_a_broker_that_stops(carrier: Carrier) -> None:
    """A client that is told 0x8B and comes back at once must not wait for a broker that is about to go."""

    async def main() -> None:
        broker = Broker(Settings((LOOPBACK,), Limits(end_timeout_s=2, stop_timeout_s=5), carrier))
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(broker.run)
            async with await dial(url) as client:
                await client.connect("c")
                broker.stop()
                assert (await client.receive())[0] == 0xE0
                with pytest.raises(OSError, match="connect"):
                    async with await dial(url):
                        pass
                assert await client.until_end() == []

    run_mocked(main)


def test_stopping_before_it_runs_is_an_end_at_once() -> None:
    async def main() -> None:
        broker = Broker(Settings((LOOPBACK,)))
        broker.stop()
        with trio.fail_after(1):
            await broker.run()

    run_mocked(main)


@every_carrier
def test_two_brokers_side_by_side_share_nothing(carrier: Carrier) -> None:
    async def main() -> None:
        brokers = [Broker(Settings((LOOPBACK,), carrier=carrier)) for _ in range(2)]
        async with trio.open_nursery() as nursery:
            clients: list[StreamClient] = []
            for broker in brokers:
                (url,) = await nursery.start(broker.run)
                clients.append(await dial(url))
                await clients[-1].connect("the same name")
                await clients[-1].subscribe("t")
            await clients[0].publish("t", b"first's")
            assert (await clients[0].receive_publish()).payload == b"first's"
            await clients[1].ping()
            brokers[0].stop()
            assert [first for first, _ in await clients[0].until_end()] == [0xE0]
            await clients[1].ping()
            brokers[1].stop()
            assert [first for first, _ in await clients[1].until_end()] == [0xE0]

    run_mocked(main)


@every_carrier
def test_links_do_not_outlive_their_broker(carrier: Carrier) -> None:
    """Links are not the cyclic collector's business, so a cycle that is left behind would stay for good."""

    async def main() -> None:
        broker = Broker(Settings((LOOPBACK,), Limits(end_timeout_s=1, stop_timeout_s=2), carrier))
        links: list[Link] = []
        async with AsyncExitStack() as clients, trio.open_nursery() as nursery:
            (url,) = await nursery.start(broker.run)
            for number in range(3):
                client = await clients.enter_async_context(await dial(url))
                await client.connect(str(number))
            links.extend(broker.state.links)
            broker.stop()  # nobody closes: each link is closed at its deadline
        del broker
        gc.collect()
        references = [sys.getrefcount(links[i]) for i in range(3)]
        assert references == [2, 2, 2]  # the list's, and the call's own

    run_mocked(main)


def test_a_connection_over_a_stream_that_comes_late_is_refused() -> None:
    async def main() -> None:
        broker = Broker(Settings(()))
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.run)
            near, far = trio.testing.memory_stream_pair()
            nursery.start_soon(broker.serve_stream, far, "memory:1")
            client = StreamClient(near)
            await client.connect("c")
            broker.stop()
            assert (await client.receive())[0] == 0xE0
            late, far = trio.testing.memory_stream_pair()
            nursery.start_soon(broker.serve_stream, far, "memory:2")
            second = StreamClient(late)
            connack = await second.connect("d")
            assert connack.reason_code == 0x88
            assert await second.until_end() == []
            assert await client.until_end() == []

    run_mocked(main)


def test_the_quiet_collector_puts_back_what_it_found() -> None:
    before = gc.get_threshold()
    with QuietCollector():
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > 0
        assert gc.isenabled()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


@every_carrier
def test_clients_can_be_sent_to_another_server(carrier: Carrier) -> None:
    """4.11: DISCONNECT 0x9C with a Server Reference, in the version that has it."""

    async def main() -> None:
        broker = Broker(Settings((LOOPBACK,), carrier=carrier))
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(broker.run)
            async with await dial(url) as client:
                await client.connect("c")
                broker.stop("other.example:1883")
                assert await client.until_end() == [(0xE0, b"\x9c\x15\x1c\x00\x12other.example:1883")]

    run_mocked(main)
