"""A6: every way that a message can take, for a client that may, that may not, and that may not any more.

One client, the subject, is restricted at one topic. Its rights come from rules (``load_access``) or are asked for one
by one (``authorize``). Each way is a function that goes it and says whether it was open; it awaits ``revoke`` where a
right that is taken away has to count already.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing
from hooks.plugin_brokers import Authorizes, LoadsAccess, broker_with
from net.stream_clients import V3_1_1, V5, RunningBroker, StreamClient, run_mocked
from noctule._speedups.codec import decode_ack, decode_publish, encode_ack, encode_publish
from noctule.api import Action, Allow, Client, Deny, PublishRight
from noctule.protocol import (
    ProtocolVersion,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
    decode_suback,
    decode_unsuback,
    encode_subscribe,
    encode_unsubscribe,
)

PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 3, 4, 5, 6, 7
TOPIC = "t"
SECRET = b"secret"
KEPT = {"clean_start": False}


@dataclass
class Policy:
    """What the subject may do at the topic. Everybody else may do everything, and so may it elsewhere."""

    is_allowed: bool

    def answer(self, client: Client, topic: str) -> bool:
        covers = topic.rpartition("/")[2] in (TOPIC, "#", "+")
        return self.is_allowed or client.client_id != "subject" or not covers


class LoadedRules:
    """The policy as it was when the rules were loaded. It is asked at deliveries, so that any wildcard is allowed."""

    def __init__(self, policy: Policy, client: Client) -> None:
        self._may = policy.answer(client, TOPIC)

    def publish_right(self, topic: str) -> PublishRight | None:
        return PublishRight() if self._may or topic != TOPIC else None

    def may_receive(self, topic: str) -> bool:
        return self._may or topic != TOPIC

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        return 2 if self._may or topic_filter != TOPIC else None

    def rule_of(self, action: Action, topic: str) -> str:
        return "matrix:1"


def rules_of(policy: Policy) -> object:
    async def load_access(client: Client) -> LoadedRules:
        await trio.lowlevel.checkpoint()
        return LoadedRules(policy, client)

    return LoadsAccess(load_access=load_access)


def answers_of(policy: Policy) -> object:
    async def authorize(client: Client, action: Action, topic: str) -> Allow | Deny:
        await trio.lowlevel.checkpoint()
        return Allow() if policy.answer(client, topic) else Deny("matrix")

    return Authorizes(authorize=authorize)


@dataclass
class World:
    """The broker, who publishes to the subject, and who sees what the subject publishes."""

    running: RunningBroker
    admin: StreamClient
    observer: StreamClient
    version: ProtocolVersion
    revoke: Callable[[], Awaitable[None]]
    ends: int = 0

    async def subject(self, **fields: Any) -> StreamClient:
        """The subject's connection, which must be let in; its session lasts."""
        client = await self.running.open(self.version)
        if self.version == V5:
            fields.setdefault("session_expiry_interval_s", 1_000)
        connack = await client.connect("subject", **fields)
        assert connack.reason_code == 0
        return client

    async def receives(self, client: StreamClient) -> bool:
        """Whether the secret comes before the end of it, which the client must have subscribed to."""
        self.ends += 1
        end = b"end %d" % self.ends
        await self.admin.publish("end", end)
        found = False
        while True:
            first, body = await client.receive()
            if first >> 4 != PUBLISH:
                continue
            publish = decode_publish(first, body, client.version, True)
            found |= publish.payload == SECRET
            if publish.payload == end:
                return found

    async def is_published(self) -> bool:
        return await self.receives(self.observer)

    async def publish_to_subject(self, qos: int = 0, *, retain: bool = False) -> None:
        await self.admin.publish(TOPIC, SECRET, qos, 9, retain=retain)
        if qos:
            await self.admin.receive()
        else:
            await self.admin.ping()


async def subscribe(client: StreamClient, *filters: str, qos: int = 0) -> tuple[int, ...]:
    """The codes of the SUBACK; what comes before it must be nothing."""
    requests = tuple(SubscriptionRequest(one, qos) for one in filters)
    await client.send(encode_subscribe(Subscribe(1, requests), client.version))
    first, body = await client.receive()
    assert first == 0x90
    return decode_suback(body, client.version, first).reason_codes


async def lose(client: StreamClient) -> None:
    await trio.aclose_forcefully(client.stream)
    await settled()


async def settled() -> None:
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked()


# --- the ways ---


async def publish_qos_0(world: World) -> bool:
    subject = await world.subject()
    await subject.publish(TOPIC, b"before")
    await subject.ping()
    await world.revoke()
    await subject.publish(TOPIC, SECRET)
    await subject.ping()
    return await world.is_published()


async def publish_acknowledged(world: World, qos: int) -> bool:
    subject = await world.subject()
    await world.revoke()
    await subject.publish(TOPIC, SECRET, qos)
    first, body = await subject.receive()
    code = decode_ack(first, body, subject.version).reason_code
    assert first >> 4 == (PUBACK if qos == 1 else PUBREC)
    if qos == 2 and code < 0x80:
        await subject.send(encode_ack(PUBREL, 1, subject.version))
        assert (await subject.receive())[0] >> 4 == PUBCOMP
    published = await world.is_published()
    if subject.version == V5:
        assert (code == 0x87) == (not published)  # [MQTT-3.3.5-2]
    return published


async def publish_qos_1(world: World) -> bool:
    return await publish_acknowledged(world, 1)


async def publish_qos_2(world: World) -> bool:
    return await publish_acknowledged(world, 2)


async def pubrel(world: World) -> bool:
    subject = await world.subject()
    await subject.publish(TOPIC, SECRET, 2)
    await subject.receive()
    await world.revoke()
    await subject.send(encode_ack(PUBREL, 1, subject.version))
    assert (await subject.receive())[0] >> 4 == PUBCOMP
    return await world.is_published()


async def pubrel_on_another_connection(world: World) -> bool:
    subject = await world.subject(**KEPT)
    await subject.publish(TOPIC, SECRET, 2)
    await subject.receive()
    await lose(subject)
    await world.revoke()
    subject = await world.subject(**KEPT)
    await subject.send(encode_ack(PUBREL, 1, subject.version))
    assert (await subject.receive())[0] >> 4 == PUBCOMP
    return await world.is_published()


async def will_at_connect(world: World) -> bool:
    await world.revoke()
    client = await world.running.open(world.version)
    connack = await client.connect("subject", will=Will(TOPIC, b"gone"))
    if world.version == V5:
        assert connack.reason_code in (0, 0x87)
    return connack.reason_code == 0


async def connected_with_will(world: World, **fields: Any) -> StreamClient | None:
    """None where it is not let in."""
    delay = fields.pop("will_delay_interval_s", 0)
    client = await world.running.open(world.version)
    if world.version == V5:
        fields.setdefault("session_expiry_interval_s", 1_000)
    connack = await client.connect("subject", will=Will(TOPIC, SECRET, will_delay_interval_s=delay), **fields)
    return client if connack.reason_code == 0 else None


async def will_when_it_fires(world: World) -> bool:
    client = await connected_with_will(world)
    if client is not None:
        await world.revoke()
        await lose(client)
    return await world.is_published()


async def will_of_a_client_that_is_taken_over(world: World) -> bool:
    if await connected_with_will(world) is not None:
        await world.revoke()
        await world.subject()
    return await world.is_published()


async def delayed_will(world: World) -> bool:
    client = await connected_with_will(world, will_delay_interval_s=30)
    if client is not None:
        await lose(client)
        await world.revoke()
        await trio.sleep(31)
    return await world.is_published()


async def topic_alias(world: World) -> bool:
    subject = await world.subject()
    await subject.send(encode_publish(TOPIC.encode(), b"before", V5, 0, properties=b"\x23\x00\x01"))
    await subject.ping()
    await world.revoke()
    await subject.send(encode_publish(b"", SECRET, V5, 0, properties=b"\x23\x00\x01"))
    await subject.ping()
    return await world.is_published()


async def retained_store(world: World) -> bool:
    subject = await world.subject()
    await world.revoke()
    await subject.publish(TOPIC, SECRET, retain=True)
    await subject.ping()
    late = await world.running.connect("late", world.version)
    await subscribe(late, "#")
    return await world.receives(late)


async def retained_delivery(world: World) -> bool:
    subject = await world.subject()
    await world.publish_to_subject(retain=True)
    await world.revoke()
    await subscribe(subject, "end", "#")
    return await world.receives(subject)


async def live_delivery(world: World) -> bool:
    subject = await world.subject()
    await subscribe(subject, "end", TOPIC)
    await world.revoke()
    await world.publish_to_subject()
    return await world.receives(subject)


async def live_delivery_through_a_route_that_is_known(world: World) -> bool:
    subject = await world.subject()
    await subscribe(subject, "end", TOPIC, qos=1)
    await world.admin.publish(TOPIC, b"before", 1)
    await world.admin.receive()
    await world.revoke()
    await world.publish_to_subject(1)
    return await world.receives(subject)


async def offline_queue(world: World) -> bool:
    subject = await world.subject(**KEPT)
    await subscribe(subject, "end", TOPIC, qos=1)
    await lose(subject)
    await world.publish_to_subject(1)
    await world.revoke()
    return await world.receives(await world.subject(**KEPT))


async def revoked_while_away(world: World) -> bool:
    """CVE-2021-34434: the subscription of a durable client."""
    subject = await world.subject(**KEPT)
    await subscribe(subject, "end", TOPIC, qos=1)
    await lose(subject)
    await world.revoke()
    await world.publish_to_subject(1)
    return await world.receives(await world.subject(**KEPT))


async def in_flight_on_resume(world: World) -> bool:
    subject = await world.subject(**KEPT)
    codes = await subscribe(subject, "end", TOPIC, qos=1)
    await world.publish_to_subject(1)
    if codes[1] == 1:
        assert (await subject.receive_publish()).payload == SECRET  # and it is not acknowledged
    await lose(subject)
    await world.revoke()
    return await world.receives(await world.subject(**KEPT))


async def share_group(world: World) -> bool:
    subject = await world.subject()
    await subscribe(subject, "end", f"$share/g/{TOPIC}")
    await world.revoke()
    await world.publish_to_subject()
    return await world.receives(subject)


async def injected_by_a_plugin(world: World) -> bool:
    subject = await world.subject()
    await subscribe(subject, "end", TOPIC)
    await world.revoke()
    world.running.broker.for_plugins.publish(TOPIC, SECRET)
    return await world.receives(subject)


async def one_of_several_filters(world: World) -> bool:
    subject = await world.subject()
    await world.revoke()
    first, second, third = await subscribe(subject, "x", TOPIC, "end")
    assert (first, third) == (0, 0)
    assert second in (0, 0x87 if world.version == V5 else 0x80)
    await world.publish_to_subject()
    received = await world.receives(subject)
    assert received == (second == 0)
    return received


async def overlapping_wildcards(world: World) -> bool:
    subject = await world.subject()
    await subscribe(subject, "end", "#", "+")
    await world.revoke()
    await world.publish_to_subject()
    return await world.receives(subject)


async def subscribed_again(world: World) -> bool:
    """An UNSUBSCRIBE is never refused, and brings nothing about that a SUBSCRIBE would not be refused for."""
    subject = await world.subject()
    await subscribe(subject, "end", TOPIC)
    await world.revoke()
    await subject.send(encode_unsubscribe(Unsubscribe(2, (TOPIC,)), subject.version))
    first, body = await subject.receive()
    assert all(code in (0, 0x11) for code in decode_unsuback(body, subject.version, first).reason_codes)
    await subscribe(subject, TOPIC)
    await world.publish_to_subject()
    return await world.receives(subject)


BOTH_VERSIONS = (
    publish_qos_0,
    publish_qos_1,
    publish_qos_2,
    pubrel,
    pubrel_on_another_connection,
    will_at_connect,
    will_when_it_fires,
    will_of_a_client_that_is_taken_over,
    retained_store,
    retained_delivery,
    live_delivery,
    live_delivery_through_a_route_that_is_known,
    offline_queue,
    revoked_while_away,
    in_flight_on_resume,
    share_group,
    injected_by_a_plugin,
    one_of_several_filters,
    overlapping_wildcards,
    subscribed_again,
)
VERSION_5 = (delayed_will, topic_alias)


async def go(
    way: Callable[[World], Awaitable[bool]],
    source: Callable[[Policy], object],
    right: str,
    version: ProtocolVersion,
) -> bool:
    policy = Policy(is_allowed=right != "denied")
    async with broker_with(source(policy)) as running:

        async def revoke() -> None:
            broker = running.broker
            if right.startswith("revoked"):
                policy.is_allowed = False
            if right == "revoked by access_changed":
                broker.for_plugins.access_changed()
            elif right == "revoked for the client":
                broker.for_plugins.access_changed("subject")
            elif right == "revoked by a reload":
                await broker.reload(broker.settings)
            await settled()

        admin = await running.connect("admin", V5)
        observer = await running.connect("observer", V5)
        await subscribe(observer, "#")
        return await way(World(running, admin, observer, version, revoke))


@pytest.mark.parametrize("source", [rules_of, answers_of], ids=["rules", "answers"])
@pytest.mark.parametrize(
    "right",
    ["allowed", "denied", "revoked by access_changed", "revoked for the client", "revoked by a reload"],
)
@pytest.mark.parametrize(
    ("way", "version"),
    [
        *(
            pytest.param(way, version, id=f"{way.__name__}-{int(version)}")
            for way in BOTH_VERSIONS
            for version in (V3_1_1, V5)
        ),
        *(pytest.param(way, V5, id=f"{way.__name__}-5") for way in VERSION_5),
    ],
)
def test_matrix(
    way: Callable[[World], Awaitable[bool]],
    source: Callable[[Policy], object],
    right: str,
    version: ProtocolVersion,
) -> None:
    found: list[bool] = []

    async def main() -> None:
        found.append(await go(way, source, right, version))

    run_mocked(main)
    assert found == [right == "allowed"]
