"""What a transport of a plugin is: it accepts connections in its own way, and the broker speaks MQTT over them."""

from typing import Protocol

import trio
from noctule.config.settings import ListenerSettings
from noctule.core.origin import Certificate


class ServeStream(Protocol):
    """What a transport calls for each connection, in a task of its own."""

    async def __call__(
        self,
        stream: trio.abc.Stream,
        peer: str,
        *,
        address: str = "",
        user_name: str | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        """Speak MQTT until either side ends it; the stream is closed then.

        ``address``: the other side's without port. ``user_name``: who it has proven to be by the transport itself.
        """
        ...


class Transport(Protocol):
    """One kind of transport; it may serve several listeners."""

    async def serve_listener(
        self,
        listener: ListenerSettings,
        serve: ServeStream,
        task_status: trio.TaskStatus[tuple[str, ...]],
    ) -> None:
        """Listen as the settings say, tell ``task_status`` the URLs, and serve every connection, until cancelled.

        PluginError or OSError, before ``task_status`` is told, where it cannot listen.
        """
        ...
