"""Rooms: each rule alone, and through a broker in memory."""

from collections.abc import Callable

import pytest
from noctule.api import Action, Allow, Client, PluginError, hookimpl
from noctule.testing.harness import PluginHarness, make_client
from noctule.testing.memory import MemoryBroker
from noctule_example.rooms import Rooms, RoomsConfig

ANN = make_client(user_name="ann")


@pytest.fixture
def plugin() -> PluginHarness:
    return PluginHarness(Rooms(RoomsConfig()))


@pytest.mark.parametrize(
    ("topic", "qos", "expected"),
    [
        ("rooms/ann/light", 0, True),
        ("rooms/ann/light", 1, True),
        ("rooms/ann/light", 2, False),
        ("rooms/ann", 0, False),
        ("rooms/anna/light", 0, False),
        ("rooms/bob/light", 0, False),
        ("rooms/lobby/light", 0, False),
    ],
)
def test_publish(plugin: PluginHarness, topic: str, qos: int, expected: bool) -> None:
    assert plugin.may_publish(topic, qos=qos, client=ANN) == expected


@pytest.mark.parametrize(
    ("topic", "expected"),
    [("rooms/ann/x", True), ("rooms/lobby/x", True), ("rooms/bob/x", False), ("rooms/lobbyist/x", False)],
)
def test_receive(plugin: PluginHarness, topic: str, expected: bool) -> None:
    assert plugin.may_receive(topic, client=ANN) == expected


def test_subscribe(plugin: PluginHarness) -> None:
    assert plugin.subscribe_qos("#", client=ANN) == 2
    assert plugin.subscribe_qos("$share/g/rooms/ann/#", client=ANN) is None


@pytest.mark.parametrize("user_name", [None, "", "a/b", "+", "#", "a#", "$SYS", "a\0"])
def test_a_name_that_is_no_level_has_no_room(plugin: PluginHarness, user_name: str | None) -> None:
    assert plugin.load_access(make_client(user_name=user_name)) is None


def test_the_rule_is_named(plugin: PluginHarness) -> None:
    access = plugin.load_access(ANN)
    assert access is not None
    assert access.rule_of(Action.PUBLISH, "x") == "the rooms of ann"


def test_a_lobby_that_is_none(plugin: PluginHarness) -> None:
    with pytest.raises(PluginError, match="lobby = 'a/b': expected one level"):
        Rooms(RoomsConfig("a/b"))
    with pytest.raises(PluginError, match="expected one level"):
        plugin.reload(RoomsConfig("+"))


def test_another_lobby(plugin: PluginHarness) -> None:
    plugin.reload(RoomsConfig("hall"))
    assert plugin.may_receive("rooms/hall/x", client=ANN)
    assert not plugin.may_receive("rooms/lobby/x", client=ANN)


class Anybody:
    """Everybody is who they say."""

    @hookimpl
    async def authenticate(self, client: Client) -> Allow:
        del client
        return Allow()


def test_a_lobby_that_moves(noctule_memory_broker: Callable[..., None]) -> None:
    """Who is connected hears the new one, and the old one no more."""
    rooms = Rooms(RoomsConfig())

    async def scenario(broker: MemoryBroker) -> None:
        async with broker.connect("c", user_name="ann") as ann:
            await ann.subscribe("#")
            for lobby in ("lobby", "hall"):
                rooms.move_lobby(lobby)
                await broker.settled()
                broker.broker.publish("rooms/lobby/x", f"lobby while {lobby}")
                broker.broker.publish("rooms/hall/x", f"hall while {lobby}")
            assert [(await ann.receive()).payload for _ in range(2)] == [b"lobby while lobby", b"hall while hall"]

    noctule_memory_broker(scenario, Anybody, rooms)
