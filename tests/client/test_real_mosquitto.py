"""The client and Eclipse Mosquitto, through a network on loopback that breaks at every byte of a flow of QoS 2."""

import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
from client.cutting import TO_CLIENT, TO_SERVER, Network, carry
from noctule.client import Reconnect, connect

pytestmark = [
    pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs mosquitto"),
    pytest.mark.timeout(60),
]

AT_ONCE = Reconnect(first_delay_s=0.01, maximum_delay_s=0.05)
FLOW_BYTES = 16
PLACES = [(direction, count) for direction in (TO_SERVER, TO_CLIENT) for count in range(FLOW_BYTES)]


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """A mosquitto: the port of MQTT and that of WebSocket."""
    with socket.socket() as one, socket.socket() as other:  # mosquitto cannot have the system choose
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        plain, websocket = one.getsockname()[1], other.getsockname()[1]
    file = tmp_path_factory.mktemp("mosquitto") / "mosquitto.conf"
    file.write_text(
        f"allow_anonymous true\nlistener {plain} 127.0.0.1\nlistener {websocket} 127.0.0.1\nprotocol websockets\n"
    )
    with subprocess.Popen(
        ["mosquitto", "-c", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "running" in line:
                break
        yield plain, websocket
        process.terminate()


@asynccontextmanager
async def breaking(port: int) -> AsyncIterator[tuple[str, Network]]:
    """The URL of a way to the port that can be cut."""
    network = Network()

    async def handle(near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", port)
        await carry(network, near, far)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, handle, 0)
        yield f"mqtt://127.0.0.1:{listeners[0].socket.getsockname()[1]}", network
        nursery.cancel_scope.cancel()


def options(version: int, name: str) -> dict[str, object]:
    return {
        "version": version,
        "client_id": name,
        "clean_start": version == 5,
        "timeout_s": 10,
        "reconnect": AT_ONCE,
    }


@pytest.mark.parametrize("version", [4, 5])
def test_publishing_over_cuts(version: int, ports: tuple[int, int]) -> None:
    """Each of the messages is cut at another place; each comes exactly once."""
    received: list[int] = []

    async def main() -> None:
        async with (
            breaking(ports[0]) as (url, network),
            connect(f"mqtt://127.0.0.1:{ports[0]}") as reader,
            reader.subscription(f"cut/{version}", 2) as messages,
            connect(url, **options(version, f"w{version}")) as writer,  # type: ignore[arg-type]
        ):
            for number, (direction, count) in enumerate(PLACES):
                network.cut_after(direction, count)
                assert await writer.publish(f"cut/{version}", b"%d" % number, 2) in (0, 0x10)
                network.mend()
            assert network.cuts >= 20
            for _ in PLACES:
                received.append(int((await messages.receive()).payload))
            await writer.publish(f"cut/{version}", b"-1", 2)
            assert (await messages.receive()).payload == b"-1"

    trio.run(main)
    assert received == list(range(len(PLACES)))


@pytest.mark.parametrize("version", [4, 5])
def test_receiving_over_cuts(version: int, ports: tuple[int, int]) -> None:
    received: list[int] = []

    async def main() -> None:
        topic = f"received/{version}"
        async with (
            breaking(ports[0]) as (url, network),
            connect(url, **options(version, f"r{version}")) as reader,  # type: ignore[arg-type]
            connect(f"mqtt://127.0.0.1:{ports[0]}") as writer,
        ):
            await reader.subscribe(topic, 2)
            for number, (direction, count) in enumerate(PLACES):
                network.cut_after(direction, count)
                await writer.publish(topic, b"%d" % number, 2)
                received.append(int((await reader.receive()).payload))
                # Something that is answered at last shows that the flow before it has gone to its end.
                await reader.publish("nobody/hears/it", b"", 1)
                network.mend()
            assert network.cuts >= 20
            await writer.publish(topic, b"-1", 2)
            assert (await reader.receive()).payload == b"-1"

    trio.run(main)
    assert received == list(range(len(PLACES)))


@pytest.mark.parametrize("version", [3, 4, 5])
def test_over_websocket(version: int, ports: tuple[int, int]) -> None:
    async def main() -> None:
        url = f"ws://127.0.0.1:{ports[1]}"
        async with (
            connect(url, version=version, client_id=f"ws{version}") as client,
            client.subscription("ws/#", 2) as messages,
        ):
            await client.publish("ws/1", bytes(100_000), 2)
            assert len((await messages.receive()).payload) == 100_000

    trio.run(main)


def test_requests(ports: tuple[int, int]) -> None:
    async def main() -> None:
        url = f"mqtt://127.0.0.1:{ports[0]}"
        async with connect(url) as server, connect(url) as client, trio.open_nursery() as nursery:

            async def answer(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
                async with server.subscription("ask") as requests:
                    task_status.started()
                    async for request in requests:
                        await server.respond(request, request.payload * 2)

            await nursery.start(answer)
            assert (await client.request("ask", b"ab", 1)).payload == b"abab"
            nursery.cancel_scope.cancel()

    trio.run(main)
