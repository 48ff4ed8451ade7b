"""prepare_reload and recheck: a reload is whole or nothing, and who is connected is judged anew."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio
from hooks.plugin_brokers import YES, Answers, Authenticates, broker_with, named
from net.stream_clients import LOOPBACK, dial, run_mocked
from noctule.api import Client, Deny, PluginError, Settings, hookimpl
from noctule.app import Broker
from noctule.config.problems import Positions
from noctule.config.settings import PluginSettings
from noctule.hooks.table import Plugin


@dataclass(frozen=True)
class Config:
    users: int


class Reloads(Answers):
    """Notes what it is asked, and what of it comes into effect."""

    def __init__(self, **functions: Any) -> None:
        super().__init__(**functions)
        self.in_effect: list[object] = []

    @hookimpl
    async def prepare_reload(self, config: Any, settings: Settings) -> Callable[[], None] | None:
        self.asked.append((config, settings))
        answer = self.functions.get("prepare_reload", lambda: self.in_effect.append(config))
        if isinstance(answer, Exception):
            raise answer
        if answer == "hang":
            await trio.sleep_forever()
        found: Callable[[], None] | None = answer
        return found


def with_options(settings: Settings, name: str, users: int) -> Settings:
    """The settings of a file that names the plugin, with its options."""
    return replace(settings, plugins=(PluginSettings(name, name, {"users": users}, Positions({}), Config(users)),))


def test_prepare_reload() -> None:
    first, second = Reloads(), Reloads(prepare_reload=None)

    async def main() -> None:
        async with broker_with(Plugin("first", first, config=Config(1)), named(second, "second")) as running:
            broker = running.broker
            wanted = replace(with_options(broker.settings, "first", 5), keep_alive_max_s=60)
            changes = await broker.reload(wanted)
            assert "keep_alive_maximum" in [change.about for change in changes]
            assert first.asked == [(Config(5), wanted)]
            assert first.in_effect == [Config(5)]
            assert second.asked == [(None, wanted)]
            assert broker.settings is broker.state.settings is wanted

    run_mocked(main)


def test_prepare_reload_of_a_plugin_that_no_file_names() -> None:
    """Its options are those that the program has given."""
    plugin = Reloads()

    async def main() -> None:
        async with broker_with(Plugin("mine", plugin, config=Config(1))) as running:
            await running.broker.reload(running.broker.settings)
            assert plugin.in_effect == [Config(1)]

    run_mocked(main)


def test_prepare_reload_of_a_plugin_that_is_removed() -> None:
    """That takes a restart: until then it has the options that it has."""
    plugin = Reloads()

    async def main() -> None:
        async with broker_with(Plugin("mine", plugin, config=Config(1))) as running:
            broker = running.broker
            await broker.reload(with_options(broker.settings, "mine", 5))
            changes = await broker.reload(replace(broker.settings, plugins=()))
            assert [str(change) for change in changes] == ["plugin mine: removed (needs a restart)"]
            assert plugin.in_effect == [Config(5)]

    run_mocked(main)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (PluginError("users.toml:3: no"), "plugin bad: users.toml:3: no"),
        (RuntimeError("boom"), "plugin bad: prepare_reload has failed: RuntimeError('boom')"),
        (7, "plugin bad: prepare_reload has failed: TypeError('7 is no function')"),
        ("hang", "plugin bad: it was not ready for the new configuration within 60 s"),
    ],
    ids=repr,
)
def test_prepare_reload_that_refuses_leaves_everything(answer: Any, text: str) -> None:
    good, bad = Reloads(), Reloads(prepare_reload=answer)

    async def main() -> None:
        async with broker_with(named(good, "good"), named(bad, "bad")) as running:
            broker = running.broker
            client = await running.connect("c")
            before = broker.settings
            wanted = replace(before, limits=replace(before.limits, receive_maximum=5))
            with pytest.raises(PluginError) as caught:
                await broker.reload(wanted)
            assert str(caught.value) == text
            assert broker.settings is broker.state.settings is before
            assert good.in_effect == []
            connack = await (await running.open()).connect("d")
            assert connack.receive_maximum == before.limits.receive_maximum
            await client.ping()
            bad.functions["prepare_reload"] = None
            await broker.reload(wanted)  # and the next one can be had
            assert (await (await running.open()).connect("e")).receive_maximum == 5

    run_mocked(main)


def test_an_effect_that_fails_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("boom")

    bad, good = Reloads(prepare_reload=fail), Reloads()

    async def main() -> None:
        async with broker_with(named(bad, "bad"), named(good, "good")) as running:
            await running.broker.reload(running.broker.settings)
            assert len(good.in_effect) == 1

    run_mocked(main)
    assert "Plugin bad has failed to put its new options into effect" in caplog.text


def test_settings_under_which_nobody_could_connect_are_refused() -> None:
    async def main() -> None:
        async with broker_with(settings=Settings()) as running:
            broker = running.broker
            with pytest.raises(PluginError, match="nobody could connect"):
                await broker.reload(replace(broker.settings, listeners=(LOOPBACK,), allow_anonymous=False))
            assert broker.settings.allow_anonymous is True

    run_mocked(main)


# --- recheck ---


class Rechecks(Answers):
    @hookimpl
    def recheck(self, client: Client) -> Any:
        self.asked.append((client,))
        answer = self.functions["recheck"](client)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_recheck() -> None:
    plugin = Rechecks(recheck=lambda client: Deny("dismissed") if client.client_id == "bad" else None)
    never = Rechecks(recheck=lambda client: None)

    async def main() -> None:
        async with broker_with(named(plugin, "a"), named(never, "b")) as running:
            good, bad = await running.connect("good"), await running.connect("bad")
            await running.broker.reload(running.broker.settings)
            assert await bad.until_end() == [(0xE0, b"\x87")]
            await good.ping()
            assert {client.client_id for (client,) in plugin.asked} == {"good", "bad"}
            assert [client.client_id for (client,) in never.asked] == ["good"]

    run_mocked(main)


@pytest.mark.parametrize("answer", [RuntimeError("boom"), False, True, "no", 0], ids=repr)
def test_recheck_that_fails_is_a_no(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with broker_with(Rechecks(recheck=lambda client: answer)) as running:
            clients = [await running.connect(str(number)) for number in range(20)]
            await running.broker.reload(running.broker.settings)
            for client in clients:
                assert await client.until_end() == [(0xE0, b"\x87")]

    run_mocked(main)
    assert sum("has failed in recheck" in record.getMessage() for record in caplog.records) == 1


def test_anonymous_clients_go_when_they_are_no_longer_let_in() -> None:
    """Those that only have a name go too: nobody has looked at it."""

    async def main() -> None:
        async with broker_with(Authenticates(authenticate=YES), allow_anonymous=True) as running:
            broker = running.broker
            anonymous = await running.connect("anonymous")
            known = await running.connect("known", user_name="ann")
            await broker.reload(replace(broker.settings, allow_anonymous=False))
            assert await anonymous.until_end() == [(0xE0, b"\x87")]
            await known.ping()

    run_mocked(main)


def test_clients_without_a_name_that_a_plugin_has_let_in_stay() -> None:
    async def main() -> None:
        async with broker_with(Authenticates(authenticate=YES), allow_anonymous=False) as running:
            client = await running.connect("c")
            await running.broker.reload(running.broker.settings)
            await client.ping()

    run_mocked(main)


def test_what_a_listener_says_after_a_reload_counts_for_who_comes_then() -> None:
    """Its socket was opened under the old settings."""

    async def main() -> None:
        opened = replace(LOOPBACK, allow_anonymous=True)
        broker = Broker(Settings((opened,)), plugins=[named(Authenticates())])
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(broker.run)
            async with await dial(url) as client:
                assert (await client.connect("before")).reason_code == 0
            closed = replace(opened, allow_anonymous=False)
            await broker.reload(replace(broker.settings, listeners=(closed,)))
            async with await dial(url) as client:
                assert (await client.connect("after")).reason_code == 0x87
            broker.stop()

    run_mocked(main)
