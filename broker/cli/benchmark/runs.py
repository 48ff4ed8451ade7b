"""Runs a scenario: opens the connections, has them publish and receive, and counts."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio
from noctule._speedups.codec import encode_publish
from noctule.cli.benchmark.measurements import Measurements
from noctule.cli.benchmark.raw_connection import STAMP, LoadError, Publisher, RawConnection, now_ns
from noctule.cli.benchmark.repetitions import Repetitions
from noctule.cli.benchmark.scenarios import Scenario
from noctule.client import ClientError
from noctule.client.handshake import Established

#: Opens one connection: its client identifier, whether it begins anew, whether its session is kept.
Dial = Callable[[str, bool, bool, trio.Nursery], Awaitable[Established]]

#: How many messages go into one write at most, so that no subscriber sees long bursts.
_BATCH: Final = 64

#: After how many seconds without a delivery what is outstanding counts as lost, and sending goes on.
_STALL_S: Final = 2.0

#: How long deliveries are waited for when sending has ended.
_DRAIN_S: Final = 5.0

#: How many connections are opened at one time.
_TOGETHER: Final = 50

_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """A scenario with its numbers."""

    scenario: Scenario
    publishers: int
    subscribers: int
    connections: int
    messages: int
    qos: int
    payload_bytes: int
    duration_s: float
    warm_up_s: float
    #: Messages per second of all publishers together; 0: as many as go through.
    rate: float
    #: New connections per second; 0: as many as go through.
    connect_rate: float
    window: int
    topic: str


class Run:
    """One run. ``measurements`` may be looked at while it lasts."""

    def __init__(self, load: Load, dial: Dial) -> None:
        self.load = load
        self.measurements = Measurements()
        self._dial = dial
        self._id = secrets.token_hex(4)
        self._opened: list[RawConnection] = []
        self._publishers: list[Publisher] = []
        self._repetitions = Repetitions(load.scenario.is_shared)

    async def run(self) -> None:
        """Until the time is up. ClientError or LoadError if it cannot even begin."""
        match self.load.scenario.name:
            case "idle":
                await self._idle()
            case "connect-storm":
                await self._storm()
            case "retained":
                await self._retained()
            case "durable":
                await self._durable()
            case _:
                await self._messages()

    # Connections.

    def _client_id(self, role: str, number: int) -> str:
        return f"bench-{self._id}-{role}-{number}"

    async def _open(
        self,
        role: str,
        number: int,
        nursery: trio.Nursery,
        on_message: Callable[[bytes, bool], None],
        *,
        is_new: bool = True,
        is_durable: bool = False,
    ) -> RawConnection:
        established = await self._dial(self._client_id(role, number), is_new, is_durable, nursery)
        connection = RawConnection(established, on_message)
        self._opened.append(connection)
        nursery.start_soon(self._read, connection)
        self.measurements.connected += 1
        return connection

    async def _read(self, connection: RawConnection) -> None:
        try:
            await connection.read()
        except (LoadError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            if connection.is_leaving:
                return
            self.measurements.failed(str(error) or "the connection broke off")

    async def _open_all(self, count: int, open_one: Callable[[int], Awaitable[RawConnection]]) -> list[RawConnection]:
        """So many connections, several at a time. The first failure comes out."""
        limiter = trio.CapacityLimiter(_TOGETHER)
        opened: dict[int, RawConnection] = {}
        failures: list[Exception] = []

        async def one(number: int) -> None:
            async with limiter:
                try:
                    opened[number] = await open_one(number)
                except (ClientError, LoadError) as error:
                    failures.append(error)

        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(one, number)
        if failures:
            raise failures[0]
        return [opened[number] for number in range(count)]

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[trio.Nursery]:
        """A nursery for the tasks of connections, which end with the block."""
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as leaving:
                        for connection in self._opened:
                            leaving.start_soon(connection.leave)
                self._opened.clear()
                nursery.cancel_scope.cancel()

    # Messages through the broker: fan-in, fan-out, pairs, shared, ping-pong.

    def _topic_of(self, publisher: int) -> str:
        return f"{self.load.topic}/{publisher}" if self.load.scenario.own_topics else f"{self.load.topic}/all"

    def _filter_of(self, subscriber: int) -> str:
        scenario = self.load.scenario
        if scenario.is_paired:
            return self._topic_of(subscriber)
        wanted = f"{self.load.topic}/+"
        return f"$share/{self._id}/{wanted}" if scenario.is_shared else wanted

    async def _messages(self) -> None:
        load = self.load
        per_message = load.scenario.deliveries_per_message(load.subscribers)
        async with self._connections() as nursery:

            async def open_subscriber(number: int) -> RawConnection:
                def on_message(payload: bytes, _retain: bool) -> None:
                    self._delivered(number, payload)

                connection = await self._open("sub", number, nursery, on_message)
                with trio.fail_after(30):
                    await connection.subscribe(self._filter_of(number), load.qos)
                return connection

            async def open_publisher(number: int) -> RawConnection:
                return await self._open("pub", number, nursery, lambda _payload, _retain: None)

            await self._open_all(load.subscribers, open_subscriber)
            for number, connection in enumerate(await self._open_all(load.publishers, open_publisher)):
                topic = self._topic_of(number)
                publisher = Publisher(connection, number, topic, load.qos, load.payload_bytes, False)
                publisher.deliveries_per_message = per_message
                self._publishers.append(publisher)
            if load.warm_up_s:
                await self._publish_for(load.warm_up_s, per_message)
                await self._drain()
            self.measurements.begin()
            await self._publish_for(load.duration_s, per_message)
            await self._drain()
            self.measurements.finish()

    async def _publish_for(self, seconds: float, per_message: int) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for publisher in self._publishers:
                    task = self._at_rate if self.load.rate else self._in_window
                    nursery.start_soon(task, publisher, per_message)

    async def _publish(self, publisher: Publisher, due: list[int], per_message: int) -> int:
        """Publish, and count what is to come of it; the count is right however the sending ends."""
        before = publisher.sequence
        try:
            return await publisher.publish(due)
        except (LoadError, trio.BrokenResourceError, trio.ClosedResourceError):
            # The task that reads has told what it was. The others go on without this one.
            await trio.sleep_forever()
            raise
        finally:
            count = (publisher.sequence - before) & 0xFFFF_FFFF
            self.measurements.sent += count
            self.measurements.expected += count * per_message

    async def _in_window(self, publisher: Publisher, per_message: int) -> None:
        """A closed loop: as much as the broker delivers."""
        window = self.load.scenario.window or self.load.window
        while True:
            room = window - publisher.outstanding // per_message
            if room <= 0:
                publisher.progress = trio.Event()
                with trio.move_on_after(_STALL_S) as stall:
                    await publisher.progress.wait()
                if stall.cancelled_caught:
                    publisher.outstanding = 0
                continue
            now = now_ns()
            await self._publish(publisher, [now] * min(room, _BATCH), per_message)
            await trio.lowlevel.checkpoint()

    async def _at_rate(self, publisher: Publisher, per_message: int) -> None:
        """An open loop: a message is due at its time whatever the broker does, and its latency counts from then."""
        interval_ns = _NS_PER_S * len(self._publishers) / self.load.rate
        start_ns = now_ns() + int(interval_ns * publisher.number / max(len(self._publishers), 1))
        number = 0
        while True:
            due_ns = start_ns + int(number * interval_ns)
            await trio.sleep(max(due_ns - now_ns(), 0) / _NS_PER_S)
            late = int((now_ns() - due_ns) / interval_ns) + 1
            due = [start_ns + int((number + ahead) * interval_ns) for ahead in range(min(late, _BATCH))]
            number += await self._publish(publisher, due, per_message)

    def _delivered(self, subscriber: int, payload: bytes) -> None:
        if len(payload) < STAMP.size:
            return
        number, sequence, due_ns = STAMP.unpack_from(payload)
        if number >= len(self._publishers):
            return
        publisher = self._publishers[number]
        if publisher.outstanding:
            publisher.outstanding -= 1
            publisher.progress.set()
        if not self._repetitions.is_first(subscriber, number, sequence):
            self.measurements.repeated += 1
            return
        self.measurements.received += 1
        self.measurements.took(now_ns() - due_ns)

    async def _drain(self) -> None:
        """Wait for what is on its way, until nothing comes any more."""
        with trio.move_on_after(_DRAIN_S):
            last = -1
            while self.measurements.received < self.measurements.expected and last != self.measurements.received:
                last = self.measurements.received
                for _ in range(20):
                    await trio.sleep(0.05)
                    if self.measurements.received >= self.measurements.expected:
                        return
        for publisher in self._publishers:
            publisher.outstanding = 0

    # Connections alone: idle, connect-storm.

    async def _timed_open(self, number: int, nursery: trio.Nursery) -> RawConnection:
        began_ns = now_ns()
        connection = await self._open("idle", number, nursery, lambda _payload, _retain: None)
        self.measurements.took(now_ns() - began_ns)
        return connection

    async def _idle(self) -> None:
        load = self.load
        limiter = trio.CapacityLimiter(_TOGETHER)
        async with self._connections() as nursery:
            self.measurements.begin()
            deadline = trio.current_time() + load.duration_s

            async def one(number: int) -> None:
                async with limiter:
                    try:
                        connection = await self._timed_open(number, nursery)
                    except (ClientError, LoadError) as error:
                        self.measurements.failed(str(error))
                        return
                nursery.start_soon(connection.ping_forever, 30)

            async with trio.open_nursery() as opening:
                for number in range(load.connections):
                    opening.start_soon(one, number)
                    if load.connect_rate:
                        await trio.sleep(1 / load.connect_rate)
            await trio.sleep_until(deadline)
            self.measurements.finish()

    async def _storm(self) -> None:
        load = self.load
        self.measurements.begin()
        pause_s = load.connections / load.connect_rate if load.connect_rate else 0.0

        async def visit_again(visitor: int) -> None:
            number = visitor
            while True:
                async with trio.open_nursery() as nursery:
                    try:
                        connection = await self._timed_open(number, nursery)
                        with trio.fail_after(30):
                            await connection.subscribe(f"{load.topic}/{visitor}", load.qos)
                        await connection.leave()
                    except (ClientError, LoadError, trio.TooSlowError) as error:
                        self.measurements.failed(str(error))
                        await trio.sleep(0.1)
                    nursery.cancel_scope.cancel()
                self._opened.clear()
                number += load.connections
                await trio.sleep(pause_s)

        with trio.move_on_after(load.duration_s):
            async with trio.open_nursery() as nursery:
                for visitor in range(load.connections):
                    nursery.start_soon(visit_again, visitor)
        self.measurements.finish()

    # What a broker keeps: retained, durable.

    def _kept_delivered(self, subscriber: int, payload: bytes, began_ns: int) -> None:
        if len(payload) < STAMP.size:
            return
        number, sequence, due_ns = STAMP.unpack_from(payload)
        if not self._repetitions.is_first(subscriber, number, sequence):
            self.measurements.repeated += 1
            return
        self.measurements.received += 1
        self.measurements.took(now_ns() - max(due_ns, began_ns))

    async def _publish_numbered(self, publisher: Publisher, count: int) -> None:
        sent = 0
        while sent < count:
            now = now_ns()
            sent += await publisher.publish([now] * min(_BATCH, count - sent))
        await publisher.connection.until_acknowledged()

    async def _retained(self) -> None:
        load = self.load
        async with self._connections() as nursery:
            writer = await self._open("pub", 0, nursery, lambda _payload, _retain: None)
            topics = [f"{load.topic}/{number}" for number in range(load.messages)]
            self.measurements.begin()
            for number, topic in enumerate(topics):
                one = Publisher(writer, number, topic, load.qos, load.payload_bytes, True)
                self.measurements.sent += await one.publish([now_ns()])
            await self._publish_numbered(Publisher(writer, 0, f"{load.topic}/last", load.qos, 16, False), 1)
            self.measurements.close_interval()
            self.measurements.expected = load.messages * load.subscribers

            async def fetch(number: int) -> RawConnection:
                began_ns = now_ns()

                def on_message(payload: bytes, retain: bool) -> None:
                    if retain:
                        self._kept_delivered(number, payload, began_ns)

                connection = await self._open("sub", number, nursery, on_message)
                began_ns = now_ns()
                await connection.subscribe(f"{load.topic}/+", load.qos)
                return connection

            await self._open_all(load.subscribers, fetch)
            await self._drain()
            self.measurements.finish()
            for topic in topics:  # what is left behind would be there for the next run
                await self._clear(writer, topic)

    async def _clear(self, writer: RawConnection, topic: str) -> None:
        await writer.send(encode_publish(topic.encode(), b"", writer.version, 0, True))

    async def _durable(self) -> None:
        load = self.load
        async with self._connections() as nursery:

            def open_one(number: int, is_new: bool = True) -> Awaitable[RawConnection]:
                def count(payload: bytes, _retain: bool) -> None:
                    self._kept_delivered(number, payload, back_ns)

                return self._open("sub", number, nursery, count, is_new=is_new, is_durable=True)

            back_ns = now_ns()
            away = await self._open_all(load.subscribers, open_one)
            for connection in away:
                await connection.subscribe(f"{load.topic}/all", max(load.qos, 1))
                await connection.leave()
            writer = await self._open("pub", 0, nursery, lambda _payload, _retain: None)
            publisher = Publisher(writer, 0, f"{load.topic}/all", max(load.qos, 1), load.payload_bytes, False)
            self.measurements.begin()
            await self._publish_numbered(publisher, load.messages)
            self.measurements.sent = load.messages
            self.measurements.close_interval()
            self.measurements.expected = load.messages * load.subscribers
            back_ns = now_ns()
            back = await self._open_all(load.subscribers, lambda number: open_one(number, is_new=False))
            await self._drain()
            self.measurements.finish()
            for connection in back:
                await connection.leave()
            # The sessions are thrown away, with what may be left in them.
            await self._open_all(
                load.subscribers, lambda number: self._open("sub", number, nursery, lambda _payload, _retain: None)
            )
