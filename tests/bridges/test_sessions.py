"""What a bridge's two sessions hold when one of them is lost, and what it may do here: brokers in memory."""

from dataclasses import replace

import pytest
import trio
from bridges.brokers import IN, OUT, Memory, bridge_to, connected, in_memory
from net.stream_clients import StreamClient
from noctule._speedups.codec import decode_publish, encode_ack, encode_publish
from noctule._speedups.session import Session
from noctule.api import Access, Action, Client, PublishRight, hookimpl
from noctule.app import Broker
from noctule.bridges import remote
from noctule.client.transports import Route
from noctule.config.bridges import BridgeSettings, BridgeTopic, BridgeVersion, Direction, ReloadType, RetainHandling
from noctule.config.settings import Carrier, Limits, ListenerSettings, Settings
from noctule.hooks.table import Plugin
from noctule.protocol import Connack, PacketType, ProtocolVersion, decode_connect, encode_connack

V5 = ProtocolVersion.V5
PUBACK, PUBREC, PUBREL, PUBCOMP = PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP
LOCAL_ID = "local.there"


class OtherEnd:
    """Another broker, played by the test byte by byte."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[StreamClient](10)

    async def open_stream(self, route: Route, nursery: trio.Nursery) -> trio.abc.Stream:
        near, far = trio.testing.memory_stream_pair()
        await self._send.send(StreamClient(far))
        return near

    async def accept(self, *, is_present: bool, **said: object) -> StreamClient:
        """The next connection of the bridge, let in."""
        client = await self._receive.receive()
        first, body = await client.receive()
        assert first >> 4 == PacketType.CONNECT
        packet = decode_connect(body)
        assert packet.client_id == "there"
        await client.send(encode_connack(Connack(session_present=is_present, **said), packet.version))  # type: ignore[arg-type]
        return client


async def next_of(client: StreamClient, *packet_types: int) -> tuple[int, bytes]:
    """The next packet of one of these types; others are passed over."""
    while True:
        first, body = await client.receive()
        if first >> 4 in packet_types:
            return first, body


async def next_message(client: StreamClient) -> tuple[str, int, bool, int]:
    while True:
        first, body = await next_of(client, PacketType.PUBLISH)
        message = decode_publish(first, body, V5)
        if not message.topic.startswith(b"$SYS"):
            return message.topic.decode(), message.qos, message.dup, message.packet_id


def played(monkeypatch: pytest.MonkeyPatch, test: object, *bridges: BridgeSettings, **options: object) -> None:
    """Run a test with the other end in its hands, and a broker of ours."""

    async def run(memory: Memory) -> None:
        other = OtherEnd()
        monkeypatch.setattr(remote, "open_stream", other.open_stream)
        near = await memory.start("near", *(bridges or (bridge_to("far", remote_client_id="there"),)), **options)
        async with memory.client("near") as here:
            await test(near, here, other)  # type: ignore[operator]

    in_memory(monkeypatch, run)


def test_qos_2_goes_on_where_it_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packet identifiers of the session are those on the wire, on the next connection too."""

    async def run(near: Broker, here: object, other: OtherEnd) -> None:
        far = await other.accept(is_present=False)
        await here.publish("out/1", b"", 2)  # type: ignore[attr-defined]
        await here.publish("out/2", b"", 2)  # type: ignore[attr-defined]
        assert await next_message(far) == ("out/1", 2, False, 1)
        assert await next_message(far) == ("out/2", 2, False, 2)
        await far.send(encode_ack(PUBREC, 1, V5))
        assert await next_of(far, PUBREL) == (0x62, b"\x00\x01")
        await trio.aclose_forcefully(far.stream)
        far = await other.accept(is_present=True)
        assert await next_of(far, PUBREL, PacketType.PUBLISH) == (0x62, b"\x00\x01")
        assert await next_message(far) == ("out/2", 2, True, 2)
        await far.send(encode_ack(PUBCOMP, 1, V5), encode_ack(PUBREC, 2, V5))
        assert await next_of(far, PUBREL) == (0x62, b"\x00\x02")
        await far.send(encode_ack(PUBCOMP, 2, V5))
        session = near.state.sessions.find(LOCAL_ID)
        assert session is not None
        with trio.fail_after(5):
            while session.unacknowledged:  # noqa: ASYNC110
                await trio.sleep(0.01)

    played(monkeypatch, run)


def test_a_session_that_the_other_broker_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has sent and nobody will release has arrived; its identifiers begin anew."""

    async def run(near: Broker, here: object, other: OtherEnd) -> None:
        async with here.subscription("in/#", 2) as messages:  # type: ignore[attr-defined]
            far = await other.accept(is_present=False)
            await far.send(encode_publish(b"in/1", b"first", V5, 2, packet_id=7))
            assert await next_of(far, PUBREC) == (0x50, b"\x00\x07")
            await trio.aclose_forcefully(far.stream)
            far = await other.accept(is_present=False)
            assert (await messages.receive()).payload == b"first"
            await far.send(encode_publish(b"in/1", b"second", V5, 2, packet_id=7))
            assert await next_of(far, PUBREC, PUBCOMP) == (0x50, b"\x00\x07")
            await far.send(encode_ack(PUBREL, 7, V5))
            assert await next_of(far, PUBCOMP) == (0x70, b"\x00\x07")
            assert (await messages.receive()).payload == b"second"

    played(monkeypatch, run)


def test_a_message_sent_again_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(near: Broker, here: object, other: OtherEnd) -> None:
        async with here.subscription("in/#", 2) as messages:  # type: ignore[attr-defined]
            far = await other.accept(is_present=True)
            await far.send(encode_publish(b"in/1", b"first", V5, 2, packet_id=7))
            assert await next_of(far, PUBREC) == (0x50, b"\x00\x07")
            await trio.aclose_forcefully(far.stream)
            far = await other.accept(is_present=True)
            await far.send(encode_publish(b"in/1", b"first", V5, 2, dup=True, packet_id=7))
            assert await next_of(far, PUBREC) == (0x50, b"\x00\x07")
            await far.send(encode_ack(PUBREL, 7, V5), encode_publish(b"in/2", b"last", V5))
            assert [(await messages.receive()).payload for _ in range(2)] == [b"first", b"last"]

    played(monkeypatch, run)


def test_a_session_of_an_earlier_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other broker has a session, this one nothing of it: identifiers are released before they are used."""

    async def run(near: Broker, here: object, other: OtherEnd) -> None:
        far = await other.accept(is_present=True)
        await here.publish("out/1", b"", 2)  # type: ignore[attr-defined]
        assert await next_of(far, PUBREL, PacketType.PUBLISH) == (0x62, b"\x00\x01")
        await far.send(encode_ack(PUBCOMP, 1, V5))
        assert await next_message(far) == ("out/1", 2, False, 1)

    async def skip_state(near: Broker, here: object, other: OtherEnd) -> None:
        await run(near, here, other)

    played(
        monkeypatch,
        skip_state,
        replace(bridge_to("far", remote_client_id="there"), notifications=bridge_to("x").notifications.NONE),
    )


def test_what_the_other_broker_takes_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Receive Maximum, its largest packet, and its highest QoS."""

    async def run(near: Broker, here: object, other: OtherEnd) -> None:
        far = await other.accept(is_present=False, receive_maximum=2, maximum_packet_size=60, maximum_qos=1)
        await here.publish("out/0", bytes(100), 1)  # type: ignore[attr-defined]
        for number in range(1, 4):
            await here.publish(f"out/{number}", b"", 2)  # type: ignore[attr-defined]
        for number in (1, 2):
            topic, qos, _, packet_id = await next_message(far)
            assert (topic, qos) == (f"out/{number}", 1)
        await trio.sleep(20)
        await far.send(encode_ack(PUBACK, packet_id, V5))
        assert (await next_message(far))[0] == "out/3"

    played(monkeypatch, run)


@pytest.mark.parametrize(
    ("version", "options", "expected"),
    [
        (BridgeVersion.V3_1_1, {}, 20),
        (BridgeVersion.V3_1_1, {"inflight_max": 7}, 7),
        (BridgeVersion.V5, {}, 50),
        (BridgeVersion.V5, {"inflight_max": 7}, 7),
    ],
)
def test_no_more_is_under_way_than_the_other_broker_takes(
    monkeypatch: pytest.MonkeyPatch, version: BridgeVersion, options: dict[str, int], expected: int
) -> None:
    """One of version 5 says how many; of others it is known what Mosquitto takes."""

    async def run(memory: Memory) -> None:
        other = OtherEnd()
        near = await memory.start(
            "near", bridge_to("far", remote_client_id="there", protocol_version=version, **options)
        )
        async with memory.client("near") as here:
            for _ in range(60):
                await here.publish("out/1", b"", 1)
        monkeypatch.setattr(remote, "open_stream", other.open_stream)
        far = await other.accept(is_present=False, receive_maximum=50)
        await trio.sleep(20)
        session = near.state.sessions.find(LOCAL_ID)
        assert session is not None
        assert session.in_flight == expected
        await trio.aclose_forcefully(far.stream)

    in_memory(monkeypatch, run)


@pytest.mark.parametrize(
    ("handling", "version", "expected"),
    [
        (RetainHandling.ALWAYS, BridgeVersion.V5, (1, 1)),
        (RetainHandling.NEW, BridgeVersion.V5, (1, 0)),
        (RetainHandling.NEVER, BridgeVersion.V5, (0, 0)),
        (RetainHandling.ALWAYS, BridgeVersion.V3_1_1, (1, 1)),
    ],
)
def test_retained_messages(
    monkeypatch: pytest.MonkeyPatch, handling: RetainHandling, version: BridgeVersion, expected: tuple[int, int]
) -> None:
    """They cross as retained; how often is a matter of settings."""

    async def run(memory: Memory) -> None:
        far = await memory.start("far")
        near = await memory.start(
            "near", bridge_to("far", retain_handling=handling, protocol_version=version, restart_delay_s=0.05)
        )
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            here.subscription("in/#", 1) as received_here,
            there.subscription("out/#", 1) as received_there,
        ):
            await connected(near)
            memory.closed.add("far")
            await memory.cut("far")
            await near.reload(replace(near.settings, bridges=()))
            await trio.sleep(1)
            for session in list(far.state.sessions):
                if session.client_id.startswith("b."):
                    far.state.sessions.end(session, "a test")
            await here.publish("out/kept", b"kept", 0, retain=True)
            await there.publish("in/kept", b"kept", 0, retain=True)
            await trio.sleep(1)
            memory.closed.clear()
            bridge = bridge_to("far", retain_handling=handling, protocol_version=version)
            await near.reload(replace(near.settings, bridges=(bridge,)))
            for count in expected:
                await connected(near)
                await trio.sleep(1)
                await here.publish("out/end", b"end", 0)
                await there.publish("in/end", b"end", 0)
                for messages in (received_here, received_there):
                    found = []
                    while not found or found[-1] != b"end":
                        found.append((await messages.receive()).payload)
                    assert found == [b"kept"] * count + [b"end"]
                await memory.cut("far")
                await trio.sleep(1)
        async with memory.client("far") as there, there.subscription("out/#") as late:
            if handling is not RetainHandling.NEVER:
                message = await late.receive()
                assert (message.payload, message.retain) == (b"kept", True)

    in_memory(monkeypatch, run)


def test_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog takes its time; what is acknowledged does not wait for it."""

    async def run(memory: Memory) -> None:
        await memory.start("far")
        near = await memory.start("near", bridge_to("far", rate_max_per_s=10))
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            here.subscription("in/#", 2) as received_here,
            there.subscription("out/#", 1) as messages,
        ):
            await connected(near)
            began_at = trio.current_time()
            for number in range(50):
                await here.publish("out/1", b"%d" % number, number % 3)
            await there.publish("in/1", b"at once", 2)
            await received_here.receive()
            assert trio.current_time() - began_at < 1
            assert [int((await messages.receive()).payload) for _ in range(50)] == list(range(50))
            assert trio.current_time() - began_at == pytest.approx(5, abs=0.3)

    in_memory(monkeypatch, run)


def test_a_rate_drops_what_is_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(memory: Memory) -> None:
        await memory.start("far")
        near = await memory.start("near", bridge_to("far", rate_max_per_s=100))
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            there.subscription("out/#", 1) as messages,
        ):
            await connected(near)
            for number in range(1_500):
                await here.publish("out/1", b"%d" % number, 0)
            await here.publish("out/1", b"last", 1)
            count = 0
            while (await messages.receive()).payload != b"last":
                count += 1
            assert 1_000 <= count < 1_100

    in_memory(monkeypatch, run)


class Rules(Access):
    """Allows two topics to one user, and nothing to others."""

    def __init__(self, user_name: str | None) -> None:
        self.is_known = user_name == "bridge"

    def publish_right(self, topic: str) -> PublishRight | None:
        return PublishRight() if self.is_known and topic == "in/allowed" else None

    def may_receive(self, topic: str) -> bool:
        return self.is_known and topic == "out/allowed"

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        return 2 if self.is_known else None

    def rule_of(self, action: Action, topic: str) -> str:
        return "a test"


class RulesOfTest:
    @hookimpl
    async def load_access(self, client: Client) -> Access | None:
        return None if client.user_name is None else Rules(client.user_name)


def is_retained(broker: Broker, topic: str) -> bool:
    session = Session(broker.state.plane, "a test")
    return broker.state.router.send_retained(session, topic.encode(), 1) > 0


@pytest.mark.parametrize("user_name", [None, "bridge", "other"])
def test_who_a_bridge_is(monkeypatch: pytest.MonkeyPatch, user_name: str | None) -> None:
    """Without a user it may do what its topics say; with one, what access rules say of that user."""

    async def run(memory: Memory) -> None:
        far = await memory.start("far")
        settings = Settings(
            (ListenerSettings("127.0.0.1", 0),),
            carrier=Carrier.STREAMS,
            bridges=(bridge_to("far", local_user_name=user_name),),
            allow_anonymous=True,
        )
        near = Broker(settings, plugins=[Plugin("rules", RulesOfTest(), "a test")])
        async with trio.open_nursery() as nursery:
            await nursery.start(near.run)
            await connected(near)
            async with memory.client("far") as there, there.subscription("out/#", 1) as received:
                for topic in ("allowed", "other", "end"):
                    near.for_plugins.publish(f"out/{topic}", topic, qos=1)
                await there.publish("out/end", b"end", 1)
                found = []
                with trio.move_on_after(100):
                    while True:
                        found.append((await received.receive()).payload.decode())
                for topic in ("allowed", "other"):
                    await there.publish(f"in/{topic}", topic.encode(), 1, retain=True)
            await trio.sleep(10)
            kept = {topic for topic in ("allowed", "other") if is_retained(near, f"in/{topic}")}
            near.stop()
        expected = {None: ({"allowed", "other", "end"}, {"allowed", "other"}), "bridge": ({"allowed"}, {"allowed"})}
        out, into = expected.get(user_name, (set(), set()))
        assert set(found) - {"end"} == out - {"end"}
        assert kept == into
        far.stop()

    in_memory(monkeypatch, run)


def test_what_comes_in_unasked_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other broker cannot publish here but to the bridge's topics."""

    async def run(near: Broker, here: object, other: OtherEnd) -> None:
        async with here.subscription("#", 2) as messages:  # type: ignore[attr-defined]
            far = await other.accept(is_present=False)
            await far.send(encode_publish(b"out/1", b"", V5, 1, packet_id=3))
            assert await next_of(far, PUBACK) == (0x40, b"\x00\x03")
            await far.send(encode_publish(b"other", b"", V5, 2, packet_id=4))
            assert await next_of(far, PUBREC) == (0x50, b"\x00\x04")
            await far.send(encode_ack(PUBREL, 4, V5))
            _, body = await next_of(far, PUBCOMP)
            assert body[:2] == b"\x00\x04"
            await far.send(encode_publish(b"in/1", b"", V5))
            assert (await messages.receive()).topic == "in/1"

    played(monkeypatch, run)


@pytest.mark.parametrize("packet", [b"\x30\x01\x00", b"\x36\x00", b"\x10\x00", b"\x30\x05\x00\x02a+\x00", b"\xff\x7f"])
def test_an_end_that_breaks_the_protocol(monkeypatch: pytest.MonkeyPatch, packet: bytes) -> None:
    """Its connection ends; the bridge comes back, and the broker goes on."""

    async def run(near: Broker, here: object, other: OtherEnd) -> None:
        far = await other.accept(is_present=False)
        await far.send(packet)
        far = await other.accept(is_present=True)
        await here.publish("out/1", b"", 1)  # type: ignore[attr-defined]
        assert (await next_message(far))[0] == "out/1"

    played(monkeypatch, run)


def test_keep_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that does not answer is left; one that does is kept, and this broker hears of the bridge too."""

    async def run(near: Broker, here: object, other: OtherEnd) -> None:
        far = await other.accept(is_present=False)
        for _ in range(10):
            assert await next_of(far, PacketType.PINGREQ) == (0xC0, b"")
            await far.send(b"\xd0\x00")
        assert near.bridges.connected["b"]
        await other.accept(is_present=True)

    played(monkeypatch, run, bridge_to("far", remote_client_id="there", keep_alive_s=25), keep_alive_max_s=20)


def test_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bridges are added, changed and removed; the others go on over the connection that they have."""

    async def run(memory: Memory) -> None:
        await memory.start("far")
        one, two = bridge_to("far", name="one", topics=(OUT,)), bridge_to("far", name="two", topics=(IN,))
        near = await memory.start("near", one)
        await connected(near, "one")

        async def reload(*bridges: BridgeSettings) -> None:
            await near.reload(replace(near.settings, bridges=bridges))
            for bridge in bridges:
                await connected(near, bridge.name)

        await reload(one, two)
        assert len(memory.tries) == 2
        wider = replace(two, topics=(IN, BridgeTopic("more/#", Direction.BOTH, 1)))
        await reload(one, wider)
        assert len(memory.tries) == 3
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            there.subscription("+/#", 1) as messages,
        ):
            await here.publish("more/1", b"", 1)
            assert (await messages.receive()).topic == "more/1"
            narrower = replace(two, topics=(IN,))
            await reload(one, narrower)
            await here.publish("more/2", b"", 1)
            await here.publish("out/2", b"", 1)
            assert (await messages.receive()).topic == "out/2"
            assert len(memory.tries) == 4
            await reload(narrower)
            assert set(near.bridges.connected) == {"two"}
            assert len(memory.tries) == 4
            assert [one.client_id for one in near.state.sessions if one.client_id.startswith("local.one")] == []

    in_memory(monkeypatch, run)


def test_a_lazy_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other settings wait for the next connection, and so does a session under another name."""

    async def run(memory: Memory) -> None:
        await memory.start("far")
        bridge = bridge_to("far", reload=ReloadType.LAZY)
        near = await memory.start("near", bridge)
        await connected(near)
        other = replace(bridge, local_client_id="other", topics=(BridgeTopic("new/#", Direction.OUT, 1),))
        await near.reload(replace(near.settings, bridges=(other,)))
        await trio.sleep(100)
        assert len(memory.tries) == 1
        await memory.cut("far")
        await trio.sleep(1)
        await connected(near)
        names = [one.client_id for one in near.state.sessions]
        assert names == ["other"]
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            there.subscription("new/#", 1) as messages,
        ):
            await here.publish("new/1", b"", 1)
            assert (await messages.receive()).topic == "new/1"

    in_memory(monkeypatch, run)


def test_a_client_of_the_same_identifier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(memory: Memory) -> None:
        await memory.start("far")
        near = await memory.start("near", bridge_to("far", local_client_id="mine"))
        await connected(near)
        with pytest.raises(Exception, match="Client Identifier not valid"):
            async with memory.client("near", "mine"):
                pass
        assert near.bridges.connected["b"]

    in_memory(monkeypatch, run)


def test_a_session_that_was_there_becomes_the_bridges(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was taken over from Mosquitto has nobody's name on it, and messages in it."""

    async def run(memory: Memory) -> None:
        await memory.start("far")
        near = await memory.start("near")
        async with memory.client("near", LOCAL_ID, clean_start=False, session_expiry_interval_s=9_000) as old:
            await old.subscribe("out/#", 2)
            await old.subscribe("other/#", 2)
        async with (
            memory.client("near") as here,
            memory.client("far") as there,
            there.subscription("#", 2) as messages,
        ):
            await here.publish("out/1", b"", 2)
            await near.reload(replace(near.settings, bridges=(bridge_to("far", remote_client_id="there"),)))
            await connected(near)
            assert (await messages.receive()).topic == "out/1"
            session = near.state.sessions.find(LOCAL_ID)
            assert session is not None
            assert session.owner == "$bridge:b"
            assert [name for name, *_ in near.state.router.subscriptions_of(session)] == [b"out/#"]

    in_memory(monkeypatch, run)


def test_topics_that_are_gone_are_unsubscribed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only goes out is not to come in, whatever an earlier configuration has asked for."""

    async def run(memory: Memory) -> None:
        far = await memory.start("far")
        topics = (BridgeTopic("x/#", Direction.BOTH, 1), BridgeTopic("y/#", Direction.IN, 1))
        both = bridge_to("far", remote_client_id="there", topics=topics)
        near = await memory.start("near", both)
        await connected(near)
        await trio.sleep(1)
        session = far.state.sessions.find("there")
        assert session is not None
        assert {name for name, *_ in far.state.router.subscriptions_of(session)} == {b"x/#", b"y/#"}
        out = replace(both, topics=(BridgeTopic("x/#", Direction.OUT, 1),))
        await near.reload(replace(near.settings, bridges=(out,)))
        await trio.sleep(5)
        assert far.state.sessions.find("there") is session
        assert far.state.router.subscriptions_of(session) == []

    in_memory(monkeypatch, run)


def test_a_queue_of_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a bridge is limited by the bridge's own numbers, where it has any."""

    async def run(memory: Memory) -> None:
        near = await memory.start(
            "near",
            bridge_to("one", name="usual", topics=(OUT,)),
            bridge_to("two", name="many", topics=(OUT,), queue_max_messages=50),
            bridge_to("two", name="small", topics=(OUT,), queue_max_bytes=1_024),
            limits=Limits(queue_max_messages=10),
        )
        async with memory.client("near") as here:
            for _ in range(60):
                await here.publish("out/1", bytes(100), 1)
            waiting = {one.client_id.split(".")[1]: one.queued for one in near.state.sessions if one.queued}
        assert waiting == {"usual": 10, "many": 50, "small": 9}

    in_memory(monkeypatch, run)
