"""A broker with a gateway in the test's own trio run, and MQTT-SN clients over UDP on loopback.

A datagram to a loopback address is in the receiver's queue when ``sendto`` returns, so that trio's mock clock can be
used: nothing is on its way while it jumps.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from net.stream_clients import V5, StreamClient
from noctule.app import Broker
from noctule.config.mqtt_sn import MqttSnSettings
from noctule.config.settings import Limits, Settings
from noctule.net.mqtt_sn.gateway import Gateway
from noctule.net.mqtt_sn.messages import (
    Connack,
    Connect,
    Encapsulated,
    Message,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Regack,
    Register,
    Suback,
    Subscribe,
    TopicIdType,
)
from noctule.net.mqtt_sn.packets import decode, encode

#: How long to wait for what is not to come: the clock jumps.
A_WHILE_S = 1.0


class SnClient:
    """One socket, and what a client on it does; ``node_id``: behind a forwarder."""

    def __init__(self, port: int, socket: trio.socket.SocketType, node_id: bytes | None = None) -> None:
        self.socket = socket
        self.port = port
        self.node_id = node_id
        self.topics: dict[int, str] = {}

    def behind_it(self, node_id: bytes) -> "SnClient":
        """The socket is a forwarder: a node behind it."""
        return SnClient(self.port, self.socket, node_id)

    async def send(self, *messages: Message) -> None:
        for message in messages:
            datagram = encode(message)
            if self.node_id is not None:
                datagram = encode(Encapsulated(self.node_id, datagram))
            await self.send_bytes(datagram)

    async def send_bytes(self, datagram: bytes) -> None:
        await self.socket.sendto(datagram, ("127.0.0.1", self.port))

    async def receive_bytes(self) -> bytes:
        with trio.fail_after(100):
            datagram, _ = await self.socket.recvfrom(65_536)
        return datagram

    async def receive(self) -> Message:
        message = decode(await self.receive_bytes())
        if isinstance(message, Encapsulated):
            assert message.node_id == self.node_id
            return decode(message.message)
        assert self.node_id is None
        return message

    async def ask(self, message: Message) -> Message:
        await self.send(message)
        return await self.receive()

    async def nothing(self) -> bool:
        """Whether nothing comes for a while."""
        with trio.move_on_after(A_WHILE_S):
            await self.socket.recvfrom(65_536)
            return False
        return True

    async def connect(self, client_id: str = "dev", duration_s: int = 60, **fields: Any) -> "SnClient":
        assert await self.ask(Connect(client_id, duration_s, **fields)) == Connack(0)
        return self

    async def register(self, topic: str) -> int:
        answer = await self.ask(Register(0, 1, topic))
        assert isinstance(answer, Regack)
        assert answer.return_code == 0
        self.topics[answer.topic_id] = topic
        return answer.topic_id

    async def subscribe(self, topic_filter: str, qos: int = 0) -> None:
        answer = await self.ask(Subscribe(topic_filter, 2, qos))
        assert isinstance(answer, Suback)
        assert (answer.return_code, answer.qos) == (0, qos)
        if answer.topic_id:
            self.topics[answer.topic_id] = topic_filter

    async def receive_publish(self) -> tuple[str, Publish]:
        """The next message and its topic, with all that has to be answered for it."""
        while True:
            message = await self.receive()
            if isinstance(message, Register):
                self.topics[message.topic_id] = message.topic
                await self.send(Regack(message.topic_id, message.message_id, 0))
                continue
            assert isinstance(message, Publish), message
            break
        if message.qos == 1:
            await self.send(Puback(message.topic_id.number, message.message_id, 0))
        elif message.qos == 2:
            assert await self.ask(Pubrec(message.message_id)) == Pubrel(message.message_id)
            await self.send(Pubcomp(message.message_id))
        if message.topic_id.kind is TopicIdType.SHORT:
            return message.topic_id.short_name or "", message
        return self.topics[message.topic_id.number], message


class RunningGateway:
    """A broker with one gateway, in a nursery of the test's."""

    def __init__(self, broker: Broker, nursery: trio.Nursery) -> None:
        self.broker = broker
        self._nursery = nursery
        self._sockets: list[trio.socket.SocketType] = []
        self._streams: list[trio.abc.Stream] = []

    @property
    def gateway(self) -> Gateway:
        return self.broker.gateways[0]

    @property
    def port(self) -> int:
        return int(self.gateway.url.rpartition(":")[2])

    async def device(self, address: str = "127.0.0.1") -> SnClient:
        """A client with a socket of its own, on any of the loopback addresses."""
        socket = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        self._sockets.append(socket)
        await socket.bind((address, 0))
        return SnClient(self.port, socket)

    async def client(self, client_id: str = "watching", **fields: Any) -> StreamClient:
        """An MQTT client, connected."""
        near, far = trio.testing.memory_stream_pair()
        self._streams.append(near)
        self._nursery.start_soon(self.broker.serve_stream, far, "memory:1")
        client = StreamClient(near, V5)
        assert (await client.connect(client_id, **fields)).reason_code == 0
        return client

    async def close(self) -> None:
        for socket in self._sockets:
            socket.close()
        for stream in self._streams:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


@asynccontextmanager
async def running_gateway(
    *, limits: dict[str, Any] | None = None, broker: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[RunningGateway]:
    """A broker with one gateway on loopback; it is stopped at the end, and must have let go of everything."""
    made = Broker(
        Settings(
            (),
            Limits(**(limits or {})),
            mqtt_sn=(MqttSnSettings(port=0, **settings),),
            sys_interval_s=0,
            **(broker or {}),
        )
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        running = RunningGateway(made, nursery)
        try:
            yield running
        finally:
            made.stop()
            await trio.testing.wait_all_tasks_blocked()
            await running.close()
    assert not made.state.links
