"""The tree below ``$SYS/broker``: names and units as in Mosquitto, retained, published where it has changed."""

from typing import Final

import trio
from noctule._speedups.message import Message
from noctule._version import __version__
from noctule.core.state import State
from noctule.handlers.decisions import Turns
from noctule.protocol.constants import PacketType
from noctule.services.load_average import CHANGE_MIN, LoadAverage
from noctule.services.readings import Observer, Readings

PREFIX: Final = "$SYS/broker/"

#: As Mosquitto publishes them.
_QOS: Final = 2

#: Topics that are published in one go, before others get their turn.
_BURST: Final = 200

#: The packets that Mosquitto's manual names below $SYS/broker/mqtt, by their names there.
_PACKETS: Final = {kind.name.lower(): int(kind) for kind in PacketType}


class SysTopics:
    """Publishes the tree of one broker."""

    def __init__(self, state: State, turns: Turns, observer: Observer) -> None:
        self._state = state
        self._turns = turns
        self._observer = observer
        self._loads: dict[str, LoadAverage] = {}
        self._load_values: dict[str, float] = {}
        self._updated_at: float | None = None
        self._wake = trio.Event()

        #: What has been published, by topic.
        self.published: dict[str, str] = {}

    def settings_changed(self) -> None:
        """The interval may be another one."""
        self._wake.set()

    async def run(self) -> None:
        """Publish at every interval, until cancelled; without an interval nothing is there."""
        while True:
            self._wake = trio.Event()
            interval_s = self._state.settings.sys_interval_s
            if interval_s > 0:
                await self._tick_while(interval_s)
            else:
                self._publish(dict.fromkeys(self.published, ""))
                self.published = {}
                await self._wake.wait()

    async def _tick_while(self, interval_s: float) -> None:
        """Publish at this interval until the settings change."""
        due = trio.current_time()
        while not self._wake.is_set():
            await self.tick()
            now = trio.current_time()
            due = max(due + interval_s, now)  # what was missed is not made up for
            with trio.move_on_at(due):
                await self._wake.wait()

    async def tick(self) -> None:
        """Publish what has changed since the last time."""
        await self._observer.look_for_drops()
        readings = await self._observer.read()
        now = trio.current_time()
        elapsed_s = self._state.settings.sys_interval_s if self._updated_at is None else now - self._updated_at
        self._updated_at = now
        self._update_loads(readings, elapsed_s)
        values = self.values(readings)
        changed = [(topic, value) for topic, value in values.items() if self.published.get(topic) != value]
        for start in range(0, len(changed), _BURST):
            if start:
                await trio.lowlevel.checkpoint()
            self._publish(dict(changed[start : start + _BURST]))
        self.published = values

    def values(self, readings: Readings) -> dict[str, str]:
        """Every topic with what it has to say."""
        return {PREFIX + name: value for name, value in (_texts(readings) | self._load_texts()).items()}

    def _load_texts(self) -> dict[str, str]:
        return {name: f"{value:.2f}" for name, value in self._load_values.items()}

    def _update_loads(self, readings: Readings, elapsed_s: float) -> None:
        """The averages; as in Mosquitto one that hardly moves stays what it was."""
        for name, count in _load_counts(readings).items():
            load = self._loads.setdefault(name, LoadAverage())
            load.update(count, elapsed_s)
            for period, average in load.averages().items():
                topic = f"load/{name}/{period}"
                before = self._load_values.get(topic)
                if before is None or abs(average - before) >= CHANGE_MIN:
                    self._load_values[topic] = average

    def _publish(self, values: dict[str, str]) -> None:
        """Publish in one turn, so that who reads all of it gets it in one piece."""
        if not values:
            return
        self._turns.begin_turn()
        for topic, value in values.items():
            message = Message(topic.encode(), value.encode(), _QOS, True, b"", self._state.plane.now)
            self._state.router.publish_message(message)
        self._turns.end_turn()


def dropped_by_limits(readings: Readings) -> int:
    """Messages dropped "due to inflight/queuing limits", as Mosquitto's manual has it."""
    return readings.counts["dropped_slow_reader"] + readings.counts["dropped_queue_full"]


def _load_counts(readings: Readings) -> dict[str, int]:
    counts = readings.counts
    return {
        "messages/received": sum(counts["packets_received"]),
        "messages/sent": sum(counts["packets_sent"]),
        "publish/dropped": dropped_by_limits(readings),
        "publish/received": counts["packets_received"][PacketType.PUBLISH],
        "publish/sent": counts["packets_sent"][PacketType.PUBLISH],
        "bytes/received": counts["bytes_received"],
        "bytes/sent": counts["bytes_sent"],
        "sockets": counts["sockets_opened"],
        "connections": counts["packets_received"][PacketType.CONNECT],
    }


def _texts(readings: Readings) -> dict[str, str]:
    counts = readings.counts
    disconnected = str(readings.sessions - readings.connected)
    connected = str(readings.connected)
    stored = str(readings.stored_messages)
    dropped = str(dropped_by_limits(readings))
    texts = {
        "version": f"noctule version {__version__}",
        "uptime": f"{int(readings.uptime_s)} seconds",
        "clients/total": str(readings.sessions),
        "clients/maximum": str(readings.connected_max),
        "clients/inactive": disconnected,
        "clients/disconnected": disconnected,
        "clients/active": connected,
        "clients/connected": connected,
        "clients/expired": str(readings.expired),
        "messages/stored": stored,
        "messages/received": str(sum(counts["packets_received"])),
        "messages/sent": str(sum(counts["packets_sent"])),
        "store/messages/count": stored,
        "store/messages/bytes": str(readings.stored_bytes),
        "subscriptions/count": str(readings.subscriptions - readings.shared_subscriptions),
        "shared_subscriptions/count": str(readings.shared_subscriptions),
        "retained messages/count": str(readings.retained),
        "heap/current": str(readings.resident_bytes),
        "heap/maximum": str(readings.resident_max_bytes),
        "bytes/received": str(counts["bytes_received"]),
        "bytes/sent": str(counts["bytes_sent"]),
        "publish/bytes/received": str(counts["publish_bytes_received"]),
        "publish/bytes/sent": str(counts["publish_bytes_sent"]),
        "publish/messages/dropped": dropped,
        "publish/messages/received": str(counts["packets_received"][PacketType.PUBLISH]),
        "publish/messages/sent": str(counts["packets_sent"][PacketType.PUBLISH]),
        "packet/out/bytes": str(readings.pending_bytes),
        "connections/socket/count": str(readings.sockets),
        "mqtt/publish/dropped": dropped,
    }
    for name, number in _PACKETS.items():
        texts[f"mqtt/{name}/received"] = str(counts["packets_received"][number])
        texts[f"mqtt/{name}/sent"] = str(counts["packets_sent"][number])
    return texts
