"""Two brokers and a bridge between them, each killed and the network cut again and again under load: what has been
acknowledged on one side reaches the other, at QoS 2 once.

``NOCTULE_CRASH=long`` does it some hundred times; NOCTULE_CRASH_SEED says where the chance begins.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Protocol

import pytest
import trio
from bridges.mosquittos import Mosquitto, free_port
from bridges.relay import Relay
from crash.clients import DEADLINE_S, Client, Peer, Publisher, Subscriber, until
from e2e.process import BrokerProcess
from noctule.protocol import ProtocolVersion

IS_LONG = os.environ.get("NOCTULE_CRASH") == "long"
BLOWS = 150 if IS_LONG else 7
SEED = int(os.environ.get("NOCTULE_CRASH_SEED", "1"))
HAS_MOSQUITTO = pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs mosquitto")

LIMITS = "[limits]\nmax_queued_messages = 1_000_000\nmax_queued_bytes = 268_435_456\n"

BRIDGE = """
[[bridge]]
name = "b"
addresses = ["mqtt://127.0.0.1:{port}"]
protocol_version = "{version}"
restart_delay = "50ms"
restart_delay_maximum = "50ms"

[[bridge.topics]]
pattern = "q/near"
qos = 2

[[bridge.topics]]
pattern = "q/far"
direction = "in"
qos = 2
"""


class Side(Protocol):
    """One of the brokers."""

    port: int

    def start(self) -> None: ...

    def strike(self) -> None: ...

    def end(self) -> None: ...


class Noctule:
    """Ours; a blow is SIGKILL."""

    def __init__(self, folder: Path, name: str, text: str, *arguments: str, port: int = 0) -> None:
        self._file = folder / f"{name}.toml"
        self._file.write_text(f"allow_anonymous = true\n{LIMITS}{text}")
        self._arguments = ("-c", str(self._file), "--data", str(folder / name), *arguments)
        self._listen = f"127.0.0.1:{port}"
        self.port = port
        self.process: BrokerProcess | None = None

    def start(self) -> None:
        self.process = BrokerProcess(*self._arguments, listen=self._listen).wait_until_listening()
        self.port = self.process.port

    def strike(self) -> None:
        assert self.process is not None
        self.process.process.kill()
        self.process.kill()
        self.process.check_output()
        self.process = None

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()


class Theirs:
    """Mosquitto; a blow is SIGTERM, as it writes what it keeps when it ends."""

    def __init__(self, folder: Path) -> None:
        self._broker = Mosquitto(folder)
        self.port = self._broker.port

    def start(self) -> None:
        self._broker.start()

    def strike(self) -> None:
        self._broker.stop()

    def end(self) -> None:
        self._broker.kill()


class SteadyPublisher(Publisher):
    """Publishes at a rate that the bridge keeps up with: a flood would leave hardly any messages under way.

    Mosquitto 2.0 also loses its way when it is restarted with thousands of messages in a queue.
    """

    async def settled(self, peer: Peer) -> None:
        """Fill the window, no sooner than it is time."""
        await trio.sleep(0.01)
        await super().settled(peer)


class Scene:
    """Both brokers, the network between them, and clients at both that know what they were promised."""

    def __init__(self, folder: Path, far: Side, version: ProtocolVersion, *arguments: str) -> None:
        self._folder = folder
        chance = Random(SEED)  # of the publishers, who draw in no order that could be repeated
        self._chance = Random(SEED + 1)
        self._due: list[str] = []
        self._arguments = arguments
        self.far = far
        self.relay = Relay(far.port, version)
        self.near: Side = far
        self.blows = {"near": 0, "far": 0, "network": 0}
        self.publishers = {name: SteadyPublisher(name, chance, 8) for name in ("near", "far")}
        self.subscribers = {"far": Subscriber("at-far", "q/near"), "near": Subscriber("at-near", "q/far")}

    async def run(self) -> None:
        """The whole of it."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.relay.serve)
                version = {5: "5", 4: "3.1.1", 3: "3.1"}[self.relay.version]
                self.near = Noctule(
                    self._folder, "near", BRIDGE.format(port=self.relay.port, version=version), *self._arguments
                )
                await self._in_thread(self.far.start)
                await self._in_thread(self.near.start)
                await self._subscribe(nursery)
                for _ in range(BLOWS):
                    await trio.sleep(0.1 + 0.4 * self._chance.random())
                    await self._blow()
                    self._check_faults()
                await self._finish()
                nursery.cancel_scope.cancel()
        finally:
            self.near.end()
            self.far.end()

    async def _in_thread(self, act: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(act)

    async def _subscribe(self, nursery: trio.Nursery) -> None:
        """Everybody connects, and connects again until the end; before the first message all who receive have
        subscribed, the bridge at the other broker too."""
        for client in (*self.publishers.values(), *self.subscribers.values()):
            client._expiry_s = 0xFFFFFFFF  # Mosquitto 2.0 forgets others when it ends
        for name, subscriber in self.subscribers.items():
            nursery.start_soon(self._keep, subscriber, name)
        with trio.fail_after(DEADLINE_S):
            await until(lambda: all(one.is_subscribed for one in self.subscribers.values()))
            await until(lambda: self.relay.is_subscribed)
        for name, publisher in self.publishers.items():
            nursery.start_soon(self._keep, publisher, name)

    async def _keep(self, client: Client, name: str) -> None:
        while True:
            await client.run((self.near if name == "near" else self.far).port)
            await trio.sleep(0.02)

    async def _blow(self) -> None:
        if not self._due:
            self._due = ["near", "far", "network", "network"]
            self._chance.shuffle(self._due)
        what = self._due.pop()
        self.blows[what] += 1
        if what == "network":
            self.relay.cut()
            await trio.sleep(0.2 * self._chance.random())
            self.relay.mend()
            return
        side = self.near if what == "near" else self.far
        await self._in_thread(side.strike)
        if self._chance.random() < 0.3:
            self.relay.cut()
        await self._in_thread(side.start)
        self.relay.mend()

    async def _finish(self) -> None:
        """Everybody finishes; nothing may be missing, and nothing of QoS 2 have come twice."""
        for publisher in self.publishers.values():
            publisher.is_finishing = True
        with trio.move_on_after(DEADLINE_S) as scope:
            seen = -1
            while any(one.in_flight for one in self.publishers.values()) or self.missing():
                count = sum(counts.total() for one in self.subscribers.values() for counts in one.received.values())
                if count != seen:
                    seen = count
                    scope.deadline = trio.current_time() + DEADLINE_S
                await trio.sleep(0.1)
            await trio.sleep(0.5)  # what comes too much has its time
        assert not any(publisher.in_flight for publisher in self.publishers.values())
        assert not self.missing(), self.missing()
        assert not self.twice(), self.twice()
        self._check_faults()

    def _check_faults(self) -> None:
        for client in (*self.publishers.values(), *self.subscribers.values()):
            assert not client.faults, client.faults

    def missing(self) -> dict[str, list[bytes]]:
        """What was promised on one side and has not come on the other."""
        found = {}
        for name, other in (("near", "far"), ("far", "near")):
            publisher, subscriber = self.publishers[name], self.subscribers[other]
            lost = [
                payload
                for qos in (1, 2)
                for payload in publisher.acknowledged[qos]
                if not subscriber.received[qos][payload]
            ]
            if lost:
                found[f"from {name} to {other}"] = sorted(lost)[:10]
        return found

    def twice(self) -> dict[str, list[bytes]]:
        """Messages of QoS 2 that have come more than once."""
        found = {}
        for name, subscriber in self.subscribers.items():
            again = [payload for payload, count in subscriber.received[2].items() if count > 1]
            if again:
                found[f"at {name}"] = sorted(again)[:10]
        return found

    def counts(self) -> dict[str, int]:
        """How much was promised."""
        return {
            f"{name} {qos}": len(publisher.acknowledged[qos])
            for name, publisher in self.publishers.items()
            for qos in (1, 2)
        }


def play(scene: Scene) -> None:
    begun_at = time.monotonic()
    trio.run(scene.run)
    print(f"{scene.blows} in {time.monotonic() - begun_at:.0f} s, {scene.relay.connections} connections of the bridge")
    print(scene.counts())
    assert min(scene.counts().values()) > 5 * BLOWS, "too little load to find anything"
    assert scene.relay.connections > BLOWS / 2


@pytest.mark.timeout(0 if IS_LONG else 120)
@pytest.mark.parametrize("version", [ProtocolVersion.V5] + [ProtocolVersion.V3_1_1] * IS_LONG)
def test_between_two_of_ours(tmp_path: Path, version: ProtocolVersion) -> None:
    far = Noctule(tmp_path, "far", "", port=free_port())
    play(Scene(tmp_path, far, version))


@HAS_MOSQUITTO
@pytest.mark.timeout(0 if IS_LONG else 120)
@pytest.mark.parametrize("version", [ProtocolVersion.V3_1_1] + [ProtocolVersion.V5] * IS_LONG)
def test_to_mosquitto(tmp_path: Path, version: ProtocolVersion) -> None:
    play(Scene(tmp_path, Theirs(tmp_path), version))


@pytest.mark.timeout(120)
def test_what_is_lost_is_found(tmp_path: Path) -> None:
    """At ``memory`` all that waits is lost when the broker is killed: a check that finds nothing there is none."""
    far = Noctule(tmp_path, "far", "", port=free_port())
    scene = Scene(tmp_path, far, ProtocolVersion.V5, "--durability", "memory")
    with pytest.raises(ExceptionGroup) as caught:
        trio.run(scene.run)
    assert caught.group_contains(AssertionError, match="its session is gone|from near to far")
