"""The hooks around a broker's life, and those by which a plugin adds to it."""

import itertools
import logging
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing
from hooks.plugin_brokers import Answers, broker_with, named, unwrapped
from net.stream_clients import LOOPBACK, V5, run_mocked
from noctule.api import (
    AuthenticationMethod,
    AuthStep,
    AuthSuccess,
    Broker,
    Claimant,
    Counter,
    Exchange,
    Metrics,
    PluginError,
    Service,
    hookimpl,
)
from noctule.app import Broker as WholeBroker
from noctule.config.settings import ListenerSettings, Settings
from noctule.hooks.table import Plugin
from noctule.net.listeners import ListenError


class Life(Answers):
    """Notes what is asked of it, and answers as told."""

    @hookimpl
    async def broker_starting(self, broker: Broker) -> None:
        await self.answer("broker_starting", broker)

    @hookimpl
    async def broker_started(self, broker: Broker) -> None:
        await self.answer("broker_started", broker)

    @hookimpl
    async def broker_stopping(self, broker: Broker) -> None:
        await self.answer("broker_stopping", broker)

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self.asked]


def error_of_run(*plugins: Plugin, settings: Settings | None = None) -> BaseException:
    """What ``run`` ends with."""
    found: list[BaseException] = []

    async def main() -> None:
        try:
            await WholeBroker(settings or Settings((), allow_anonymous=True), plugins=plugins).run()
        except BaseExceptionGroup as group:
            found.append(unwrapped(group))
        except Exception as error:
            found.append(error)

    run_mocked(main)
    return found[0]


# --- broker_starting, broker_started, broker_stopping ---


def test_broker_starting_and_broker_started_and_broker_stopping() -> None:
    first, second = Life(), Life()

    async def main() -> None:
        seen: list[Any] = []

        async def look(broker: Broker) -> None:
            seen.append(whole.urls)

        first.functions = {"broker_starting": look, "broker_started": look, "broker_stopping": look}
        whole = WholeBroker(
            Settings((LOOPBACK,), allow_anonymous=True), plugins=[named(first, "a"), named(second, "b")]
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(whole.run)
            assert first.names == second.names == ["broker_starting", "broker_started"]
            whole.stop()
        assert seen == [(), whole.urls, whole.urls]
        assert first.names == second.names == ["broker_starting", "broker_started", "broker_stopping"]
        assert {broker for _, broker in first.asked} == {whole.for_plugins}

    run_mocked(main)


def test_broker_stopping_comes_in_reverse_order_and_when_nobody_is_connected() -> None:
    order: list[tuple[str, int]] = []
    brokers: list[WholeBroker] = []

    def noting(name: str) -> Life:
        async def note(broker: Broker) -> None:
            order.append((name, len(brokers[0].state.links)))

        return Life(broker_stopping=note)

    async def main() -> None:
        async with broker_with(named(noting("a"), "a"), named(noting("b"), "b")) as running:
            brokers.append(running.broker)
            await running.connect("c")

    run_mocked(main)
    assert order == [("b", 0), ("a", 0)]


def test_broker_starting_that_refuses() -> None:
    first, second, third = Life(), Life(broker_starting=PluginError("users.toml:3: no")), Life()
    error = error_of_run(named(first, "a"), named(second, "b"), named(third, "c"))
    assert isinstance(error, PluginError)
    assert str(error) == "plugin b: users.toml:3: no"
    assert (first.names, second.names, third.names) == (
        ["broker_starting", "broker_stopping"],
        ["broker_starting"],
        [],
    )


@pytest.mark.parametrize("hook", ["broker_starting", "broker_started"])
def test_a_start_that_fails(hook: str) -> None:
    error = error_of_run(named(Life(**{hook: RuntimeError("boom")}), "mine"))
    assert isinstance(error, PluginError)
    assert str(error) == f"plugin mine: {hook} has failed: RuntimeError('boom')"


def test_plugins_are_put_away_where_a_listener_cannot_be_opened() -> None:
    plugin = Life()
    settings = Settings((ListenerSettings("203.0.113.1", 1),), allow_anonymous=True)
    assert isinstance(error_of_run(named(plugin), settings=settings), ListenError)
    assert plugin.names == ["broker_starting", "broker_stopping"]


@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_broker_stopping_that_fails_does_not_keep_the_broker(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async def hang(broker: Broker) -> None:
        await trio.sleep_forever()

    first = Life()
    second = Life(broker_stopping=RuntimeError("boom") if how == "raises" else hang)

    async def main() -> None:
        async with broker_with(named(first, "a"), named(second, "b"), stop_timeout_s=3.0):
            began_at = trio.current_time()
        assert trio.current_time() - began_at <= 6.0

    run_mocked(main)
    assert first.names[-1] == "broker_stopping"
    assert "Plugin b has failed while the broker stops" in caplog.text


# --- add_services ---


class Serves(Answers):
    @hookimpl
    def add_services(self, broker: Broker) -> Sequence[Service]:
        self.asked.append(("add_services", broker))
        services: Sequence[Service] = self.functions["services"]
        return services


def test_add_services() -> None:
    ran: list[str] = []

    async def run() -> None:
        ran.append("began")
        try:
            await trio.sleep_forever()
        finally:
            ran.append("ended")

    plugin = Serves(services=[Service("mine", run)])

    async def main() -> None:
        async with broker_with(plugin) as running:
            await trio.testing.wait_all_tasks_blocked()
            assert ran == ["began"]
            assert plugin.asked == [("add_services", running.broker.for_plugins)]
        assert ran == ["began", "ended"]

    run_mocked(main)


def test_add_services_starts_a_failed_one_again_after_a_rest(caplog: pytest.LogCaptureFixture) -> None:
    began_at: list[float] = []

    async def run() -> None:
        began_at.append(trio.current_time())
        if len(began_at) == 9:
            await trio.sleep(100)
        raise RuntimeError("boom")

    async def main() -> None:
        async with broker_with(Serves(services=[Service("mine", run)])):
            await trio.sleep(400)

    run_mocked(main)
    rests = [round(later - earlier, 3) for earlier, later in itertools.pairwise(began_at)]
    assert rests[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert rests[8:10] == [101, 2]  # it had worked for a while
    assert "Service mine of plugin serves has failed; it is started again in 1 s" in caplog.text


def test_add_services_of_what_is_no_service() -> None:
    error = error_of_run(named(Serves(services=["mine"])))
    assert str(error) == "plugin serves: add_services has failed: TypeError(\"'mine' is no Service\")"


# --- add_metrics ---


class Measures:
    def __init__(self, name: str = "logins_refused_total") -> None:
        self.name = name
        self.counter: Counter | None = None

    @hookimpl
    def add_metrics(self, metrics: Metrics) -> None:
        self.counter = metrics.counter(self.name, "Logins that were refused.")


def test_add_metrics() -> None:
    plugin = Measures()
    broker = WholeBroker(plugins=[named(plugin)])
    assert plugin.counter is not None
    plugin.counter.add(2)
    assert [(metric.name, metric.text) for metric in broker.metrics] == [
        ("logins_refused_total", "Logins that were refused.")
    ]
    assert plugin.counter.value == 2
    with pytest.raises(ValueError, match="only grows"):
        plugin.counter.add(-1)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            ("a_total", "a_total"),
            "plugin p1: add_metrics has failed: ValueError(\"there is a metric 'a_total' already\")",
        ),
        (
            ("A-b",),
            "plugin p0: add_metrics has failed: "
            "ValueError(\"'A-b': expected lower-case letters, digits and underscores\")",
        ),
    ],
)
def test_add_metrics_that_cannot_be(names: tuple[str, ...], text: str) -> None:
    with pytest.raises(PluginError) as caught:
        WholeBroker(plugins=[named(Measures(name), f"p{index}") for index, name in enumerate(names)])
    assert str(caught.value) == text


# --- add_authentication_methods ---


class At:
    """Whoever asks is let in."""

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, claimant: Claimant) -> Exchange:
        return self

    def step(self, data: bytes | None) -> AuthStep:
        return AuthSuccess("ann", data)


class Methods:
    def __init__(self, *methods: Any) -> None:
        self._methods = methods

    @hookimpl
    def add_authentication_methods(self) -> Sequence[AuthenticationMethod]:
        return self._methods


def test_add_authentication_methods() -> None:
    async def main() -> None:
        async with broker_with(Methods(At("ONCE")), allow_anonymous=False) as running:
            client = await running.open(V5)
            connack = await client.connect("c", authentication_method="ONCE", authentication_data=b"x")
            assert (connack.reason_code, connack.authentication_data) == (0, b"x")
            assert [one.user_name for one in running.broker.for_plugins.clients()] == ["ann"]
            other = await running.open(V5)
            assert (await other.connect("d", authentication_method="TWICE")).reason_code == 0x8C

    run_mocked(main)


@pytest.mark.parametrize(
    ("methods", "text"),
    [
        ([At("X"), At("X")], "two methods of authentication have the name 'X'"),
        ([7], "plugin methods: add_authentication_methods has failed: TypeError('7 is no method of authentication')"),
    ],
)
def test_add_authentication_methods_that_cannot_be(methods: list[Any], text: str) -> None:
    with pytest.raises(PluginError) as caught:
        WholeBroker(plugins=[named(Methods(*methods))])
    assert str(caught.value) == text


# --- what a plugin can do with the broker ---


def test_a_plugin_publishes_from_within_a_watching_hook() -> None:
    """At the end of the turn: a watcher changes nothing while it is called."""
    counts: list[int] = []

    class Greets:
        broker: Broker

        @hookimpl
        async def broker_starting(self, broker: Broker) -> None:
            self.broker = broker

        @hookimpl
        def client_connected(self, client: Any) -> None:
            counts.append(self.broker.publish("hello", client.client_id, qos=1, retain=True))

    async def main() -> None:
        async with broker_with(Greets()) as running:
            first = await running.connect("one")
            await first.subscribe("#", 1)
            assert (await first.receive_publish()).payload == b"one"
            await running.connect("two")
            assert (await first.receive_publish()).payload == b"two"

    run_mocked(main)
    assert counts == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"topic": "a/+"}, "wildcard"),
        ({"topic": ""}, "empty"),
        ({"topic": "a", "qos": 3}, "a QoS of 3"),
        ({"topic": "a", "properties": b"\xff"}, "property"),
    ],
)
def test_what_cannot_be_published_is_the_plugins_fault(arguments: dict[str, Any], error: str) -> None:
    async def main() -> None:
        async with broker_with() as running:
            with pytest.raises(ValueError, match=error):
                running.broker.for_plugins.publish(**arguments)

    run_mocked(main)


def test_a_plugin_disconnects_a_client() -> None:
    async def main() -> None:
        async with broker_with() as running:
            broker = running.broker.for_plugins
            client = await running.connect("c")
            assert [one.client_id for one in broker.clients()] == ["c"]
            with pytest.raises(ValueError, match="cannot end a connection"):
                broker.disconnect("c", 0)
            assert not broker.disconnect("nobody")
            assert broker.disconnect("c", why="enough")
            assert (await client.receive())[0] == 0xE0
            assert await client.until_end() == []
            assert broker.clients() == []
            assert not broker.disconnect("c")

    run_mocked(main)


def test_a_client_that_is_disconnected_from_within_a_hook() -> None:
    class Bouncer:
        broker: Broker

        @hookimpl
        async def broker_starting(self, broker: Broker) -> None:
            self.broker = broker

        @hookimpl
        def client_connected(self, client: Any) -> None:
            if client.client_id == "bad":
                assert self.broker.disconnect("bad", 0x87)

    async def main() -> None:
        async with broker_with(Bouncer()) as running:
            good = await running.connect("good")
            bad = await running.connect("bad")
            assert (await bad.receive()) == (0xE0, b"\x87")
            await good.ping()

    run_mocked(main)


def test_a_plugin_that_answers_its_own_messages_does_not_end_the_broker(caplog: pytest.LogCaptureFixture) -> None:
    """Each message of its own comes a turn later: clients get their turns between them."""

    class Echoes:
        broker: Broker
        count = 0

        @hookimpl
        async def broker_starting(self, broker: Broker) -> None:
            self.broker = broker

        @hookimpl
        def message_received(self, client: Any, message: Any) -> None:
            self.count += 1
            if self.count < 1_000:
                self.broker.publish("echo", str(self.count))

    plugin = Echoes()

    async def main() -> None:
        async with broker_with(plugin) as running:
            client = await running.connect("c")
            await client.publish("a", b"")
            await client.ping()
            while plugin.count < 1_000:
                await trio.testing.wait_all_tasks_blocked()
            await client.ping()

    with caplog.at_level(logging.ERROR):
        run_mocked(main)
    assert caplog.text == ""
