"""MQTT 5.0: shared subscriptions: who of a group gets a message, and what becomes of it when that member leaves."""

from collections import Counter

import pytest
from conformance.client import Peer, World
from conformance.marks import settings, statement
from conformance.packets import (
    Publish,
    Pubrec,
    Pubrel,
    properties,
    puback,
    pubcomp,
    pubrec,
    subscribe,
)
from noctule.config.settings import ShareStrategy

KEEP = properties(session_expiry_interval=100)
INVALID = 0x8F

every_strategy = pytest.mark.parametrize(
    "strategy", [pytest.param(one, marks=settings(share_strategy=one), id=one.value) for one in ShareStrategy]
)


async def member(world: World, name: str, qos: int = 2, props: bytes = KEEP, group: str = "$share/g/t") -> Peer:
    """A member of the group whose session outlives its connection."""
    peer = await world.connect(name, properties=props)
    assert await peer.subscribe((group, qos)) == [qos]
    return peer


async def sent_to_the_first_of_two(world: World, qos: int) -> tuple[Peer, Publish, Peer]:
    """A member that has been sent a message and not acknowledged it, the message, and another member."""
    first = await member(world, "first")
    await (await world.connect("p")).publish("t", b"x", qos)
    message = await first.expect(Publish)
    return first, message, await member(world, "second")


@statement("MQTT-4.8.2-1", "MQTT-4.8.2-2", version=5)
@pytest.mark.parametrize(
    "text",
    [
        "$share",
        "$share/",
        "$share//t",
        "$share/g",
        "$share/g/",
        "$share/+/t",
        "$share/#/t",
        "$share/g+/t",
        "$share/a#b/t",
    ],
)
async def test_what_is_no_shared_subscription(world: World, text: str) -> None:
    """docs/conformance.md: refused in SUBACK. "$share" alone is a filter like any other."""
    peer = await world.connect()
    expected = 2 if text == "$share" else INVALID
    assert await peer.subscribe(text, "good") == [expected, 2]
    assert await peer.unsubscribe(text, "good") == [0 if text == "$share" else INVALID, 0]


@statement("MQTT-4.8.2-1", "MQTT-4.8.2-2", version=5)
async def test_share_names_and_filters_that_are_legal(world: World) -> None:
    """What begins otherwise is no shared subscription; the filter behind the name may be anything."""
    peer = await world.connect()
    legal = ["$share/g/t", "$share/ /t", "$share/\u00e9/t", "$share/$share/t", "$share/$/t", "$share/g//", "$share/g/#"]
    assert await peer.subscribe(*legal, "$SHARE/g/t", "share/g/t", "$shared/t") == [2] * (len(legal) + 3)
    assert await peer.unsubscribe(*legal) == [0] * len(legal)
    await (await world.connect("p")).publish("t", b"x")
    await peer.expect_nothing()


@statement("5-unnumbered-shared-one-copy", "MQTT-4.6.0-6", version=5)
@every_strategy
async def test_each_message_goes_to_one_member(world: World, strategy: ShareStrategy) -> None:
    """To one of each group, and to everybody with a subscription of their own."""
    groups = [[await member(world, f"{g}{n}", group=f"$share/{g}/t") for n in range(3)] for g in "ab"]
    alone = await world.subscriber("t", client_id="alone")
    publisher = await world.connect("p")
    sent = [b"%d" % number for number in range(60)]
    for number, payload in enumerate(sent):
        await publisher.publish("t", payload, number % 3)
    assert await alone.payloads() == sent
    for group in groups:
        shares = [await peer.payloads() for peer in group]
        assert Counter(payload for share in shares for payload in share) == Counter(sent)
        for share in shares:  # in order, each for itself
            assert share == sorted(share, key=int)
        if strategy is ShareStrategy.ROUND_ROBIN:
            assert [len(share) for share in shares] == [20, 20, 20]


@statement("MQTT-4.8.2-3", version=5)
async def test_a_member_gets_the_qos_that_it_was_granted(world: World) -> None:
    peers = [await member(world, f"m{qos}", qos) for qos in (0, 1, 2)]
    publisher = await world.connect("p")
    for qos in (0, 1, 2):
        for _ in range(6):
            await publisher.publish("t", b"%d" % qos, qos)
    for granted, peer in enumerate(peers):
        found = await peer.messages()
        assert found
        assert all(one.qos == min(int(one.payload), granted) for one in found)


@statement("5-unnumbered-shared-retained", version=5)
async def test_a_shared_subscription_brings_no_retained_messages(world: World) -> None:
    await (await world.connect("p")).publish("t", b"kept", 1, retain=True)
    peer = await world.connect("c")
    for options in (2, 2 | 0x10):
        assert await peer.subscribe(("$share/g/t", options)) == [2]
        await peer.expect_nothing()


@statement("5-unnumbered-shared-offline", version=5)
@every_strategy
async def test_members_that_are_away_are_passed_over(world: World, strategy: ShareStrategy) -> None:
    here = await member(world, "here")
    for name in ("away1", "away2"):
        await (await member(world, name)).drop()
    publisher = await world.connect("p")
    sent = [b"%d" % number for number in range(20)]
    for payload in sent:
        await publisher.publish("t", payload, 1)
    assert await here.payloads() == sent
    assert strategy


@statement("5-unnumbered-shared-offline", "MQTT-4.5.0-1", version=5)
@every_strategy
async def test_where_all_are_away_the_message_waits_for_one(world: World, strategy: ShareStrategy) -> None:
    for name in ("a", "b"):
        await (await member(world, name)).drop()
    publisher = await world.connect("p")
    sent = [b"%d" % number for number in range(10)]
    for payload in sent:
        await publisher.publish("t", payload, 1)
    arrived: list[bytes] = []
    for name in ("a", "b"):
        peer = await world.connect(name, clean=False, properties=KEEP)
        arrived += await peer.payloads()
    assert sorted(arrived, key=int) == sent
    assert strategy


@statement("5-unnumbered-shared-offline", version=5)
async def test_a_member_whose_quota_is_used_up_is_passed_over(world: World) -> None:
    full = await member(world, "full", props=KEEP + properties(receive_maximum=1))
    free = await member(world, "free")
    publisher = await world.connect("p")
    for number in range(10):
        await publisher.publish("t", b"%d" % number, 1)
    assert (len(await full.messages()), len(await free.messages())) == (1, 9)


@statement("MQTT-4.8.2-4", version=5)
async def test_a_qos_2_message_is_finished_with_the_member_that_it_was_sent_to(world: World) -> None:
    """Its connection breaks before PUBREC: it gets the message again when it is back, and nobody else does."""
    first, message, second = await sent_to_the_first_of_two(world, 2)
    await first.drop()
    await world.after(50)
    await second.expect_nothing()
    again = await world.connect("first", clean=False, properties=KEEP)
    assert await again.messages() == [Publish("t", b"x", 2, dup=True, packet_id=message.packet_id)]
    await again.send(pubrec(message.packet_id))
    assert await again.expect(Pubrel) == Pubrel(message.packet_id)
    await again.drop()
    again = await world.connect("first", clean=False, properties=KEEP)
    assert await again.expect(Pubrel) == Pubrel(message.packet_id)
    await again.send(pubcomp(message.packet_id))
    await second.expect_nothing()


@statement("MQTT-4.8.2-5", version=5)
@pytest.mark.parametrize("how", ["expired", "clean start", "disconnect"])
@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_qos_2_message_is_lost_with_the_session_that_it_was_sent_to(
    world: World, how: str, acknowledged: bool
) -> None:
    first, message, second = await sent_to_the_first_of_two(world, 2)
    if acknowledged:
        await first.send(pubrec(message.packet_id))
        await first.expect(Pubrel)
    await end_session(world, first, how)
    await second.expect_nothing()


async def end_session(world: World, peer: Peer, how: str, name: str = "first") -> None:
    """The member's session ends in one of several ways."""
    if how == "disconnect":
        await peer.disconnect(0, properties(session_expiry_interval=0))
    else:
        await peer.drop()
        if how == "expired":
            await world.after(100.1)
        else:
            await world.connect(name, clean=True)
    await world.settle()


@statement("5-unnumbered-shared-leaves", version=5)
@pytest.mark.parametrize("how", ["expired", "clean start", "disconnect"])
async def test_what_a_member_leaves_unacknowledged_at_qos_1_goes_to_another(world: World, how: str) -> None:
    """And what it had not been sent yet, at either QoS; in its order."""
    first = await member(world, "first", props=KEEP + properties(receive_maximum=2))
    publisher = await world.connect("p")
    for number in range(6):
        await publisher.publish("t", b"%d" % number, 1 if number < 4 else 2)
    one, two = await first.messages()
    assert (one.payload, two.payload) == (b"0", b"1")
    await first.send(puback(one.packet_id))
    assert await first.payloads() == [b"2"]
    second = await member(world, "second", qos=1)
    await end_session(world, first, how)
    found = await second.messages()
    assert [(message.payload, message.qos, message.dup) for message in found] == [
        (b"1", 1, False),
        (b"2", 1, False),
        (b"3", 1, False),
        (b"4", 1, False),
        (b"5", 1, False),
    ]


@statement("5-unnumbered-shared-leaves", "MQTT-3.3.2-5", version=5)
async def test_what_a_member_leaves_may_have_expired(world: World) -> None:
    """For whoever would have it next, delivery has not begun."""
    first = await member(world, "first", props=KEEP + properties(receive_maximum=2))
    publisher = await world.connect("p")
    for payload, interval in ((b"sent, short", 5), (b"sent, long", 50), (b"waits, short", 5), (b"waits, long", 50)):
        await publisher.publish("t", payload, 1, properties=properties(message_expiry_interval=interval))
    assert await first.payloads() == [b"sent, short", b"sent, long"]
    second = await member(world, "second")
    await world.after(10)
    await end_session(world, first, "clean start")
    found = await second.messages()
    assert [(one.payload, one.properties["message_expiry_interval"]) for one in found] == [
        (b"sent, long", 40),
        (b"waits, long", 40),
    ]


@statement("5-unnumbered-shared-leaves", version=5)
async def test_unsubscribing_leaves_what_is_in_flight_where_it_is(world: World) -> None:
    """The session goes on: what was sent to it is its to finish [MQTT-3.10.4-3]."""
    first, message, second = await sent_to_the_first_of_two(world, 1)
    assert await first.unsubscribe("$share/g/t") == [0]
    await second.expect_nothing()
    await first.send(puback(message.packet_id))
    await first.expect_nothing()


@statement("MQTT-4.8.2-6", version=5)
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x97, 0x99])
async def test_what_a_member_refuses_goes_to_nobody(world: World, qos: int, code: int) -> None:
    first, message, second = await sent_to_the_first_of_two(world, qos)
    await first.send((puback if qos == 1 else pubrec)(message.packet_id, code))
    await first.expect_nothing()
    await second.expect_nothing()
    await end_session(world, first, "expired")
    await second.expect_nothing()


@statement("MQTT-3.3.4-3", "MQTT-4.8.2-3", version=5)
async def test_each_member_has_its_own_identifier_and_options(world: World) -> None:
    peers = []
    for number in (1, 2):
        peer = await world.connect(f"m{number}")
        await peer.send(subscribe(("$share/g/t", number), properties=properties(subscription_identifier=number)))
        await peer.received()
        peers.append(peer)
    publisher = await world.connect("p")
    for _ in range(4):
        await publisher.publish("t", b"x", 2)
    for number, peer in enumerate(peers, 1):
        found = await peer.messages()
        assert [(one.qos, one.properties) for one in found] == [(number, {"subscription_identifier": [number]})] * 2


@statement("5-unnumbered-shared-one-copy", version=5)
async def test_a_publisher_may_be_a_member_of_the_group(world: World) -> None:
    """No Local is not for groups: its own message may come back, and to one member it comes."""
    peer = await member(world, "both")
    await peer.send(b"\x34\x06\x00\x01t\x00\x07\x00")
    found = await peer.received()
    assert [type(one) for one in found if type(one) is not Publish] == [Pubrec]
    await peer.send(b"\x62\x02\x00\x07")
    kinds = sorted(type(one).__name__ for one in await peer.received())
    assert kinds == ["Pubcomp", "Publish"]
