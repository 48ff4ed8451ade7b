"""The harness for one plugin: hooks with defaults, and what it says of a plugin that is none."""

import pytest
import trio
from hooks.plugin_brokers import Authorizes, LoadsAccess, Rules
from noctule.api import (
    Action,
    Allow,
    Client,
    Counter,
    Credentials,
    Deny,
    Drop,
    Message,
    Metrics,
    PluginError,
    Service,
    Subscription,
    hookimpl,
)
from noctule.api import Broker as BrokerOfPlugins
from noctule.testing import harness
from noctule.testing.harness import PluginHarness, make_client, make_message


class Gate:
    """A bit of everything."""

    def __init__(self) -> None:
        self.counter: Counter | None = None
        self.life: list[str] = []
        self.limit = 1

    @hookimpl
    def add_metrics(self, metrics: Metrics) -> None:
        self.counter = metrics.counter("gate_total", "Asked.")

    @hookimpl
    async def broker_starting(self, broker: BrokerOfPlugins) -> None:
        self.life.append("starting")

    @hookimpl
    async def broker_started(self, broker: BrokerOfPlugins) -> None:
        broker.publish("gate/open", "yes", retain=True)
        broker.access_changed()
        assert broker.disconnect("old", why="too old")
        assert not broker.disconnect("old")
        assert broker.clients() == []

    @hookimpl
    async def broker_stopping(self) -> None:
        self.life.append("stopping")

    @hookimpl
    async def prepare_reload(self, config: object) -> object:
        if config == 0:
            raise PluginError("no")
        return lambda: setattr(self, "limit", config)

    @hookimpl
    def add_services(self) -> list[Service]:
        return [Service("gate", trio.sleep_forever)]

    @hookimpl
    async def authenticate(self, client: Client, credentials: Credentials) -> Allow | Deny | None:
        await trio.lowlevel.checkpoint()
        if credentials.user_name is None:
            return None
        return Allow() if credentials.password == b"password" and client.address == "127.0.0.1" else Deny()

    @hookimpl
    async def rewrite_subscription(self, subscription: Subscription) -> Subscription | None:
        return Subscription(f"x/{subscription.topic_filter}") if subscription.topic_filter == "a" else None

    @hookimpl
    def recheck(self, client: Client) -> Deny | None:
        return Deny("gone") if client.user_name == "gone" else None

    @hookimpl
    def message_received(self, message: Message) -> Drop | Message | None:
        if message.payload == b"bad":
            return Drop("bad")
        return make_message("other") if message.payload == b"move" else None


def test_start_stop_and_reload() -> None:
    gate = Gate()
    plugin = PluginHarness(gate)
    plugin.broker.connected.append(make_client("old"))
    plugin.start()
    assert [metric.name for metric in plugin.metrics] == ["gate_total"]
    (message,) = plugin.broker.published
    assert (message.topic, message.payload, message.retain) == (b"gate/open", b"yes", True)
    assert plugin.broker.changed == [None]
    assert plugin.broker.disconnected == [("old", 0x98, "too old")]
    plugin.reload(7)
    assert gate.limit == 7
    with pytest.raises(PluginError, match="no"):
        plugin.reload(0)
    assert [service.name for service in plugin.services()] == ["gate"]
    plugin.stop()
    assert gate.life == ["starting", "stopping"]


def test_decisions() -> None:
    plugin = PluginHarness(Gate())
    assert plugin.authenticate() == Allow()
    assert plugin.authenticate("ann", b"guess") == Deny()
    assert plugin.authenticate(client=make_client(address="10.0.0.1")) == Deny()
    assert plugin.authenticate(None, None) is None
    assert plugin.rewrite_subscription(Subscription("a")) == Subscription("x/a")
    assert plugin.rewrite_subscription(Subscription("b")) == Subscription("b")
    assert plugin.recheck() is None
    assert plugin.recheck(make_client(user_name="gone")) == Deny("gone")
    assert plugin.message_received(make_message(payload="bad")) == Drop("bad")
    kept = make_message(payload="good")
    assert plugin.message_received(kept) is kept
    moved = plugin.message_received(make_message(payload="move"))
    assert isinstance(moved, Message)
    assert moved.topic == b"other"


def test_rules() -> None:
    plugin = PluginHarness(LoadsAccess(load_access=Rules(publish="up", receive="down", subscribe="down")))
    assert plugin.may_publish("up", qos=2, retain=True)
    assert not plugin.may_publish("down")
    assert plugin.may_receive("down")
    assert not plugin.may_receive("up")
    assert plugin.subscribe_qos("down") == 2
    assert plugin.subscribe_qos("$share/g/down", qos=1) == 1
    assert plugin.subscribe_qos("#") is None


def test_answers() -> None:
    async def authorize(client: Client, action: Action, topic: str) -> Allow | None:
        return Allow(qos_max=1, retain=False) if topic == "a" else None

    plugin = PluginHarness(Authorizes(authorize=authorize))
    assert plugin.may_publish("a", qos=1)
    assert not plugin.may_publish("a", qos=2)
    assert not plugin.may_publish("a", retain=True)
    assert not plugin.may_publish("b")
    assert plugin.subscribe_qos("a") == 1
    assert plugin.subscribe_qos("b") is None
    with pytest.raises(ValueError, match="no rules for this client"):
        plugin.may_receive("a")


def test_what_a_plugin_does_not_have() -> None:
    plugin = PluginHarness(object())
    assert not plugin.has("authenticate")
    assert plugin.authenticate() is None
    assert plugin.load_access() is None
    plugin.start()
    plugin.reload()
    plugin.stop()
    with pytest.raises(ValueError, match="there is no hook authentikate"):
        plugin.has("authentikate")


def test_what_a_hook_raises_comes_out() -> None:
    with pytest.raises(RuntimeError, match="boom"):
        PluginHarness(Authorizes(authorize=RuntimeError("boom"))).may_publish("a")


def test_a_hook_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*arguments: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(harness, "DECISION_TIMEOUT_S", 0.01)
    with pytest.raises(trio.TooSlowError):
        PluginHarness(Authorizes(authorize=hang)).may_publish("a")


def test_a_plugin_that_is_none() -> None:
    class Wrong:
        @hookimpl
        def authenticate(self, client: Client) -> None: ...

    with pytest.raises(PluginError, match="authenticate must be async def, and is def"):
        PluginHarness(Wrong())
