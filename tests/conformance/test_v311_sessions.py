"""MQTT 3.1.1 and 3.1: sessions: made, resumed, discarded, and what they keep while nobody is connected."""

import pytest
from conformance.client import Peer, World
from conformance.marks import limits, over_sockets, statement
from conformance.packets import (
    MQTT31,
    MQTT311,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    connect,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
)

VERSIONS = (MQTT31, MQTT311)
both = pytest.mark.parametrize("version", VERSIONS)


async def resume(world: World, version: int = MQTT311, client_id: str = "c") -> Peer:
    """The client comes back to its session."""
    peer = await world.open(version)
    await peer.send(connect(client_id, version, clean=False))
    # 3.1 has a reserved byte where 3.1.1 has Session Present.
    await peer.expect_bytes(b"\x20\x02\x01\x00" if version == MQTT311 else b"\x20\x02\x00\x00")
    return peer


@over_sockets
@statement("MQTT-3.2.2-1", "MQTT-3.2.2-2", "MQTT-3.2.2-3", "MQTT-3.1.2-4", "MQTT-3.1.2-6", "MQTT-3.1.4-3", version=4)
async def test_session_present_says_whether_there_is_a_session(world: World) -> None:
    steps = [
        (False, False),  # none yet
        (False, True),
        (True, False),  # discarded
        (False, False),  # and it was not kept
        (False, True),
        (False, True),
        (True, False),
        (True, False),
    ]
    for clean, present in steps:
        peer = await world.open(4)
        await peer.send(connect("c", 4, clean=clean))
        await peer.expect_bytes(b"\x20\x02\x01\x00" if present else b"\x20\x02\x00\x00")
        await peer.disconnect()
    # It is another client's that is not found.
    await world.connect("kept", 4, clean=False)
    assert not (await world.connect("another", 4, clean=False)).connack.session_present


@both
@statement("MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-4.1.0-1", "MQTT-4.5.0-1", version=4)
async def test_without_clean_session_subscriptions_and_messages_are_kept(world: World, version: int) -> None:
    old = await world.connect("c", version, clean=False)
    assert await old.subscribe(("a/+", 1), ("b/#", 2), ("q0", 0)) == [1, 2, 0]
    await old.drop()
    publisher = await world.connect("p", version)
    for qos in (1, 2):
        await publisher.publish("a/1", b"a%d" % qos, qos)
        await publisher.publish("b/1", b"b%d" % qos, qos)
        await publisher.publish("elsewhere", b"x", qos)
    new = await resume(world, version)
    found = await new.messages()
    assert [(one.payload, one.qos, one.dup, one.retain) for one in found] == [
        (b"a1", 1, False, False),
        (b"b1", 1, False, False),
        (b"a2", 1, False, False),
        (b"b2", 2, False, False),
    ]
    await new.send(*(puback(one.packet_id) for one in found if one.qos == 1))
    await new.acknowledge(found[3])
    # The subscriptions are there without being asked for again.
    await publisher.publish("q0", b"now", 2)
    await publisher.publish("a/2", b"now", 2)
    assert [(one.topic, one.qos) for one in await new.messages()] == [("q0", 0), ("a/2", 1)]


@both
@statement("MQTT-3.1.2-6", "MQTT-3.1.4-3", version=4)
async def test_clean_session_discards_everything(world: World, version: int) -> None:
    """Subscriptions, what waited, what was in flight, and what QoS 2 had received."""
    old = await world.connect("c", version, clean=False)
    await old.subscribe("t")
    publisher = await world.connect("p", version)
    await publisher.publish("t", b"in flight", 1)
    await publisher.publish("t", b"half way", 2)
    await old.expect(Publish)
    await old.send(pubrec((await old.expect(Publish)).packet_id))
    await old.expect(Pubrel)
    await old.send(publish("x", b"never released", 2, 9, version=version))
    await old.expect(Pubrec)
    await old.drop()
    await publisher.publish("t", b"waits", 2)

    watcher = await world.subscriber("x", client_id="watcher", version=version)
    new = await world.connect("c", version, clean=True)
    await publisher.publish("t", b"for nobody", 1)
    await new.expect_nothing()
    await new.send(pubrel(9))
    assert await new.expect(Pubcomp) == Pubcomp(9)
    await watcher.expect_nothing()
    # It does not come back either, and the session of before is gone for good.
    await new.disconnect()
    assert world.session("c") is None
    last = await world.connect("c", version, clean=False)
    await publisher.publish("t", b"for nobody", 1)
    await last.expect_nothing()


@both
@statement("MQTT-3.1.2-6", "MQTT-4.1.0-2", version=4)
async def test_a_clean_session_lasts_as_long_as_its_connection(world: World, version: int) -> None:
    peer = await world.connect("c", version)
    await peer.subscribe(("t", 1))
    publisher = await world.connect("p", version)
    await world.after(1_000_000)
    await publisher.publish("t", b"x", 1)
    assert (await peer.expect_message()).payload == b"x"
    await peer.drop()
    assert world.session("c") is None
    new = await world.open(version)
    await new.send(connect("c", version, clean=False))
    await new.expect_bytes(b"\x20\x02\x00\x00")
    await publisher.publish("t", b"y", 1)
    await new.expect_nothing()


@both
@statement("MQTT-4.1.0-1", "MQTT-3.1.2-4", version=4)
async def test_a_kept_session_is_kept_for_good(world: World, version: int) -> None:
    peer = await world.connect("c", version, clean=False)
    await peer.subscribe(("t", 1))
    await peer.disconnect()
    publisher = await world.connect("p", version)
    await publisher.publish("t", b"x", 1)
    await world.after(10 * 365 * 86_400)
    new = await resume(world, version)
    assert (await new.expect_message()).payload == b"x"


@statement("MQTT-3.1.2.7", version=4)
async def test_retained_messages_are_no_part_of_the_session(world: World) -> None:
    publisher = await world.connect("c", 4)
    await publisher.publish("t", b"kept", 1, retain=True)
    await publisher.disconnect()
    assert world.session("c") is None
    await world.connect("c", 4, clean=True)
    subscriber = await world.subscriber("t", version=4)
    assert (await subscriber.expect_message()).payload == b"kept"


@statement("MQTT-3.1.3-2", version=4)
async def test_each_client_identifier_has_a_session_of_its_own(world: World) -> None:
    for client_id in ("a", "b"):
        peer = await world.connect(client_id, 4, clean=False)
        await peer.subscribe((client_id, 1))
        await peer.drop()
    publisher = await world.connect("p", 4)
    await publisher.publish("a", b"for a", 1)
    await publisher.publish("b", b"for b", 1)
    for client_id in ("b", "a"):
        peer = await resume(world, client_id=client_id)
        assert await peer.payloads() == [f"for {client_id}".encode()]


# --- what is sent again -------------------------------------------------------------------


@over_sockets
@statement("MQTT-4.4.0-1", "MQTT-4.6.0-1", "MQTT-3.3.1-1", "MQTT-2.3.1-4", "MQTT-3.1.2-4", version=4)
async def test_what_is_unacknowledged_is_sent_again_in_its_order(world: World) -> None:
    """PUBLISH with DUP and PUBREL, each with its identifier; behind them what was published meanwhile, without DUP."""
    for version in VERSIONS:
        old = await world.connect("c", version, clean=False)
        await old.subscribe("t")
        publisher = await world.connect("p", version)
        for number, qos in enumerate((1, 2, 1, 2, 2, 1)):
            await publisher.publish("t", b"%d" % number, qos)
        first = [await old.expect(Publish) for _ in range(6)]
        assert [(one.payload, one.dup) for one in first] == [(b"%d" % number, False) for number in range(6)]
        ids = [one.packet_id for one in first]
        await old.send(puback(ids[2]))  # done
        await old.send(pubrec(ids[1]), pubrec(ids[4]))  # half way
        await old.expect_bytes(pubrel(ids[1]), pubrel(ids[4]))
        await old.send(pubcomp(ids[1]))  # done
        await old.expect_alive()
        await old.drop()
        await publisher.publish("t", b"meanwhile", 1)

        for _ in range(2):
            new = await resume(world, version)
            await new.expect_bytes(
                publish("t", b"0", 1, ids[0], version=version, dup=True),
                publish("t", b"3", 2, ids[3], version=version, dup=True),
                pubrel(ids[4]),
                publish("t", b"5", 1, ids[5], version=version, dup=True),
            )
            last = await new.expect(Publish)
            assert (last.payload, last.qos) == (b"meanwhile", 1)
            assert last.packet_id not in {ids[0], ids[3], ids[4], ids[5]}
            await new.expect_alive()
            await new.drop()

        done = await resume(world, version)
        found = [await done.receive() for _ in range(5)]
        assert [type(one) for one in found] == [Publish, Publish, Pubrel, Publish, Publish]
        await done.send(puback(ids[0]), pubrec(ids[3]), pubcomp(ids[4]), puback(ids[5]), puback(last.packet_id))
        await done.expect_bytes(pubrel(ids[3]))
        await done.send(pubcomp(ids[3]))
        await done.expect_alive()
        await done.drop()
        clear = await resume(world, version)
        await clear.expect_nothing()
        await clear.disconnect()
        await publisher.disconnect()


@statement("MQTT-3.3.1-1", version=4)
async def test_what_waited_and_was_never_sent_has_no_dup(world: World) -> None:
    old = await world.connect("c", 4, clean=False)
    await old.subscribe("t")
    await old.disconnect()
    publisher = await world.connect("p", 4)
    await publisher.publish("t", b"1", 1)
    await publisher.publish("t", b"2", 2)
    new = await resume(world)
    assert [one.dup for one in await new.messages()] == [False, False]
    await new.drop()
    again = await resume(world)
    assert [one.dup for one in await again.messages()] == [True, True]


@statement("MQTT-4.4.0-1", version=4)
async def test_nothing_is_sent_again_while_the_connection_lasts(world: World) -> None:
    subscriber = await world.subscriber("t", version=4)
    publisher = await world.connect("p", 4)
    await publisher.publish("t", b"1", 1)
    await publisher.publish("t", b"2", 2)
    assert await subscriber.payloads() == [b"1", b"2"]
    await world.after(100_000)
    await subscriber.expect_nothing()


@limits(inflight_max=3)
@statement("MQTT-4.6.0-1", "MQTT-4.4.0-1", "MQTT-3.1.2-5", version=4)
async def test_a_long_backlog_keeps_its_order_across_connections(world: World) -> None:
    """Three at a time, the connection broken after each first one."""
    old = await world.connect("c", 4, clean=False)
    await old.subscribe(("t", 1))
    await old.drop()
    publisher = await world.connect("p", 4)
    for number in range(10):
        await publisher.publish("t", b"%d" % number, 1)
    acknowledged: list[bytes] = []
    seen: set[bytes] = set()
    while len(acknowledged) < 10:
        peer = await resume(world)
        found = await peer.messages()
        assert [one.payload for one in found] == [b"%d" % n for n in range(10)][len(acknowledged) :][:3]
        assert [one.dup for one in found] == [one.payload in seen for one in found]
        seen |= {one.payload for one in found}
        acknowledged.append(found[0].payload)
        await peer.send(puback(found[0].packet_id))
        seen |= set(await peer.payloads())
        await peer.drop()
    assert acknowledged == [b"%d" % number for number in range(10)]


@both
@statement("MQTT-4.1.0-1", "MQTT-4.3.3-2", "MQTT-4.4.0-1", version=4)
async def test_what_qos_2_has_received_outlives_the_connection(world: World, version: int) -> None:
    subscriber = await world.subscriber("t", version=version)
    old = await world.connect("c", version, clean=False)
    await old.send(publish("t", b"once", 2, 5, version=version))
    await old.expect_bytes(pubrec(5))
    await old.drop()
    new = await resume(world, version)
    await new.send(publish("t", b"once", 2, 5, version=version, dup=True))
    await new.expect_bytes(pubrec(5))
    await new.send(pubrel(5))
    await new.expect_bytes(pubcomp(5))
    await new.drop()
    last = await resume(world, version)
    await last.send(pubrel(5))
    await last.expect_bytes(pubcomp(5))
    assert await subscriber.payloads() == [b"once"]


@statement("MQTT-4.1.0-1", "MQTT-3.1.2-4", version=4)
async def test_a_session_is_resumed_under_the_other_version(world: World) -> None:
    old = await world.connect("c", 3, clean=False)
    await old.subscribe(("t", 1))
    publisher = await world.connect("p", 4)
    await publisher.publish("t", b"x", 1)
    first = await old.expect(Publish)
    await old.drop()
    new = await resume(world, 4)
    await new.expect_bytes(publish("t", b"x", 1, first.packet_id, version=4, dup=True))
    await new.drop()
    again = await resume(world, 3)
    await again.expect_bytes(publish("t", b"x", 1, first.packet_id, version=3, dup=True))
