"""When a bridge connects, to which address, how long it waits, and who is told: brokers in memory, mock clock."""

from dataclasses import replace

import pytest
import trio
from bridges.brokers import Memory, bridge_to, connected, in_memory
from noctule.bridges.addresses import AddressChoice
from noctule.bridges.restart_delays import RestartDelays
from noctule.config.bridges import BridgeTopic, BridgeVersion, Direction, Notifications, StartType

STATE = "$SYS/broker/connection/far.b/state"


def test_waits_are_drawn_from_a_range_that_grows() -> None:
    ranges: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        ranges.append((least, most))
        return most

    delays = RestartDelays(5, 30, draw)
    assert [delays.next_s() for _ in range(3)] == [15, 30, 30]
    assert ranges == [(5, 15), (5, 45), (5, 90)]
    delays.reset()
    assert delays.next_s() == 15
    assert [RestartDelays(7, 7).next_s() for _ in range(3)] == [7, 7, 7]


def test_addresses_are_tried_in_turn() -> None:
    choice = AddressChoice(3, is_round_robin=False)
    assert [(choice.failed(), choice.current) for _ in range(3)] == [(False, 1), (False, 2), (True, 0)]
    choice.failed()
    choice.connected()
    assert choice.returns_to_first
    choice.lost()
    assert (choice.current, choice.returns_to_first) == (0, False)
    around = AddressChoice(3, is_round_robin=True)
    around.failed()
    around.connected()
    assert not around.returns_to_first
    around.lost()
    assert around.current == 2
    assert [around.failed() for _ in range(3)] == [False, False, True]


def test_it_connects_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published meanwhile waits, and comes once."""

    async def run(memory: Memory) -> None:
        await memory.start("far")
        near = await memory.start("near", bridge_to("far", restart_delay_s=5, restart_delay_max_s=5))
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            there.subscription("out/#", 2) as messages,
        ):
            await connected(near)
            memory.closed.add("far")
            await memory.cut("far")
            began_at = trio.current_time()
            for qos in (1, 2):
                await here.publish("out/1", b"%d" % qos, qos)
            await trio.sleep(31)
            assert len(memory.tries) == 1 + 6
            memory.closed.clear()
            await connected(near)
            assert trio.current_time() == pytest.approx(began_at + 35, abs=0.1)
            assert [(await messages.receive()).payload for _ in range(2)] == [b"1", b"2"]
            await here.publish("out/1", b"3", 1)
            assert (await messages.receive()).payload == b"3"

    in_memory(monkeypatch, run)


def test_messages_wait_before_the_first_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(memory: Memory) -> None:
        near = await memory.start("near", bridge_to("far"))
        async with memory.client("near") as here:
            await here.publish("out/1", b"1", 1)
            await memory.start("far")
            async with memory.client("far") as there, there.subscription("out/#", 2) as messages:
                await connected(near)
                assert (await messages.receive()).payload == b"1"

    in_memory(monkeypatch, run)


def test_a_clean_session_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(memory: Memory) -> None:
        near = await memory.start("near", bridge_to("far", clean_session=True))
        async with memory.client("near") as here:
            await here.publish("out/1", b"lost", 1)
            far = await memory.start("far")
            async with memory.client("far") as there, there.subscription("out/#", 2) as messages:
                await connected(near)
                await here.publish("out/1", b"1", 1)
                assert (await messages.receive()).payload == b"1"
                memory.closed.add("far")
                await memory.cut("far")
                await there.publish("in/1", b"lost", 1)
                assert [one.client_id for one in far.state.sessions if one.client_id.startswith("b.")] == []

    in_memory(monkeypatch, run)


def test_fail_over_and_return_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(memory: Memory) -> None:
        await memory.start("one")
        await memory.start("two")
        near = await memory.start("near", bridge_to("one", "two", primary_retry_s=5))
        await connected(near)
        assert memory.tries == ["one"]
        async with memory.client("two") as there, there.subscription("out/#", 2) as messages:
            memory.closed.add("one")
            await memory.cut("one")
            async with memory.client("near") as here:
                await here.publish("out/1", b"1", 2)
                assert (await messages.receive()).payload == b"1"
        assert memory.tries == ["one", "one", "two"]
        await trio.sleep(12)
        assert memory.tries == ["one", "one", "two", "one", "one"]
        memory.closed.clear()
        await trio.sleep(6)
        assert memory.tries[5:] == ["one", "one"]  # looked for, and connected to
        assert near.bridges.connected["b"]
        async with memory.client("one") as there, there.subscription("out/#", 2) as messages:
            async with memory.client("near") as here:
                await here.publish("out/1", b"2", 2)
            assert (await messages.receive()).payload == b"2"

    in_memory(monkeypatch, run)


def test_round_robin_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(memory: Memory) -> None:
        await memory.start("one")
        await memory.start("two")
        near = await memory.start("near", bridge_to("one", "two", round_robin=True))
        await connected(near)
        await memory.cut("one")
        await trio.sleep(1_000)
        assert memory.tries == ["one", "two"]
        await memory.cut("two")
        await trio.sleep(1)
        assert memory.tries == ["one", "two", "one"]

    in_memory(monkeypatch, run)


def test_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(memory: Memory) -> None:
        await memory.start("far")
        near = await memory.start("near", bridge_to("far", start=StartType.ONCE))
        await connected(near)
        await memory.cut("far")
        await trio.sleep(1_000)
        assert memory.tries == ["far"]
        near.stop()
        await trio.sleep(10)

    in_memory(monkeypatch, run)


@pytest.mark.parametrize("version", BridgeVersion)
def test_lazy(monkeypatch: pytest.MonkeyPatch, version: BridgeVersion) -> None:
    """It connects when enough messages wait, of any QoS, and leaves when none have crossed for a while."""

    async def run(memory: Memory) -> None:
        await memory.start("far")
        lazy = bridge_to("far", start=StartType.LAZY, lazy_threshold=3, idle_timeout_s=20, protocol_version=version)
        near = await memory.start("near", lazy)
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            there.subscription("out/#", 2) as messages,
        ):
            for round_ in range(2):
                await here.publish("out/0", b"0", 0)
                await here.publish("out/1", b"1", 1)
                await trio.sleep(1_000)
                assert len(memory.tries) == round_
                await here.publish("out/2", b"2", 2)
                found = sorted([(await messages.receive()).payload for _ in range(3)])
                assert found == [b"0", b"1", b"2"]
                assert near.bridges.connected["b"]
                await trio.sleep(15)
                await here.publish("out/0", b"more", 0)
                assert (await messages.receive()).payload == b"more"
                await trio.sleep(15)
                assert near.bridges.connected["b"]
                await trio.sleep(10)
                assert not near.bridges.connected["b"]

    in_memory(monkeypatch, run)


def test_a_lazy_bridge_rests_with_its_ears_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published while it may not connect again is not lost, at QoS 0 neither."""

    async def run(memory: Memory) -> None:
        await memory.start("far")
        wait_s = {"restart_delay_s": 30, "restart_delay_max_s": 30}
        near = await memory.start("near", bridge_to("far", start=StartType.LAZY, lazy_threshold=1, **wait_s))
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            there.subscription("out/#", 2) as messages,
        ):
            await here.publish("out/0", b"first", 0)
            assert (await messages.receive()).payload == b"first"
            began_at = trio.current_time()
            await memory.cut("far")
            await trio.sleep(1)
            await here.publish("out/0", b"second", 0)
            assert (await messages.receive()).payload == b"second"
            assert trio.current_time() - began_at == pytest.approx(30, abs=0.5)
            await connected(near)

    in_memory(monkeypatch, run)


def test_no_wait_on_the_way_back_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(memory: Memory) -> None:
        await memory.start("two")
        wait_s = {"restart_delay_s": 1_000, "restart_delay_max_s": 1_000, "primary_retry_s": 10}
        near = await memory.start("near", bridge_to("one", "two", **wait_s))
        await connected(near)
        await memory.start("one")
        await trio.sleep(10.5)
        assert memory.tries == ["one", "two", "one", "one"]
        assert near.bridges.connected["b"]

    in_memory(monkeypatch, run)


def test_notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are told, and each by a retained message."""

    async def run(memory: Memory) -> None:
        await memory.start("far")
        near = await memory.start("near", bridge_to("far", remote_client_id="far.b", restart_delay_max_s=9))
        await connected(near)
        async with (
            memory.client("far") as there,
            there.subscription(STATE, 1) as told_there,
            memory.client("near") as here,
            here.subscription(STATE, 1) as told_here,
        ):
            for told in (told_here, told_there):
                message = await told.receive()
                assert (message.payload, message.retain) == (b"1", True)
            memory.closed.add("far")
            await memory.cut("far")
            assert (await told_here.receive()).payload == b"0"
            assert (await told_there.receive()).payload == b"0"  # the Will
            memory.closed.clear()
            assert (await told_here.receive()).payload == b"1"
            assert (await told_there.receive()).payload == b"1"
            await near.reload(replace(near.settings, bridges=()))
            assert (await told_there.receive()).payload == b"0"
            assert (await told_here.receive()).payload == b"0"

    in_memory(monkeypatch, run)


@pytest.mark.parametrize("notifications", [Notifications.LOCAL, Notifications.NONE])
def test_fewer_are_told(monkeypatch: pytest.MonkeyPatch, notifications: Notifications) -> None:
    async def run(memory: Memory) -> None:
        await memory.start("far")
        near = await memory.start("near", bridge_to("far", notifications=notifications, notification_topic="state/b"))
        await connected(near)
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            here.subscription("state/#", 1) as told_here,
            there.subscription("state/#", 1) as told_there,
        ):
            await here.publish("state/end", b"", 1)
            await there.publish("state/end", b"", 1)
            assert (await told_there.receive()).topic == "state/end"
            expected = "state/b" if notifications is Notifications.LOCAL else "state/end"
            assert (await told_here.receive()).topic == expected

    in_memory(monkeypatch, run)


@pytest.mark.parametrize("version", BridgeVersion)
def test_nothing_comes_back(monkeypatch: pytest.MonkeyPatch, version: BridgeVersion) -> None:
    """What both sides send to both goes once across, whoever it came from."""

    async def run(memory: Memory) -> None:
        await memory.start("far")
        topics = (BridgeTopic("#", Direction.BOTH, 1),)
        near = await memory.start("near", bridge_to("far", topics=topics, protocol_version=version))
        await connected(near)
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            here.subscription("#", 1) as received_here,
            there.subscription("#", 1) as received_there,
        ):
            await here.publish("a", b"from here", 1)
            await there.publish("a", b"from there", 1)
            for messages in (received_here, received_there):
                assert {(await messages.receive()).payload for _ in range(2)} == {b"from here", b"from there"}
            await trio.sleep(100)
            await here.publish("a", b"last", 1)
            for messages in (received_here, received_there):
                assert (await messages.receive()).payload == b"last"

    in_memory(monkeypatch, run)


def test_a_broker_that_does_not_know_bridges(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again without the bit that marks them."""

    async def run(memory: Memory) -> None:
        levels: list[int] = []
        await memory.start("far")

        class Old(trio.abc.HalfCloseableStream):
            def __init__(self, below: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]) -> None:
                self.below = below

            async def send_all(self, data: bytes | bytearray | memoryview) -> None:
                if bytes(data[2:8]) == b"\x00\x04MQTT":
                    levels.append(data[8])
                    if data[8] & 0x80:
                        await trio.aclose_forcefully(self.below)
                        return
                await self.below.send_all(data)

            async def wait_send_all_might_not_block(self) -> None:
                await self.below.wait_send_all_might_not_block()

            async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
                return await self.below.receive_some(max_bytes)

            async def send_eof(self) -> None:
                await self.below.send_eof()

            async def aclose(self) -> None:
                await self.below.aclose()

        stream_to = memory.stream_to
        monkeypatch.setattr(memory, "stream_to", lambda host: Old(stream_to(host)))
        near = await memory.start("near", bridge_to("far", protocol_version=BridgeVersion.V3_1_1))
        await connected(near)
        assert levels == [0x84, 0x04]

    in_memory(monkeypatch, run)
