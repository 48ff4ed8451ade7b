"""The broker through gmqtt, whose version 5 is its own: another reading of the specification than paho's."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import gmqtt
import pytest
from e2e.paho_client import V5, PahoClient, publish_properties
from e2e.process import DEADLINE, BrokerProcess
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

every_version = pytest.mark.parametrize("version", [MQTTv311, MQTTv50], ids=["3.1.1", "5"])


class Message(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    properties: dict[str, Any]


class GmqttClient:
    """gmqtt's client with its callbacks turned into things to await."""

    def __init__(self, client_id: str, **options: Any) -> None:
        self.gmqtt = gmqtt.Client(client_id, **options)
        # -1 is for ever, and 0 is once: what has been counted (0) is compared with "not more than".
        self.gmqtt.set_config({"reconnect_retries": -2})
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._acknowledged: asyncio.Queue[int] = asyncio.Queue()
        self.disconnected = asyncio.Event()
        self.gmqtt.on_message = self._on_message
        self.gmqtt.on_subscribe = lambda _client, mid, _codes, _properties: self._acknowledged.put_nowait(mid)
        self.gmqtt.on_unsubscribe = lambda _client, mid, _codes: self._acknowledged.put_nowait(mid)
        self.gmqtt.on_disconnect = lambda _client, _packet, _error=None: self.disconnected.set()

    def _on_message(
        self, _client: gmqtt.Client, topic: str, payload: bytes, qos: int, properties: dict[str, Any]
    ) -> int:
        self._messages.put_nowait(Message(topic, bytes(payload), qos, properties))
        return 0

    async def subscribe(self, topic: str, qos: int = 0) -> None:
        mid = self.gmqtt.subscribe(topic, qos)
        assert await self._acknowledged.get() == mid

    async def unsubscribe(self, topic: str) -> None:
        mid = self.gmqtt.unsubscribe(topic)
        assert await self._acknowledged.get() == mid

    async def receive(self) -> Message:
        return await self._messages.get()


@asynccontextmanager
async def connected(
    broker: BrokerProcess, client_id: str, version: int = MQTTv50, **options: Any
) -> AsyncIterator[GmqttClient]:
    client = GmqttClient(client_id, **options)
    await client.gmqtt.connect(broker.host, broker.port, version=version, keepalive=60)
    try:
        yield client
    finally:
        await client.gmqtt.disconnect()


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, DEADLINE))


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_and_receive(broker: BrokerProcess, topic: str, qos: int, version: int) -> None:
    async def main() -> None:
        async with connected(broker, topic[-20:], version) as client:
            await client.subscribe(topic, qos)
            for number in range(20):
                client.gmqtt.publish(topic, str(number), qos)
            for number in range(20):
                message = await client.receive()
                assert (message.topic, message.payload, message.qos) == (topic, str(number).encode(), qos)
            await client.unsubscribe(topic)

    run(main())


@every_version
def test_retained_and_cleared(broker: BrokerProcess, topic: str, version: int) -> None:
    async def main() -> None:
        async with connected(broker, topic[-20:], version) as client:
            client.gmqtt.publish(topic, "kept", 1, retain=True)
            await client.subscribe(topic, 1)
            message = await client.receive()
            assert message.payload == b"kept"
            assert message.properties["retain"] == 1
            client.gmqtt.publish(topic, "", 1, retain=True)
            assert (await client.receive()).payload == b""
            await client.unsubscribe(topic)
            await client.subscribe(topic, 1)
            client.gmqtt.publish(topic, "end", 1)
            assert (await client.receive()).payload == b"end"

    run(main())


def test_user_properties_keep_their_order(broker: BrokerProcess, topic: str) -> None:
    sent = [("b", "1"), ("a", "2"), ("b", "1"), ("ключ", "значение"), ("", "")]

    async def main() -> None:
        async with connected(broker, topic[-20:] + "1") as one, connected(broker, topic[-20:] + "2") as other:
            await other.subscribe(topic, 1)
            one.gmqtt.publish(topic, "x", 1, user_property=sent, content_type="text/plain", response_topic="back")
            properties = (await other.receive()).properties
            assert properties["user_property"] == sent
            assert properties["content_type"] == ["text/plain"]
            assert properties["response_topic"] == ["back"]

    run(main())


def test_user_properties_from_gmqtt_to_paho_and_back(broker: BrokerProcess, topic: str) -> None:
    sent = [("one", "1"), ("two", "2"), ("one", "3")]

    async def main(paho: PahoClient) -> None:
        async with connected(broker, topic[-20:]) as client:
            client.gmqtt.publish(topic, "to paho", 1, user_property=sent)
            received = await asyncio.to_thread(paho.receive)
            assert received.properties is not None
            # paho keeps properties as attributes that are not declared.
            assert getattr(received.properties, "UserProperty") == sent  # noqa: B009
            await client.subscribe(topic + "/back", 1)
            paho.publish(topic + "/back", "to gmqtt", 1, properties=publish_properties(UserProperty=sent))
            assert (await client.receive()).properties["user_property"] == sent

    with PahoClient(broker, V5) as paho:
        paho.subscribe((topic, 1))
        run(main(paho))


def test_will(broker: BrokerProcess, topic: str) -> None:
    async def main() -> None:
        will = gmqtt.Message(topic, "gone", qos=1)
        async with connected(broker, topic[-20:] + "w") as watcher:
            await watcher.subscribe(topic, 1)
            async with (
                connected(broker, topic[-20:], will_message=will) as first,
                connected(broker, topic[-20:]),
            ):
                await first.disconnected.wait()
                assert (await watcher.receive()).payload == b"gone"

    run(main())
