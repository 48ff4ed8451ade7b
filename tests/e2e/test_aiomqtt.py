"""The broker through aiomqtt, and with hundreds of clients at once."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import aiomqtt
import pytest
from aiomqtt import Client, ProtocolVersion
from e2e.process import DEADLINE, BrokerProcess

every_version = pytest.mark.parametrize(
    "version", [ProtocolVersion.V31, ProtocolVersion.V311, ProtocolVersion.V5], ids=["3.1", "3.1.1", "5"]
)


def run(main: Coroutine[Any, Any, None], seconds: float = DEADLINE) -> None:
    """Run a coroutine to its end, under a deadline."""
    asyncio.run(asyncio.wait_for(main, seconds))


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_and_receive(broker: BrokerProcess, topic: str, qos: int, version: ProtocolVersion) -> None:
    async def main() -> None:
        async with Client(broker.host, broker.port, protocol=version) as client:
            await client.subscribe(topic + "/#", qos)
            for number in range(20):
                await client.publish(f"{topic}/{number}", str(number), qos)
            for number in range(20):
                message = await anext(client.messages)
                assert (str(message.topic), message.payload) == (f"{topic}/{number}", str(number).encode())
                assert message.qos == qos
            await client.unsubscribe(topic + "/#")

    run(main())


@every_version
def test_will(broker: BrokerProcess, topic: str, version: ProtocolVersion) -> None:
    async def main() -> None:
        async with Client(broker.host, broker.port, protocol=version) as watcher:
            await watcher.subscribe(topic, 1)
            name = topic[-16:]
            will = aiomqtt.Will(topic, b"gone", qos=1)
            # The second client of the same name takes over, and the first one's will is sent.
            async with (
                Client(broker.host, broker.port, protocol=version, identifier=name, will=will),
                Client(broker.host, broker.port, protocol=version, identifier=name),
            ):
                assert (await anext(watcher.messages)).payload == b"gone"

    run(main())


def test_two_hundred_clients_at_once(broker: BrokerProcess, topic: str) -> None:
    """All connect together; each writes to its neighbour and hears what is written to all."""
    count = 200

    async def main() -> None:
        subscribed = asyncio.Barrier(count)
        received = asyncio.Barrier(count)

        async def one(number: int) -> None:
            version = [ProtocolVersion.V31, ProtocolVersion.V311, ProtocolVersion.V5][number % 3]
            async with Client(broker.host, broker.port, protocol=version, timeout=DEADLINE) as client:
                await client.subscribe([(f"{topic}/{number}", 1), (f"{topic}/all", 0)])
                await subscribed.wait()
                await client.publish(f"{topic}/{(number + 1) % count}", str(number), 1)
                if number == 0:
                    await client.publish(f"{topic}/all", "all", 1)
                payloads = {(await anext(client.messages)).payload for _ in range(2)}
                assert payloads == {b"all", str((number - 1) % count).encode()}
                await received.wait()

        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(one(number))

    run(main(), 3 * DEADLINE)
