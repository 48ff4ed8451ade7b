"""A plugin that carries MQTT in a way of its own, and one that keeps state."""

from collections.abc import Mapping

import pytest
import trio
from hooks.plugin_brokers import named
from net.stream_clients import V5, StreamClient
from noctule.api import ListenerSettings, MemoryStore, PluginError, ServeStream, Settings, Store, Transport, hookimpl
from noctule.app import Broker
from noctule.net.errors import ListenError


class OnLoopback:
    """Plain TCP again, but it says who its clients are."""

    def __init__(self, port: int = 0) -> None:
        self.port = port

    async def serve_listener(
        self, listener: ListenerSettings, serve: ServeStream, task_status: trio.TaskStatus[tuple[str, ...]]
    ) -> None:
        async def carry(stream: trio.SocketStream) -> None:
            await serve(stream, "somebody", address="192.0.2.7", user_name="ann")

        listeners = await trio.open_tcp_listeners(self.port, host=listener.hosts[0])
        port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, carry, listeners)
            task_status.started((f"mine://127.0.0.1:{port}",))
            await trio.sleep_forever()


class Carries:
    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @hookimpl
    def add_transports(self) -> Mapping[str, Transport]:
        return {"mine": self.transport}


MINE = ListenerSettings(transport="mine", allow_anonymous=True)


def test_add_transports() -> None:
    async def main() -> None:
        broker = Broker(Settings((MINE,)), plugins=[named(Carries(OnLoopback()))])
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(broker.run)
            port = int(url.removeprefix("mine://127.0.0.1:"))
            client = StreamClient(await trio.open_tcp_stream("127.0.0.1", port), V5)
            assert (await client.connect("c")).reason_code == 0
            (seen,) = broker.for_plugins.clients()
            assert (seen.user_name, seen.address, seen.peer) == ("ann", "192.0.2.7", "somebody")
            await client.stream.aclose()
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_add_transports_that_clash() -> None:
    with pytest.raises(PluginError, match="plugin b: there is a transport mine already"):
        Broker(plugins=[named(Carries(OnLoopback()), "a"), named(Carries(OnLoopback()), "b")])


@pytest.mark.parametrize("port", [0, 1])
def test_add_transports_that_cannot_be_had(port: int) -> None:
    """A name that nobody has; a transport that cannot listen."""

    class Refuses(OnLoopback):
        async def serve_listener(
            self, listener: ListenerSettings, serve: ServeStream, task_status: trio.TaskStatus[tuple[str, ...]]
        ) -> None:
            raise OSError("taken")

    plugins = [named(Carries(Refuses()))] if port else []
    text = "cannot listen on mine:127.0.0.1:1883: taken" if port else "no plugin has a transport mine; there are none"

    async def main() -> None:
        with pytest.raises(ListenError, match=text):
            await Broker(Settings((MINE,)), plugins=plugins).run()

    trio.run(main)


def test_open_store() -> None:
    """The first plugin that has a store is asked for it; one that keeps nothing is as good as none."""
    asked: list[Settings] = []

    class Keeps:
        @hookimpl
        def open_store(self, settings: Settings) -> Store:
            asked.append(settings)
            return MemoryStore()

    async def main() -> None:
        broker = Broker(Settings((ListenerSettings(port=0),)), plugins=[named(Keeps())])
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.run)
            assert asked == [broker.settings]
            assert not broker.is_durable
            nursery.cancel_scope.cancel()

    trio.run(main)
