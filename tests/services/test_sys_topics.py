"""$SYS as clients see it: what is there, when it changes, who may read it, and the averages, minute by minute."""

import math
from dataclasses import replace

import trio
from net.stream_clients import StreamClient
from noctule._version import __version__
from noctule.api import AccessRules, Client, Rule, hookimpl
from noctule.core.access import Access
from noctule.hooks.table import Plugin
from noctule.services.load_average import LoadAverage
from services.running import Served, mocked, served

#: Every topic that Mosquitto 2.1 publishes without bridges and memory tracking off, and where we have it.
MOSQUITTOS = {
    "version", "uptime", "clients/total", "clients/maximum", "clients/inactive", "clients/disconnected",
    "clients/active", "clients/connected", "clients/expired", "messages/stored", "messages/received", "messages/sent",
    "store/messages/count", "store/messages/bytes", "subscriptions/count", "shared_subscriptions/count",
    "retained messages/count", "heap/current", "heap/maximum", "bytes/received", "bytes/sent",
    "publish/bytes/received", "publish/bytes/sent", "publish/messages/dropped", "publish/messages/received",
    "publish/messages/sent", "packet/out/bytes", "connections/socket/count",
}  # fmt: skip
LOADS = {
    f"load/{name}/{period}"
    for name in (
        "messages/received", "messages/sent", "publish/dropped", "publish/received", "publish/sent", "bytes/received",
        "bytes/sent", "sockets", "connections",
    )
    for period in ("1min", "5min", "15min")
}  # fmt: skip
PACKETS = {
    f"mqtt/{name}/{way}"
    for name in (
        "connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp", "subscribe", "suback", "unsubscribe",
        "unsuback", "pingreq", "pingresp", "disconnect", "auth",
    )
    for way in ("received", "sent")
}  # fmt: skip


async def read(client: StreamClient, topic_filter: str = "$SYS/#") -> dict[str, str]:
    """What is retained, by topic without its beginning."""
    await client.subscribe(topic_filter)
    await client.send(b"\xc0\x00")
    found = {}
    while True:
        first, body = await client.receive()
        if first == 0xD0:
            break
        assert first == 0x31, "not retained"
        size = int.from_bytes(body[:2], "big")
        topic = body[2 : 2 + size].decode()
        found[topic.removeprefix("$SYS/broker/")] = body[3 + size :].decode()
    return found


async def now(broker: Served) -> dict[str, str]:
    async with await broker.connect("reader") as client:
        return await read(client)


def test_the_whole_tree() -> None:
    async def main() -> None:
        async with served() as broker:
            await trio.sleep(1)
            found = await now(broker)
            assert found.keys() == MOSQUITTOS | LOADS | PACKETS | {"mqtt/publish/dropped"}
            assert found["version"] == f"noctule version {__version__}"
            assert found["uptime"] == "0 seconds"
            assert int(found["heap/current"]) > 1_000_000
            assert {found[topic] for topic in LOADS} == {"0.00"}

    mocked(main)


def test_it_counts() -> None:
    async def main() -> None:
        async with served(sys_interval_s=5) as broker:
            client = await broker.connect("c", session_expiry_interval_s=100)
            await client.subscribe("a", 1)
            await client.subscribe("$share/g/b")
            other = await broker.connect("d")
            await other.publish("a", b"12345", 1)
            assert (await other.receive())[0] == 0x40
            await other.publish("r", b"1234567", retain=True)
            await other.ping()
            await trio.sleep(5.5)
            found = await now(broker)
            assert found["clients/total"] == found["clients/connected"] == found["clients/active"] == "2"
            assert found["clients/maximum"] == "2"
            assert found["clients/disconnected"] == found["clients/inactive"] == "0"
            assert found["subscriptions/count"] == "1"
            assert found["shared_subscriptions/count"] == "1"
            assert found["publish/messages/received"] == "2"
            assert found["publish/messages/sent"] == "1"
            assert found["publish/bytes/received"] == "12"
            assert found["publish/bytes/sent"] == "5"
            assert found["mqtt/connect/received"] == found["mqtt/connack/sent"] == "2"
            assert found["mqtt/puback/sent"] == "1"
            assert found["mqtt/subscribe/received"] == found["mqtt/suback/sent"] == "2"
            assert found["connections/socket/count"] == "2"
            # $SYS itself is retained too; the message in flight to c is stored as well.
            assert int(found["messages/stored"]) == int(found["retained messages/count"]) + 1
            assert found["uptime"] == "5 seconds"

    mocked(main)


def test_sessions_of_clients_that_are_away_and_their_end() -> None:
    async def main() -> None:
        async with served(sys_interval_s=1) as broker:
            client = await broker.connect("c", session_expiry_interval_s=20)
            await client.stream.aclose()
            await trio.sleep(2.5)
            found = await now(broker)
            assert (found["clients/total"], found["clients/disconnected"], found["clients/expired"]) == ("1", "1", "0")
            await trio.sleep(30)
            found = await now(broker)
            assert (found["clients/total"], found["clients/disconnected"], found["clients/expired"]) == ("0", "0", "1")

    mocked(main)


def test_published_on_change_only() -> None:
    async def main() -> None:
        async with served(sys_interval_s=10) as broker:
            client = await broker.connect("reader")
            await trio.sleep(1)
            assert "10 seconds" not in (await read(client, "$SYS/broker/uptime")).values()
            await client.subscribe("$SYS/broker/clients/#")
            while (await client.receive_publish()).topic != b"$SYS/broker/clients/maximum":
                pass
            started = trio.current_time()
            topics = []
            while trio.current_time() - started < 45:
                with trio.move_on_after(50 - (trio.current_time() - started)):
                    topics.append((await client.receive_publish()).topic)
            # The first has what happened before; after that only the time goes on.
            late = topics[-3:]
            assert late == [b"$SYS/broker/uptime"] * 3

    mocked(main)


def test_the_interval_is_changed_by_a_reload_and_none_takes_everything_away() -> None:
    async def main() -> None:
        async with served(sys_interval_s=10) as broker:
            await trio.sleep(1)
            assert await now(broker)
            await broker.broker.reload(replace(broker.broker.settings, sys_interval_s=0))
            await trio.sleep(1)
            assert await now(broker) == {}
            assert broker.broker.state.router.retained.count == 0
            await broker.broker.reload(replace(broker.broker.settings, sys_interval_s=1))
            await trio.sleep(2.5)
            assert (await now(broker))["uptime"] == "4 seconds"

    mocked(main)


def test_wildcards_at_the_first_level_do_not_reach_it() -> None:
    async def main() -> None:
        async with served() as broker:
            await trio.sleep(1)
            async with await broker.connect("reader") as client:
                assert await read(client, "#") == {}
                assert await read(client, "+/broker/uptime") == {}

    mocked(main)


class OnlyUptime:
    @hookimpl
    async def load_access(self, client: Client) -> Access:
        return AccessRules([Rule("$SYS/broker/uptime"), Rule("t")], checks_subscriptions=False).for_client(client)


def test_access_rules_hold_there_too() -> None:
    async def main() -> None:
        async with served(Plugin("only", OnlyUptime())) as broker:
            await trio.sleep(1)
            assert (await now(broker)).keys() == {"uptime"}

    mocked(main)


def test_averages_are_mosquittos() -> None:
    """sys_tree.c: new = rate + exp(-elapsed / period) * (old - rate), with the rate per minute."""
    load = LoadAverage()
    expected = [0.0, 0.0, 0.0]
    count = 0
    for step, more in enumerate((0, 600, 0, 0, 30, 30, 30)):
        count += more
        load.update(count, 10.0)
        for index, period in enumerate((60, 300, 900)):
            rate = more * 6
            expected[index] = rate + math.exp(-10 / period) * (expected[index] - rate)
        assert list(load.averages().values()) == expected, step
    load.update(count, 0)  # no time has passed: nothing is known
    assert list(load.averages().values()) == expected


def test_the_averages_come_near_a_steady_rate() -> None:
    async def main() -> None:
        async with served(sys_interval_s=10) as broker:
            async with await broker.connect("c") as client:
                for _ in range(60):
                    await client.publish("a", b"1")
                    await trio.sleep(10)
                await client.ping()
            found = await now(broker)
            assert 5.9 < float(found["load/publish/received/1min"]) <= 6.0
            assert 4.9 < float(found["load/publish/received/5min"]) < 5.5
            assert 2.6 < float(found["load/publish/received/15min"]) < 3.2
            # Two digits, as there.
            assert len(found["load/publish/received/1min"].partition(".")[2]) == 2

    mocked(main)
