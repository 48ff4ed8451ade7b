"""All bridges of one broker: started with it, changed by a reload, stopped before it."""

import logging
from collections.abc import Iterable, Mapping

import trio
from noctule.bridges.bridge import Bridge
from noctule.bridges.here import Here
from noctule.bridges.remote import BridgeError, Preparation, prepare
from noctule.config.bridges import BridgeSettings

#: How long a bridge may take to leave the other broker.
_STOP_MAX_S = 5.0

_logger = logging.getLogger("noctule.bridges")


class Bridges:
    """``run`` carries them. Before it, and for each reload, ``prepare`` says what there is to be."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._nursery: trio.Nursery | None = None
        self._bridges: dict[str, Bridge] = {}

    @property
    def connected(self) -> Mapping[str, bool]:
        """Whether each bridge is connected, by its name."""
        return {name: bridge.is_connected for name, bridge in self._bridges.items()}

    def prepare(self, bridges: Iterable[BridgeSettings]) -> tuple[Preparation, ...]:
        """Read the files that the settings name. BridgeError where they cannot be used; nothing has changed then."""
        prepared = tuple(prepare(one) for one in bridges)
        for what, values in (
            ("name", [one.settings.name for one in prepared]),
            ("client identifier here", [one.settings.client_id_here for one in prepared]),
        ):
            for value in values:
                if values.count(value) > 1:
                    raise BridgeError(f"two bridges have the {what} {value}")
        return prepared

    async def run(
        self, prepared: Iterable[Preparation], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Carry the bridges until cancelled. ``task_status`` is told when messages wait for each that keeps them."""
        wanted = tuple(prepared)
        self._here.end_orphans(one.settings for one in wanted)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await self.put_into_effect(wanted)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def put_into_effect(self, prepared: Iterable[Preparation]) -> None:
        """Have these bridges and no others. Those whose settings are as before go on as they are."""
        if self._nursery is None:
            return
        wanted = {one.settings.name: one for one in prepared}
        for name in [name for name in self._bridges if name not in wanted]:
            bridge = self._bridges.pop(name)
            await self._stop(bridge)
            bridge.end_session("its bridge is not configured any more")
            _logger.info("Bridge %s: removed", name)
        for name, preparation in wanted.items():
            known = self._bridges.get(name)
            if known is not None:
                known.change(preparation)
                continue
            bridge = self._bridges[name] = Bridge(self._here, preparation)
            await self._nursery.start(bridge.run)

    async def stop(self) -> None:
        """Leave the other brokers. What waits for the bridges stays."""
        async with trio.open_nursery() as nursery:
            for bridge in self._bridges.values():
                nursery.start_soon(self._stop, bridge)

    async def _stop(self, bridge: Bridge) -> None:
        bridge.stop()
        with trio.move_on_after(_STOP_MAX_S):
            await bridge.has_ended.wait()
