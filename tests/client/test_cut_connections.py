"""Messages on a network that breaks: every point of a flow of QoS 1 and 2, both directions, and breaks in a row."""

import random
from collections import Counter
from typing import Any

import pytest
import trio
from client.cutting import TO_CLIENT, TO_SERVER, Network, broker_behind
from client.scripted_server import on_mock_clock
from noctule.client import Client, connect

DIRECTIONS = (TO_SERVER, TO_CLIENT)
versions = pytest.mark.parametrize("version", [4, 5])

#: The bytes of a whole flow with topic "t" and payload "x", in the version with properties: PUBLISH or PUBREL one
#: way, PUBREC and PUBCOMP the other. Cuts behind the end of a flow do no harm and are left out.
FLOW_BYTES = {1: 12, 2: 16}


def options(version: int) -> dict[str, Any]:
    """A client whose session outlives its connection."""
    return {"version": version, "client_id": "c", "clean_start": version == 5, "timeout_s": 100}


async def payloads_until_end(client: Client) -> list[bytes]:
    received = []
    async for message in client:
        if message.payload == b"end":
            return received
        received.append(message.payload)
    raise AssertionError("the client has left")


async def publish_through_cut(monkeypatch: Any, version: int, qos: int, direction: str, count: int) -> bool:
    """Publish one message over a connection that is cut after ``count`` bytes; whether it was cut at all."""
    async with broker_behind(monkeypatch) as (_, network), connect("mqtt://past") as reader:
        await reader.subscribe("t", 2)
        async with connect("mqtt://cut", **options(version)) as writer:
            network.cut_after(direction, count)
            assert await writer.publish("t", b"x", qos) == 0
            assert writer.is_connected
            network.mend()
        async with connect("mqtt://past") as other:
            await other.publish("t", b"end", 1)
        received = await payloads_until_end(reader)
        assert received == [b"x"] if qos == 2 else set(received) == {b"x"}, (direction, count)
        return network.cuts == 1


async def receive_through_cut(monkeypatch: Any, version: int, qos: int, direction: str, count: int) -> bool:
    """Receive one message over a connection that is cut after ``count`` bytes; whether it was cut at all."""
    async with broker_behind(monkeypatch) as (_, network), connect("mqtt://cut", **options(version)) as reader:
        await reader.subscribe("t", 2)
        network.cut_after(direction, count)
        async with connect("mqtt://past") as writer:
            await writer.publish("t", b"x", qos)
            first = await reader.receive()
            await trio.sleep(50)  # the flow goes to its end, over a new connection if need be
            network.mend()
            await writer.publish("t", b"end", qos)
        received = [first.payload, *await payloads_until_end(reader)]
        assert received == [b"x"] if qos == 2 else set(received) == {b"x"}, (direction, count)
        return network.cuts == 1


@versions
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("way", [publish_through_cut, receive_through_cut])
@on_mock_clock
async def test_every_point_of_a_flow(way: Any, qos: int, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = Counter[str]()
    for direction in DIRECTIONS:
        for count in range(FLOW_BYTES[qos]):
            with trio.fail_after(500):
                cuts[direction] += await way(monkeypatch, version, qos, direction, count)
    # PUBLISH has 6 bytes and the two of its identifier, an acknowledgement 4 each.
    assert min(cuts.values()) >= 4 * qos
    assert max(cuts.values()) >= 8 + 4 * (qos - 1)


@versions
@pytest.mark.parametrize("seed", range(10))
@on_mock_clock
async def test_breaks_in_a_row(seed: int, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred messages of QoS 2 over connections that break after 80 to 200 bytes: each comes once, and in order."""
    draw = random.Random(seed)

    def break_again(network: Network) -> None:
        network.mend()
        if network.cuts < 25:
            network.cut_after(draw.choice(DIRECTIONS), draw.randrange(80, 200))

    async with broker_behind(monkeypatch) as (_, network), connect("mqtt://cut", **options(version)) as client:
        network.when_cut = break_again
        await client.subscribe("t", 2)
        network.cut_after(TO_CLIENT, 10)
        received: list[bytes] = []

        async def publish_all() -> None:
            for number in range(100):
                await client.publish("t", b"%d" % number, 2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish_all)
            while len(received) < 100:
                received.append((await client.receive()).payload)
        assert received == [b"%d" % number for number in range(100)]
        assert network.cuts > 5
