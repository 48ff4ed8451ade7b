"""Home Assistant, Zigbee2MQTT, Node-RED and Telegraf as docs/quick-start.md sets them up: paho plays each of them.

What each program does on its connection is written here from its own documentation; user, password, address, version,
topics and Will are taken from the settings on the page, and the broker is the page's own, with its users and rules.
"""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from docs.pages import Block, blocks_of
from docs.settings_of_others import read_settings
from docs.terminal import PASSWORD, CommandServer, Machine
from e2e.paho_client import V5, V311, PahoClient
from paho.mqtt.enums import MQTTProtocolVersion

PAGE = "docs/quick-start.md"
NOT_AUTHORISED = 0x87


def settings_of(program: str) -> Any:
    (block,) = [block for block in blocks_of(PAGE) if (block.mark, block.said) == ("of", program)]
    return read_settings(block)


def configuration() -> Block:
    (block,) = [block for block in blocks_of(PAGE) if block.file_name == "noctule.toml"]
    return block


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, command_server: CommandServer) -> Iterator[SimpleNamespace]:
    """The broker of the page, with its users; where it is, for ``PahoClient``."""
    home = tmp_path_factory.mktemp("house")
    machine = Machine(home, command_server)
    (users,) = [block for block in blocks_of(PAGE) if "noctule passwd -c" in block.text]
    machine.write("noctule.toml", configuration().text)
    machine.run_script(users)
    machine.leave_running("noctule run -c noctule.toml")
    yield SimpleNamespace(host="127.0.0.1", port=machine.ports[1883])
    machine.finish()
    machine.close()


def client(
    broker: SimpleNamespace,
    user: str,
    *,
    version: MQTTProtocolVersion = V311,
    client_id: str = "",
    clean: bool = True,
    will: tuple[str, str, int, bool] | None = None,
) -> PahoClient:
    made = PahoClient(broker, version, client_id, clean=clean, will=will)  # type: ignore[arg-type]
    made.paho.username_pw_set(user, PASSWORD)
    return made


def server_of(url: str) -> tuple[str | None, int | None]:
    parts = urlsplit(url)
    return parts.hostname, parts.port


HOME_ASSISTANT_WILL = ("homeassistant/status", "offline", 0, False)


def test_home_assistant_and_zigbee2mqtt(broker: SimpleNamespace) -> None:
    """Discovery: retained messages are there when Home Assistant starts, and its birth reaches who asks for it."""
    mqtt = settings_of("Zigbee2MQTT")["mqtt"]
    assert server_of(mqtt["server"]) == ("192.0.2.10", 1883)
    assert mqtt["version"] == 5
    base = mqtt["base_topic"]
    state = f"{base}/bridge/state"
    config = "homeassistant/sensor/0x00158d/temperature/config"
    will = (state, '{"state":"offline"}', 1, True)
    bridge = client(broker, mqtt["user"], version=V5, client_id="mqttjs_zigbee", will=will)
    with client(broker, "homeassistant", will=HOME_ASSISTANT_WILL) as assistant:
        with bridge:
            assert bridge.subscribe((f"{base}/+/set", 0), ("homeassistant/#", 0)) == [0, 0]
            bridge.publish(state, '{"state":"online"}', 1, retain=True)
            bridge.publish(config, '{"name":"Temperature"}', 1, retain=True)
            bridge.publish(f"{base}/door", '{"temperature":21.5}', 0)
            assert bridge.receive().topic == config

            assert assistant.subscribe(("homeassistant/+/+/config", 0), ("homeassistant/+/+/+/config", 0)) == [0, 0]
            found = assistant.receive()
            assert (found.topic, found.retain) == (config, True)
            assert assistant.subscribe((f"{base}/#", 0)) == [0]
            assert (assistant.receive().topic) == state
            assistant.publish("homeassistant/status", "online", 0)
            assert bridge.receive().payload == b"online"
            assistant.publish(f"{base}/door/set", '{"state":"ON"}', 0)
            assert bridge.receive().topic == f"{base}/door/set"
            assert assistant.receive().topic == f"{base}/door/set"  # what it has published itself
            bridge.drop()
        gone = assistant.receive()
        assert (gone.topic, gone.payload) == (state, b'{"state":"offline"}')


def test_home_assistant_that_vanishes(broker: SimpleNamespace) -> None:
    with client(broker, "ann") as watcher:
        watcher.subscribe(("homeassistant/status", 0))
        with client(broker, "homeassistant", will=HOME_ASSISTANT_WILL) as assistant:
            assistant.drop()
        assert watcher.receive().payload == b"offline"


def test_home_assistant_at_its_start(broker: SimpleNamespace) -> None:
    """Thousands of retained messages at once, more than a Mosquitto as it is would queue."""
    count = 3_000
    with client(broker, "zigbee2mqtt") as bridge:
        for number in range(count):
            bridge.send(f"homeassistant/sensor/many/{number}/config", "{}", 1, retain=True)
        bridge.publish("homeassistant/sensor/many/last/config", "{}", 1, retain=True)
    with client(broker, "homeassistant") as assistant:
        assistant.subscribe(("homeassistant/sensor/many/+/config", 1))
        assert len({assistant.receive().topic for _ in range(count + 1)}) == count + 1


def test_node_red(broker: SimpleNamespace) -> None:
    (node,) = settings_of("Node-RED")
    assert (node["type"], node["broker"], node["port"]) == ("mqtt-broker", "192.0.2.10", "1883")
    assert (node["protocolVersion"], node["usetls"], node["cleansession"]) == ("5", False, True)
    birth = (node["birthTopic"], node["birthPayload"], int(node["birthQos"]), node["birthRetain"] == "true")
    will = (node["willTopic"], node["willPayload"], int(node["willQos"]), node["willRetain"] == "true")
    with client(broker, "ann") as watcher:
        watcher.subscribe((birth[0], 1))
        with client(broker, "nodered", version=V5, client_id=node["clientid"], will=will) as flows:
            flows.publish(*birth[:3], retain=birth[3])
            assert watcher.receive().payload == b"online"
            assert flows.subscribe(("zigbee2mqtt/+", 0)) == [0]
            flows.publish("zigbee2mqtt/lamp/set", '{"state":"ON"}', 1)
            flows.drop()
        assert watcher.receive().payload == b"offline"
    # What it is not to do, its rules keep it from.
    with client(broker, "nodered", version=V5) as flows:
        assert flows.subscribe(("homeassistant/#", 0)) == [NOT_AUTHORISED]


def test_telegraf(broker: SimpleNamespace) -> None:
    (consumer,) = settings_of("Telegraf")["inputs"]["mqtt_consumer"]
    (server,) = consumer["servers"]
    assert server_of(server) == ("192.0.2.10", 1883)
    assert consumer["persistent_session"] is True
    assert consumer["client_id"]
    filters = [(topic, consumer["qos"]) for topic in consumer["topics"]]
    with client(broker, consumer["username"], client_id=consumer["client_id"], clean=False) as telegraf:
        assert telegraf.subscribe(*filters) == [consumer["qos"]]
    # While it is away.
    with client(broker, "zigbee2mqtt") as bridge:
        bridge.publish("zigbee2mqtt/door", '{"temperature":21.5}', 1)
    with client(broker, consumer["username"], client_id=consumer["client_id"], clean=False) as telegraf:
        assert telegraf.session_present
        assert json.loads(telegraf.receive().payload) == {"temperature": 21.5}
        assert telegraf.subscribe(("homeassistant/#", 1)) == [0x80]
