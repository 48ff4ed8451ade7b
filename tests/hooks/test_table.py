"""The table of hooks: what is refused and how it is said, the order of plugins, and what they are called with."""

import types
from typing import Any

import pytest
import trio
from hooks.plugin_brokers import named
from noctule.api import Allow, hookimpl
from noctule.config.settings import ListenerSettings, Settings
from noctule.hooks import specs
from noctule.hooks.answers import PluginError
from noctule.hooks.table import HOOK_NAMES, Hook, HookTable, first_answer, make_table


def refusal_of(*implementations: object) -> str:
    with pytest.raises(PluginError) as caught:
        make_table(named(one, "mine") for one in implementations)
    return str(caught.value)


def with_hook(function: Any, **options: Any) -> object:
    """A plugin with this function as a hook."""
    return type("Made", (), {function.__name__: hookimpl(**options)(function)})()


# --- what is refused ---


async def authentikate(self: object, client: object) -> None: ...


async def xyzzy(self: object) -> None: ...


async def authenticate(self: object, client: object, password: str) -> None: ...


async def broker_starting(self: object, *everything: object) -> None: ...


async def load_access(self: object, *, client: object) -> None: ...


def authorize(self: object, client: object, action: object, topic: str) -> None: ...


async def message_received(self: object, client: object, message: object) -> None: ...


def add_authentication_methods(self: object, broker: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (authentikate, "there is no hook authentikate; did you mean authenticate?"),
        (xyzzy, f"there is no hook xyzzy; there are {', '.join(HOOK_NAMES)}"),
        (authenticate, "authenticate has no argument password; there are client, credentials"),
        (add_authentication_methods, "add_authentication_methods has no argument broker; it has none"),
        (
            broker_starting,
            "broker_starting has *everything: object; its arguments have to be named, one by one",
        ),
        (load_access, "load_access has client: object; its arguments have to be named, one by one"),
        (authorize, "authorize must be async def, and is def"),
        (message_received, "message_received must be def, and is async def"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_hook_is_refused(function: Any, expected: str) -> None:
    assert refusal_of(with_hook(function)) == f"plugin mine (a test): {expected}"


@pytest.mark.parametrize("option", ["wrapper", "hookwrapper"])
def test_a_wrapper_is_refused(option: str) -> None:
    def client_connected(self: object, client: object) -> Any:
        yield

    text = refusal_of(with_hook(client_connected, **{option: True}))
    assert text == "plugin mine (a test): client_connected is a wrapper; hooks are called as they are"


def test_a_hook_that_is_set_on_an_instance_is_checked_too() -> None:
    plugin = types.SimpleNamespace()
    plugin.mine = hookimpl(lambda nothing: None)
    assert "there is no hook mine" in refusal_of(plugin)


def test_one_name_twice() -> None:
    class Quiet:
        pass

    assert refusal_of(Quiet(), Quiet()) == "plugin mine (a test): there is another plugin of this name"


def test_one_object_twice() -> None:
    module = types.ModuleType("mine")
    with pytest.raises(PluginError, match="it is there already, and a module is there once; make it a class"):
        make_table([named(module, "a"), named(module, "b")])


def test_properties_of_a_plugin_are_not_run() -> None:
    class Broken:
        @property
        def users(self) -> int:
            raise RuntimeError("not now")

        @hookimpl
        def session_ended(self) -> None: ...

    assert len(make_table([named(Broken())]).session_ended) == 1


# --- what is taken ---


def test_no_plugins() -> None:
    table = make_table([])
    assert table == HookTable()
    assert all(getattr(table, name) == () for name in HOOK_NAMES)


def test_the_table_has_a_place_for_every_specification() -> None:
    specified = [
        name for name, value in vars(specs).items() if getattr(value, f"{specs.PROJECT}_spec", None) is not None
    ]
    assert sorted(HOOK_NAMES) == sorted(specified)


def test_fewer_arguments_and_in_another_order() -> None:
    seen: list[tuple[object, ...]] = []

    class Few:
        @hookimpl
        def subscribed(self, qos: int, client: object) -> None:
            seen.append((qos, client))

        @hookimpl
        def session_ended(self) -> None:
            seen.append(())

        @hookimpl
        @staticmethod
        def unsubscribed(topic_filter: str) -> None:
            seen.append((topic_filter,))

        @hookimpl(specname="will_published")
        def goodbye(this, client_id: str, message: object = None) -> None:  # noqa: N805
            seen.append((client_id, message))

    table = make_table([named(Few())])
    table.subscribed[0].call("client", "subscription", 2)
    table.session_ended[0].call("c", "over")
    table.unsubscribed[0].call("client", "a/#")
    table.will_published[0].call("c", "message")
    assert seen == [(2, "client"), (), ("a/#",), ("c", "message")]


class Speaker:
    """Says its name when it is called."""

    def __init__(self, name: str, said: list[str]) -> None:
        self._name = name
        self._said = said

    @hookimpl
    def session_ended(self) -> None:
        self._said.append(self._name)


class First(Speaker):
    @hookimpl(tryfirst=True)
    def session_ended(self) -> None:
        super().session_ended()


class Last(Speaker):
    @hookimpl(trylast=True)
    def session_ended(self) -> None:
        super().session_ended()


def test_the_order_is_that_of_the_configuration() -> None:
    said: list[str] = []
    table = make_table([named(Speaker(name, said), name) for name in "bca"])
    for hook in table.session_ended:
        hook.call("c", "over")
    assert said == ["b", "c", "a"]
    assert [hook.plugin for hook in table.session_ended] == ["b", "c", "a"]


def test_first_and_last() -> None:
    said: list[str] = []
    plugins = [Last("z", said), Speaker("b", said), First("y", said), Speaker("a", said), First("x", said)]
    for hook in make_table([named(one, f"p{number}") for number, one in enumerate(plugins)]).session_ended:
        hook.call("c", "over")
    assert said == ["y", "x", "b", "a", "z"]


def test_two_instances_of_one_class() -> None:
    said: list[str] = []
    table = make_table([named(Speaker("one", said), "a"), named(Speaker("two", said), "b")])
    assert [hook.plugin for hook in table.session_ended] == ["a", "b"]
    assert {name: plugin.name for name, plugin in table.by_name.items()} == {"a": "a", "b": "b"}


def test_a_module_is_a_plugin() -> None:
    said: list[str] = []
    module = types.ModuleType("mine")

    def session_ended(client_id: str) -> None:
        said.append(client_id)

    module.session_ended = hookimpl(session_ended)  # type: ignore[attr-defined]
    make_table([named(module)]).session_ended[0].call("c", "over")
    assert said == ["c"]


# --- the first answer ---


@pytest.mark.parametrize(
    ("answers", "expected", "asked"),
    [([], None, 0), ([None, None], None, 2), ([None, Allow(), 1 / 3], Allow(), 2)],
    ids=["nobody", "none", "second"],
)
def test_the_first_answer(answers: list[object], expected: object, asked: int) -> None:
    calls: list[object] = []

    def hook(answer: object) -> Hook:
        async def call(client: object) -> object:
            calls.append(client)
            await trio.lowlevel.checkpoint()
            return answer

        return Hook("p", call)

    async def main() -> object:
        return await first_answer(tuple(map(hook, answers)), "client")

    assert trio.run(main) == expected
    assert calls == ["client"] * asked


# --- anonymous clients beside plugins ---


@pytest.mark.parametrize(
    ("listener", "overall", "has_plugins", "expected"),
    [
        (None, None, False, True),
        (None, None, True, False),
        (None, True, True, True),
        (True, None, True, True),
        (False, True, False, False),
        (None, False, False, False),
    ],
)
def test_anonymous_clients_beside_plugins(
    listener: bool | None, overall: bool | None, has_plugins: bool, expected: bool
) -> None:
    """A1: a plugin that a program hands over closes the door as one that a file names does."""

    class Decides:
        @hookimpl
        async def authenticate(self) -> None:
            return None

    table = make_table([named(Decides() if has_plugins else object())])
    settings = Settings(allow_anonymous=overall)
    assert table.admit_anonymous(settings, ListenerSettings(allow_anonymous=listener)) == expected
