"""A broker and its clients in one trio run without sockets, on a clock that jumps: hours pass in milliseconds."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio
import trio.testing
from noctule.app import Broker as WholeBroker
from noctule.client import Client, open_client
from noctule.config.settings import Settings
from noctule.core.origin import Origin
from noctule.hooks.broker import Broker
from noctule.protocol import Connect, ProtocolVersion, Will
from noctule.testing.settings import plugins_of, settings_for


class MemoryBroker:
    """A broker of a scenario, as ``run_scenario`` hands it over."""

    def __init__(self, broker: WholeBroker, nursery: trio.Nursery) -> None:
        self._broker = broker
        self._nursery = nursery
        self._connections = 0

    @property
    def broker(self) -> Broker:
        """As plugins see it: to publish, to disconnect, to tell that access rules have changed."""
        return self._broker.for_plugins

    def connect(
        self,
        client_id: str = "",
        *,
        user_name: str | None = None,
        password: bytes | None = None,
        version: int = 5,
        clean_start: bool = True,
        session_expiry_interval_s: int = 0,
        will: Will | None = None,
        keep_alive_s: int = 0,
        address: str = "127.0.0.1",
    ) -> AbstractAsyncContextManager[Client]:
        """``async with broker.connect("c") as client:`` a ``noctule.client.Client`` over a stream in memory, which
        comes from ``address``. RefusedError where the broker does not let it in."""
        request = Connect(
            ProtocolVersion(version),
            client_id,
            clean_start=clean_start,
            keep_alive_s=keep_alive_s,
            will=will,
            user_name=user_name,
            password=password,
            session_expiry_interval_s=session_expiry_interval_s,
        )
        return self._connected(request, address)

    async def settled(self) -> None:
        """Return when nothing more happens without time passing."""
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()

    async def reload(self, settings: Settings) -> None:
        """Put other settings into effect. Raises as the broker does where they cannot be used."""
        await self._broker.reload(settings)

    @property
    def settings(self) -> Settings:
        """What is in effect."""
        return self._broker.settings

    @asynccontextmanager
    async def _connected(self, request: Connect, address: str) -> AsyncIterator[Client]:
        self._connections += 1
        near, far = trio.testing.memory_stream_pair()
        listener = self._broker.settings.listeners[0]
        peer = f"{address}:{self._connections}"
        self._nursery.start_soon(self._broker.serve_stream, far, peer, Origin(listener, address))
        try:
            async with open_client(near, request) as client:
                yield client
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(near)


def run_scenario(
    scenario: Callable[[MemoryBroker], Awaitable[object]],
    *plugins: object,
    config: Path | None = None,
    settings: Settings | None = None,
    allow_anonymous: bool | None = None,
    **limits: Any,
) -> None:
    """Start a broker, run the scenario with it, stop it. Raises what the scenario or the broker does.

    The arguments are those of ``noctule.testing.running.RunningBroker``. Nothing listens. Time is trio's mock clock,
    which jumps to the next deadline whenever nothing else is left to do: what waits for a thread or a socket does not
    count as something to do, so that its deadlines come at once.
    """
    made = plugins_of(plugins)
    found = settings_for(made, config, settings, allow_anonymous, limits)
    error: BaseException | None = None

    async def main() -> None:
        broker = WholeBroker(replace(found, listeners=()), plugins=made)
        broker.settings = broker.state.settings = found  # connections in memory are those of its listener
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.run)
            await scenario(MemoryBroker(broker, nursery))
            broker.stop()

    try:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseExceptionGroup as group:
        error = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
    if error is not None:
        raise error
