"""The brokers of noctule.testing: in a thread with clients that block, and in memory."""

import queue
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from hooks.plugin_brokers import Authenticates
from noctule.api import Allow, Broker, Client, Message, PluginError, Service, hookimpl
from noctule.client import DisconnectedError, RefusedError
from noctule.config.problems import ConfigError
from noctule.hooks.table import Plugin
from noctule.protocol import Will
from noctule.testing.memory import MemoryBroker, run_scenario
from noctule.testing.running import RunningBroker
from noctule.testing.settings import plugins_of
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion


class Counts:
    def __init__(self) -> None:
        self.published: list[bytes] = []
        self.thread: int | None = None

    @hookimpl
    def message_published(self, message: Message) -> None:
        self.published.append(message.payload)
        self.thread = threading.get_ident()


def round_trip(broker: RunningBroker, user_name: str | None = None) -> bytes:
    """Publish with paho and receive it."""
    received: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
    connected: queue.SimpleQueue[bool] = queue.SimpleQueue()
    client = PahoClient(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, d, f, code, p: connected.put(not code.is_failure)
    client.on_subscribe = lambda c, d, m, codes, p: c.publish("t", b"hello", qos=1)
    client.on_message = lambda c, d, message: received.put(message)
    if user_name is not None:
        client.username_pw_set(user_name, "x")
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        if not connected.get(timeout=10):
            return b"refused"
        client.subscribe("t", 1)
        return bytes(received.get(timeout=10).payload)
    finally:
        client.disconnect()
        client.loop_stop()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- in a thread ---


def test_a_broker_for_a_client_that_blocks() -> None:
    plugin = Counts()
    with RunningBroker(plugin) as broker:
        port = broker.port
        assert broker.url == f"mqtt://127.0.0.1:{port}"
        assert round_trip(broker) == b"hello"
        assert broker.publish("t", "again") == 0
        assert broker.clients() == []
        assert not broker.disconnect("nobody")
        assert broker.call(threading.get_ident) == plugin.thread != threading.get_ident()
    assert plugin.published == [b"hello", b"again"]
    assert not is_open(port)
    broker.stop()


def test_two_at_once() -> None:
    with RunningBroker() as one, RunningBroker() as other:
        assert one.port != other.port
        assert round_trip(one) == round_trip(other) == b"hello"


def test_who_is_let_in() -> None:
    async def authenticate(client: Client, credentials: object) -> Allow | None:
        return Allow() if client.user_name == "ann" else None

    with RunningBroker(Authenticates(authenticate=authenticate)) as broker:
        assert round_trip(broker) == b"refused"
        assert round_trip(broker, "ann") == b"hello"
    with RunningBroker(Authenticates(), allow_anonymous=True) as broker:
        assert round_trip(broker) == b"hello"
        assert round_trip(broker, "ann") == b"refused"


def test_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from noctule.api import Allow, hookimpl\n\n\nclass Plugin:\n    @hookimpl\n"
        "    async def authenticate(self, client):\n        return Allow() if client.user_name == 'ann' else None\n",
        encoding="utf-8",
    )
    config = tmp_path / "noctule.toml"
    config.write_text("[plugins.mine]\nplugin = 'mine.py'\n[[listeners]]\nport = 1\n", encoding="utf-8")
    with RunningBroker(config=config) as broker:
        assert round_trip(broker, "ann") == b"hello"
        assert round_trip(broker, "bob") == b"refused"
        broker.reload(broker.settings)
    config.write_text("plugin = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        RunningBroker(config=config)


def test_what_a_broker_cannot_be() -> None:
    with pytest.raises(ValueError, match="there is no limit packets"):
        RunningBroker(packets=1)
    with pytest.raises(ValueError, match="only one of them"):
        RunningBroker(config=Path("x"), settings=RunningBroker().settings)
    broker = RunningBroker()
    with pytest.raises(RuntimeError, match="does not run"):
        broker.call(print)
    with pytest.raises(RuntimeError, match="does not run"):
        assert broker.port
    with pytest.raises(RuntimeError, match="does not run"):
        broker.reload(broker.settings)


def test_a_plugin_that_refuses_the_start() -> None:
    class Refuses:
        @hookimpl
        async def broker_starting(self) -> None:
            raise PluginError("no")

    with pytest.raises(PluginError, match="plugin refuses: no"), RunningBroker(Refuses()):
        pytest.fail("it runs")


def test_what_ends_the_broker_ends_the_test() -> None:
    class Ends:
        @hookimpl
        def add_services(self) -> list[Service]:
            return [Service("ends", self.end)]

        async def end(self) -> None:
            raise SystemExit(7)

    with pytest.raises(SystemExit), RunningBroker(Ends()) as broker:
        broker._thread.join(10)


def test_names_of_plugins() -> None:
    named = Plugin("mine", Counts())
    assert [plugin.name for plugin in plugins_of([Counts, Counts(), named, Counts])] == [
        "counts",
        "counts2",
        "mine",
        "counts3",
    ]


# --- in memory ---


def test_hours_pass_at_once() -> None:
    async def scenario(broker: MemoryBroker) -> None:
        async with broker.connect("watching") as watching:
            await watching.subscribe("will", 1)
            will = Will("will", b"gone", will_delay_interval_s=3_600)
            with suppress(DisconnectedError):
                async with broker.connect("c", will=will, session_expiry_interval_s=7_200):
                    assert broker.broker.disconnect("c")
                    await broker.settled()
            began_at = trio.current_time()
            assert (await watching.receive()).payload == b"gone"
            assert trio.current_time() - began_at > 3_590

    run_scenario(scenario)


def test_plugins_in_memory() -> None:
    async def authenticate(client: Client, credentials: object) -> Allow | None:
        return Allow() if client.address == "10.0.0.1" else None

    async def scenario(broker: MemoryBroker) -> None:
        async with broker.connect("c", user_name="ann", address="10.0.0.1") as client:
            await client.subscribe("t")
            broker.broker.publish("t", "x")
            assert (await client.receive()).payload == b"x"
            assert [one.user_name for one in broker.broker.clients()] == ["ann"]
            await broker.reload(broker.settings)
        with pytest.raises(RefusedError):
            async with broker.connect("c", user_name="ann"):
                pytest.fail("let in")

    run_scenario(scenario, Authenticates(authenticate=authenticate))


def test_what_a_scenario_raises_comes_out() -> None:
    async def scenario(broker: MemoryBroker) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run_scenario(scenario)


def test_what_a_plugin_is_handed_in_memory() -> None:
    seen: list[Broker] = []

    class Looks:
        @hookimpl
        async def broker_started(self, broker: Broker) -> None:
            seen.append(broker)

    async def scenario(broker: MemoryBroker) -> None:
        assert seen == [broker.broker]

    run_scenario(scenario, Looks)
