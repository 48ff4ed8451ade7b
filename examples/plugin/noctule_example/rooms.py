"""Says who may do what, by the ``load_access`` hook: everybody writes in their own room and reads the lobby too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from noctule.api import Access, Action, Broker, Client, Option, PluginError, PublishRight, Settings, hookimpl


@dataclass(frozen=True, slots=True)
class RoomsConfig:
    """The options below ``[plugins.example_rooms]``."""

    lobby: Annotated[str, Option("The room that everybody reads.")] = "lobby"


class Rooms:
    """The plugin."""

    #: The broker reads and checks these, and makes the plugin with them.
    Config = RoomsConfig

    def __init__(self, config: RoomsConfig) -> None:
        self._lobby = checked(config).lobby
        self._broker: Broker | None = None

    @hookimpl
    async def broker_starting(self, broker: Broker) -> None:
        """Keep what there is to tell that rules have changed."""
        self._broker = broker

    @hookimpl
    async def load_access(self, client: Client) -> Access | None:
        """The rules for one client, once for its connection. Nobody's name is taken apart or put into a pattern."""
        if client.user_name is None or not is_level(client.user_name):
            return None  # no rules: where no other plugin has any, the client may do nothing
        return RoomAccess(client.user_name, self._lobby)

    @hookimpl
    async def prepare_reload(self, config: RoomsConfig, settings: Settings) -> Callable[[], None]:
        """Another lobby. After a reload the broker asks for everybody's rules again by itself."""
        del settings
        lobby = checked(config).lobby

        def take_effect() -> None:
            self._lobby = lobby

        return take_effect

    def move_lobby(self, lobby: str) -> None:
        """The same from a program, at any time: here the broker has to be told."""
        self._lobby = checked(RoomsConfig(lobby)).lobby
        if self._broker is not None:
            self._broker.access_changed()


@dataclass(frozen=True, slots=True)
class RoomAccess:
    """What one user may do."""

    user_name: str
    lobby: str

    def publish_right(self, topic: str) -> PublishRight | None:
        """In the user's own room; what is retained there stays, so that is for QoS 0 and 1 alone."""
        return PublishRight(qos_max=1) if topic.startswith(f"rooms/{self.user_name}/") else None

    def may_receive(self, topic: str) -> bool:
        """From the user's own room and the lobby, whatever was subscribed to."""
        return topic.startswith((f"rooms/{self.user_name}/", f"rooms/{self.lobby}/"))

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        """To anything: each message is judged by ``may_receive``. But to nothing in a group."""
        del topic_filter
        return 2 if share_name is None else None

    def rule_of(self, action: Action, topic: str) -> str:
        """For the log."""
        del action, topic
        return f"the rooms of {self.user_name}"


def is_level(text: str) -> bool:
    """Whether it can be one level of a topic, and stands for nothing else there."""
    return bool(text) and not any(sign in text for sign in "/+#$\0")


def checked(config: RoomsConfig) -> RoomsConfig:
    """The options, if they can be used. PluginError, the operator's fault, otherwise."""
    if not is_level(config.lobby):
        raise PluginError(f"lobby = {config.lobby!r}: expected one level of a topic, without / + # $")
    return config
