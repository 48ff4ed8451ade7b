"""A broker that is killed again and again under load (SIGKILL): nothing that it has acknowledged is lost.

``NOCTULE_CRASH=long`` kills it 200 times; NOCTULE_CRASH_SEED says where the chance begins.
"""

import os
import time
from pathlib import Path
from random import Random

import pytest
import trio
from crash.clients import (
    DEADLINE_S,
    Changing,
    Client,
    Publisher,
    Subscriber,
    TakenOver,
    publish_each,
    retained_messages,
    until,
)
from e2e.process import BrokerProcess

IS_LONG = os.environ.get("NOCTULE_CRASH") == "long"
KILLS = 220 if IS_LONG else 10
SEED = int(os.environ.get("NOCTULE_CRASH_SEED", "1"))


class Load:
    """All clients, and what is checked about them."""

    def __init__(self, data: Path, chance: Random, *arguments: str) -> None:
        self._data = data
        # Nothing may be lost by a queue's limits: who is slow, or seldom there, has much to catch up with.
        self._config = data.with_name("noctule.toml")
        self._config.write_text(
            "allow_anonymous = true\n[limits]\nmax_queued_messages = 1_000_000\nmax_queued_bytes = 268_435_456\n"
        )
        self._chance = chance
        self._arguments = arguments
        self.publishers = [Publisher(f"p{number}", chance) for number in range(2)] + [TakenOver("taken", chance)]
        self.steady = Subscriber("steady", "q/#")
        self.slow = Subscriber("slow", "q/#", pause_s=0.001)
        self.seldom = Subscriber("seldom", "q/#")
        self.members = [Subscriber(f"member{number}", "$share/g/q/#") for number in range(2)]
        self.changing = Changing("changing", chance)
        self.kills = 0

    @property
    def everybody(self) -> list[Client]:
        return [*self.publishers, self.steady, self.slow, self.seldom, *self.members, self.changing]

    def start(self) -> BrokerProcess:
        """The broker, once more, on the same directory."""
        return BrokerProcess(
            "-c", str(self._config), "--data", str(self._data), *self._arguments
        ).wait_until_listening()

    async def settle_in(self) -> None:
        """Before the first kill everybody who receives has subscribed."""
        broker = await trio.to_thread.run_sync(self.start)
        try:
            for publisher in self.publishers:
                publisher.is_finishing = True
            self.changing.is_finishing = True
            with trio.fail_after(DEADLINE_S):
                async with trio.open_nursery() as nursery:
                    for client in self.everybody:
                        nursery.start_soon(client.run, broker.port)
                    receivers = (self.steady, self.slow, self.seldom, *self.members)
                    await until(lambda: all(one.is_subscribed for one in receivers))
                    nursery.cancel_scope.cancel()
        finally:
            broker.kill()
        for publisher in self.publishers:
            publisher.is_finishing = False
        self.changing.is_finishing = False

    async def round(self) -> None:
        """Start the broker, look at what is retained, load it, kill it."""
        broker = await trio.to_thread.run_sync(self.start)
        try:
            self.check_retained(await retained_messages(broker.port))
            async with trio.open_nursery() as nursery:
                for client in self.everybody:
                    if client is not self.seldom or self.kills % 4 == 3:
                        nursery.start_soon(client.run, broker.port)
                await trio.sleep(0.05 + 0.25 * self._chance.random())
                broker.process.kill()
                nursery.cancel_scope.cancel()
        finally:
            broker.kill()
        broker.check_output()
        self.kills += 1
        for client in self.everybody:
            assert not client.faults, client.faults

    def check_retained(self, found: dict[bytes, bytes]) -> None:
        """Each is the last that was acknowledged, or one that was sent after it."""
        for publisher in self.publishers:
            for topic, sent in publisher.retained.items():
                possible = sent[publisher.retained_acknowledged[topic] :]
                assert found.get(topic, b"") in possible, f"{topic!r} after {self.kills} kills"

    async def finish(self) -> None:
        """Let everybody finish, and look whether anything is missing or came twice."""
        broker = await trio.to_thread.run_sync(self.start)
        try:
            for publisher in self.publishers:
                publisher.is_finishing = True
            self.changing.is_finishing = True
            self.slow.pause_s = 0.0
            with trio.move_on_after(DEADLINE_S) as scope:
                async with trio.open_nursery() as nursery:
                    for client in self.everybody:
                        nursery.start_soon(client.run, broker.port)
                    await self._until_all_is_there(scope)
                    await self.check_changing(broker.port)
                    for receiver in (self.steady, self.slow, self.seldom, *self.members):
                        await receiver.fall_silent()
                    nursery.cancel_scope.cancel()
            self.check_retained(await retained_messages(broker.port))
            broker.stop()
        finally:
            broker.kill()
        assert not any(publisher.in_flight for publisher in self.publishers)
        assert not self.missing(), self.missing()
        assert not self.twice(), self.twice()
        for client in self.everybody:
            assert not client.faults, client.faults

    async def _until_all_is_there(self, scope: trio.CancelScope) -> None:
        """Wait as long as anything comes."""
        seen = -1
        while any(one.in_flight for one in self.publishers) or self.missing():
            receivers = (self.steady, self.slow, self.seldom, *self.members)
            count = sum(counts.total() for one in receivers for counts in one.received.values())
            if count != seen:
                seen = count
                scope.deadline = trio.current_time() + DEADLINE_S
            await trio.sleep(0.1)

    async def check_changing(self, port: int) -> None:
        """Its subscriptions are those that were acknowledged."""
        await publish_each(port, [(b"s/%d" % topic, b"probe %d" % topic) for topic in range(Changing.TOPICS)])
        await self.changing.fall_silent()
        for topic, is_subscribed in self.changing.is_subscribed.items():
            if is_subscribed is not None:
                assert self.changing.received[b"probe %d" % topic] == is_subscribed, f"s/{topic}"

    def acknowledged(self, qos: int) -> set[bytes]:
        """Everything of this QoS that the broker has promised."""
        return set[bytes]().union(*(publisher.acknowledged[qos] for publisher in self.publishers))

    def missing(self) -> dict[str, list[bytes]]:
        """What was promised and has not come, by receiver."""
        found = {}
        receivers = {one.client_id: [one] for one in (self.steady, self.slow, self.seldom)}
        for name, group in {**receivers, "the share group": self.members}.items():
            lost = [
                payload
                for qos in (1, 2)
                for payload in self.acknowledged(qos)
                if not any(one.received[qos][payload] for one in group)
            ]
            if lost:
                found[name] = sorted(lost)[:10]
        return found

    def twice(self) -> dict[str, list[bytes]]:
        """Messages of QoS 2 that have come more than once, by receiver."""
        found = {}
        receivers = {one.client_id: [one] for one in (self.steady, self.slow, self.seldom)}
        for name, group in {**receivers, "the share group": self.members}.items():
            counts = sum((one.received[2] for one in group), start=type(group[0].received[2])())
            again = [payload for payload, count in counts.items() if count > 1]
            if again:
                found[name] = sorted(again)[:10]
        return found


def test_what_is_lost_is_found(tmp_path: Path) -> None:
    """At ``memory`` everything is: a check that finds nothing there would find nothing anywhere."""
    load = Load(tmp_path / "data", Random(SEED), "--durability", "memory")

    async def run() -> None:
        await load.settle_in()
        for _ in range(2):
            await load.round()

    with pytest.raises(AssertionError, match=r"after 1 kills|its session is gone"):
        trio.run(run)


@pytest.mark.timeout(0 if IS_LONG else 120)
@pytest.mark.parametrize("carrier", ["reactor", "streams"] if IS_LONG else ["reactor"])
def test_nothing_acknowledged_is_lost_when_the_broker_is_killed(tmp_path: Path, carrier: str) -> None:
    load = Load(tmp_path / "data", Random(SEED), "--carrier", carrier)

    async def run() -> None:
        await load.settle_in()
        for _ in range(KILLS):
            await load.round()
        await load.finish()

    begun_at = time.monotonic()
    trio.run(run)
    counts = {qos: len(load.acknowledged(qos)) for qos in (1, 2)}
    print(
        f"{load.kills} kills in {time.monotonic() - begun_at:.0f} s; acknowledged at QoS 1: {counts[1]}, at QoS 2: "
        f"{counts[2]}, retained: {sum(sum(one.retained_acknowledged.values()) for one in load.publishers)}"
    )
    assert min(counts.values()) > 10 * KILLS, "too little load to find anything"
