"""The interface for programs: every answer is as its description says, and says what is so."""

import base64
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
import trio
from noctule._version import __version__
from noctule.api import AccessRules, Client, Rule, hookimpl
from noctule.config.settings import Limits
from noctule.core.access import Access
from noctule.hooks.table import Plugin
from noctule.protocol.connect import Will
from noctule.services.api.openapi import description
from noctule.services.api.routes import ROUTES
from services.running import Reply, Served, mocked, served

DESCRIPTION = description()


def check(reply: Reply, path: str, method: str = "get") -> Any:
    """The answer, if it is what the description says; nothing that is not described may be in it."""
    responses = DESCRIPTION["paths"][path][method]["responses"]
    content = responses[str(reply.status)]["content"]
    assert list(content) == [reply.headers["content-type"]]
    schema = content["application/json"]["schema"] | {"components": DESCRIPTION["components"]}
    jsonschema.Draft202012Validator(schema).validate(reply.json)
    return reply.json


async def asked(broker: Served, path: str, query: str = "", **values: str) -> Any:
    target = path
    for name, value in values.items():
        target = target.replace(f"{{{name}}}", quote(value, safe=""))
    reply = await broker.ask(target + (f"?{query}" if query else ""))
    assert reply.status == 200, reply.body
    return check(reply, path)


def test_the_description_is_served_and_whole() -> None:
    async def main() -> None:
        async with served() as broker:
            assert (await broker.ask("/api/v1/openapi.json")).json == DESCRIPTION

    mocked(main)
    assert DESCRIPTION["openapi"] == "3.1.0"
    assert set(DESCRIPTION["paths"]) == {route.path for route in ROUTES}
    for schema in DESCRIPTION["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["description"].endswith(".")
        assert schema["additionalProperties"] is False
    identifiers = [route.name for route in ROUTES]
    assert len(set(identifiers)) == len(identifiers)


def test_every_route_answers_as_described_on_an_empty_broker_and_on_a_busy_one() -> None:
    async def main() -> None:
        async with served() as broker:
            for is_busy in (False, True):
                if is_busy:
                    client = await broker.connect("c", will=Will("w", b"gone", 1, True))
                    await client.subscribe("a/#", 1)
                    await client.publish("r", b"1", retain=True)
                    await client.publish("$SYS/no", b"1")
                    await client.ping()
                    await broker.raw(b"")
                for route in ROUTES:
                    if route.method == "GET" and "{" not in route.path:
                        await asked(broker, route.path)
            await asked(broker, "/api/v1/clients/{client_id}", client_id="c")
            missing = await broker.ask("/api/v1/clients/nobody")
            assert missing.status == 404
            check(missing, "/api/v1/clients/{client_id}")

    mocked(main)


def test_version_and_listeners() -> None:
    async def main() -> None:
        async with served() as broker:
            await trio.sleep(3)
            version = await asked(broker, "/api/v1/version")
            assert (version["name"], version["version"], version["uptime_s"]) == ("noctule", __version__, 3)
            async with await broker.connect("c"):
                listeners = await asked(broker, "/api/v1/listeners")
                assert listeners["urls"] == list(broker.broker.urls)
                assert [one["connections"] for one in listeners["items"]] == [1]

    mocked(main)


def test_clients_are_listed_filtered_and_paged() -> None:
    async def main() -> None:
        async with served() as broker:
            for number in range(7):
                client = await broker.connect(f"client-{number}", session_expiry_interval_s=100)
                if number >= 5:
                    await client.stream.aclose()
            await trio.sleep(1)
            answer = await asked(broker, "/api/v1/clients", "limit=3&offset=2")
            assert answer["page"] == {"total": 7, "is_total_exact": True, "offset": 2, "limit": 3}
            assert [one["client_id"] for one in answer["items"]] == ["client-2", "client-3", "client-4"]
            for query, count in (
                ("connected=true", 5),
                ("connected=false", 2),
                ("client_id=-3", 1),
                ("client_id=CLIENT", 0),
                ("address=127.0.0.1", 7),
                ("address=127.0.0.2", 0),
                ("user_name=", 0),
                ("listener=127.0.0.1:0&connected=true&client_id=4", 1),
                ("offset=100", 7),
            ):
                answer = await asked(broker, "/api/v1/clients", query)
                assert answer["page"]["total"] == count, query
            (away,) = (await asked(broker, "/api/v1/clients", "client_id=-6"))["items"]
            assert (away["is_connected"], away["session_ends_in_s"], away["connected_for_s"]) == (False, 99, None)

    mocked(main)


def test_one_client_with_all_there_is() -> None:
    async def main() -> None:
        async with served() as broker:
            name = "ä/b c%\u2028\u202e"
            client = await broker.connect(
                name,
                user_name="ada",
                keep_alive_s=30,
                will=Will("w/t", b"secret will", 1, True, will_delay_interval_s=9),
            )
            await client.subscribe("in/+", 1)
            await client.subscribe("$share/g/x", 0)
            writer = await broker.connect("writer")
            for _ in range(3):
                await writer.publish("in/1", b"12345", 1)
                await writer.receive()
            await writer.ping()
            await trio.sleep(2)
            found = await asked(broker, "/api/v1/clients/{client_id}", client_id=name)
            shown = found["client"]
            assert (shown["client_id"], shown["user_name"], shown["protocol"]) == (name, "ada", "5.0")
            assert (shown["keep_alive_s"], shown["subscriptions"], shown["inflight_messages"]) == (30, 2, 3)
            assert shown["connected_for_s"] == 2
            assert found["will"] == {"topic": "w/t", "qos": 1, "retain": True, "delay_s": 9}
            assert found["traffic"]["publishes_sent"] == 3
            assert found["traffic"]["publishes_received"] == 0
            assert found["traffic"]["sent_bytes"] > 30
            assert found["rates"]["over_s"] == 2
            assert found["rates"]["publishes_sent"] == 1.5
            assert {(one["topic_filter"], one["share_name"], one["qos"]) for one in found["subscriptions"]} == {
                ("in/+", None, 1),
                ("x", "g", 0),
            }
            now = await asked(broker, "/api/v1/clients/{client_id}", "rate_interval_s=4", client_id=name)
            assert (now["rates"]["over_s"], now["rates"]["publishes_sent"]) == (4, 0)

    mocked(main)


def test_subscriptions() -> None:
    async def main() -> None:
        async with served() as broker:
            for number in range(3):
                client = await broker.connect(f"c{number}")
                await client.subscribe("house/+/temperature")
                await client.subscribe(f"house/{number}", 1)
                await client.subscribe("$share/g/house/#")
            for query, count in (
                ("", 9),
                ("client_id=c1", 3),
                ("topic_filter=house/1", 1),
                ("topic_filter=house/%2B/temperature", 3),
                ("matching=house/1", 4),
                ("matching=house/1/temperature", 6),
                ("matching=$SYS/x", 0),
                ("matching=other", 0),
                ("matching=house/1&client_id=c1", 2),
            ):
                answer = await asked(broker, "/api/v1/subscriptions", query)
                assert answer["page"]["total"] == len(answer["items"]) == count, query
            pages = [
                await asked(broker, "/api/v1/subscriptions", f"limit=2&offset={offset}") for offset in range(0, 9, 2)
            ]
            rows = [(one["client_id"], one["topic_filter"]) for page in pages for one in page["items"]]
            assert len(set(rows)) == len(rows) == 9
            assert all(page["page"]["total"] == 9 for page in pages)

    mocked(main)


def test_retained_messages() -> None:
    async def main() -> None:
        async with served() as broker:
            client = await broker.connect("c")
            for number in range(5):
                await client.publish(f"r/{number}", b"%d" % number * 100, retain=True)
            await client.publish("bin", b"\xff\x00", retain=True)
            await client.ping()
            answer = await asked(broker, "/api/v1/retained")
            assert answer["page"]["total"] == 6
            assert all(one["payload_text"] is one["payload_base64"] is None for one in answer["items"])
            answer = await asked(broker, "/api/v1/retained", "topic_filter=r/%2B&payload=true&payload_max=10")
            assert answer["page"]["total"] == 5
            by_topic = {one["topic"]: one for one in answer["items"]}
            assert by_topic["r/3"]["payload_text"] == "3" * 10
            assert (by_topic["r/3"]["payload_bytes"], by_topic["r/3"]["is_payload_cut"]) == (100, True)
            (found,) = (await asked(broker, "/api/v1/retained", "topic_filter=bin&payload=true"))["items"]
            assert base64.b64decode(found["payload_base64"]) == b"\xff\x00"
            pages = [
                await asked(broker, "/api/v1/retained", f"topic_filter=r/%23&limit=2&offset={at}") for at in (0, 2, 4)
            ]
            assert len({one["topic"] for page in pages for one in page["items"]}) == 5
            assert [page["page"]["is_total_exact"] for page in pages] == [False, False, True]

    mocked(main)


def test_events() -> None:
    async def main() -> None:
        async with served(limits=Limits(queue_max_messages=2)) as broker:
            client = await broker.connect("bad name")
            await client.publish("$SYS/x", b"1", 1)
            await client.receive()
            async with await broker.open() as broken:
                await broken.send(b"\x10\x03\x00\x00\x00")
                await broken.until_end()
            away = await broker.connect("away", session_expiry_interval_s=100)
            await away.subscribe("q", 1)
            await away.stream.aclose()
            await trio.sleep(1)
            for number in range(5):
                await client.publish("q", b"1", 1, number + 1)
                await client.receive()
            await trio.sleep(11)
            found = await asked(broker, "/api/v1/events")
            (denial,) = found["denials"]
            assert (denial["client_id"], denial["topic"], denial["action"]) == ("bad name", "$SYS/x", "publish to")
            assert [fault["rule"] for fault in found["faults"]]
            (drops,) = found["drops"]
            assert (drops["client_id"], drops["count"]) == ("away", 3)
            assert found["dropped"]["queue_full"] == 3

    mocked(main)


def test_events_are_bounded() -> None:
    async def main() -> None:
        async with served() as broker:
            client = await broker.connect("c")
            for number in range(1_000):
                await client.publish(f"$SYS/{number}")
            await client.ping()
            found = await asked(broker, "/api/v1/events")
            assert len(found["denials"]) == 200
            assert found["denials"][0]["topic"] == "$SYS/999"

    mocked(main)


class Everything:
    """A plugin with rules."""

    @hookimpl
    async def load_access(self, client: Client) -> Access:
        return AccessRules([Rule("#")]).for_client(client)


def test_plugins() -> None:
    async def main() -> None:
        async with served(Plugin("rules", Everything(), "a test")) as broker:
            reply = await broker.ask("/api/v1/plugins")
            # With access rules this port tells nothing to whoever happens to be on this machine.
            assert reply.status == 403
            check(reply, "/api/v1/plugins")
            for target in ("clients", "clients/c", "subscriptions", "retained", "config", "events", "log-levels"):
                assert (await broker.ask(f"/api/v1/{target}")).status == 403
            for target in ("/api/v1/version", "/api/v1/listeners", "/metrics", "/healthz", "/api/v1/openapi.json"):
                assert (await broker.ask(target)).status == 200

    mocked(main)


def test_readiness() -> None:
    async def main() -> None:
        async with served() as broker:
            assert (await broker.ask("/readyz")).status == 200
            broker.broker.state.is_stopping = True
            reply = await broker.ask("/readyz")
            assert (reply.status, reply.body) == (503, b"the broker is stopping\n")
            assert (await broker.ask("/healthz")).status == 200

    mocked(main)


def test_what_the_configuration_shows() -> None:
    async def main() -> None:
        async with served(limits=Limits(packet_max_bytes=64_000)) as broker:
            values = (await asked(broker, "/api/v1/config"))["values"]
            assert values["limits"]["max_packet_size"] == "64kB"
            assert values["sys_interval"] == "10s"
            assert values["http"]["password"] is None
            assert values["logging"]["level"] == "info"

    mocked(main)


@pytest.mark.parametrize("text", ['{"level": "debug"}', '{"level": null}'])
def test_levels_are_not_changed_without_a_login(text: str) -> None:
    async def main() -> None:
        async with served() as broker:
            reply = await broker.ask(
                "/api/v1/log-levels/noctule.net", "PUT", text.encode(), Content_Type="application/json"
            )
            assert reply.status == 403
            check(reply, "/api/v1/log-levels/{logger}", "put")

    mocked(main)
