"""Clients that others have written, at both sides: mqtt-sn-12 over UDP, paho over TCP; the broker in this process."""

import queue
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
from noctule.app import Broker
from noctule.config.mqtt_sn import MqttSnMode, MqttSnSettings
from noctule.config.settings import ListenerSettings, Settings
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

MqttSnClient = pytest.importorskip("mqttsn12.client.MqttSnClient").MqttSnClient
MqttSnConstants = pytest.importorskip("mqttsn12.MqttSnConstants").MqttSnConstants
PublishPacket = pytest.importorskip("mqttsn12.packets").PublishPacket

#: How long anything is waited for, in seconds.
DEADLINE_S = 20


class Device:
    """mqtt-sn-12's client, connected, in a ``with`` block; it takes messages when it polls."""

    def __init__(
        self, port: int, client_id: str = "dev", *, clean: bool = True, will: tuple[Any, ...] | None = None
    ) -> None:
        self.sn = MqttSnClient()
        self.sn.set_client_id(client_id)
        self.sn.set_clean_session(clean)
        self.sn.set_keep_alive(60 if will is None else 1)
        if will is not None:
            self.sn.set_will(*will)
        self._wait_for = self.sn.wait_for
        self.sn.wait_for = self._wait_and_acknowledge
        self.messages: list[tuple[str, bytes]] = []
        self.sn.open("127.0.0.1", port)
        self.sn.send_connect()

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *error: object) -> None:
        self.sn.close()

    def _wait_and_acknowledge(self, blocking: bool, kind: int) -> bytes | None:
        """The client's own, with the PUBACK that it means to send at QoS 1 and does not (1.0.9 takes the QoS for the
        bits of it)."""
        datagram: bytes | None = self._wait_for(blocking, kind)
        if datagram is not None and kind == MqttSnConstants.TYPE_PUBLISH:
            publish = PublishPacket()
            publish.decode(datagram)
            if publish.get_qos() == 1:
                self.sn.send_puback(publish, 0)
        return datagram

    def message_arrived(self, message: Any) -> None:
        """mqtt-sn-12 calls this."""
        self.messages.append((message.get_topic_name(), bytes(message.get_payload())))

    def subscribe(self, topic_filter: str, qos: int = 0) -> None:
        self.sn.send_subscribe(topic_filter, qos, self)

    def receive(self) -> tuple[str, bytes]:
        """The next message."""
        until = time.monotonic() + DEADLINE_S
        while not self.messages:
            assert time.monotonic() < until, "no message came"
            self.sn.polling()
            time.sleep(0.001)
        return self.messages.pop(0)


class Watcher:
    """paho's client, connected, in a ``with`` block."""

    def __init__(self, port: int, client_id: str = "watching") -> None:
        self.paho = Client(CallbackAPIVersion.VERSION2, client_id, reconnect_on_failure=False)
        self._messages: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
        self._subscribed: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.paho.on_message = lambda client, data, message: self._messages.put(message)
        self.paho.on_subscribe = lambda *arguments: self._subscribed.put(None)
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(self, *error: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def subscribe(self, topic_filter: str, qos: int = 0) -> None:
        self.paho.subscribe(topic_filter, qos)
        self._subscribed.get(timeout=DEADLINE_S)

    def publish(self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False) -> None:
        self.paho.publish(topic, payload, qos, retain).wait_for_publish(DEADLINE_S)

    def receive(self) -> tuple[str, bytes, int]:
        message = self._messages.get(timeout=DEADLINE_S)
        return message.topic, message.payload, message.qos


def run(script: Callable[[int, int], None], **settings: Any) -> None:
    """Run the script (with the TCP and the UDP port) in a thread beside a broker."""

    async def main() -> None:
        gateway = MqttSnSettings(port=0, predefined_topics={"7": "pre/defined"}, **settings)
        broker = Broker(Settings((ListenerSettings("127.0.0.1", 0),), mqtt_sn=(gateway,)))
        async with trio.open_nursery() as nursery:
            urls = await nursery.start(broker.run)
            tcp, udp = (int(url.rpartition(":")[2]) for url in urls)
            try:
                await trio.to_thread.run_sync(script, tcp, udp)
            finally:
                broker.stop()

    trio.run(main)


MODES = pytest.mark.parametrize("mode", MqttSnMode)


@MODES
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_from_a_device_to_paho(mode: MqttSnMode, qos: int) -> None:
    def script(tcp: int, udp: int) -> None:
        with Watcher(tcp) as watcher, Device(udp) as device:
            watcher.subscribe("#", 2)
            for number in range(10):
                device.sn.send_publish("sensors/1", b"%d" % number, qos)
                assert watcher.receive() == ("sensors/1", b"%d" % number, qos)
            device.sn.send_publish("t1", b"short", qos)
            assert watcher.receive() == ("t1", b"short", qos)
            device.sn.send_publish_predefined(7, b"predefined", qos)
            assert watcher.receive() == ("pre/defined", b"predefined", qos)
            device.sn.send_disconnect()

    run(script, mode=mode)


@MODES
@pytest.mark.parametrize("qos", [0, 1])
def test_from_paho_to_a_device(mode: MqttSnMode, qos: int) -> None:
    """mqtt-sn-12 does not receive at QoS 2."""

    def script(tcp: int, udp: int) -> None:
        with Watcher(tcp) as watcher, Device(udp) as device:
            device.subscribe("wild/+", qos)
            device.subscribe("by/name", qos)
            for number in range(10):
                for topic in ("by/name", f"wild/{number % 3}"):
                    watcher.publish(topic, b"%d" % number, qos)
                    assert device.receive() == (topic, b"%d" % number)
            device.sn.send_unsubscribe("by/name")
            device.sn.send_disconnect()

    run(script, mode=mode)


@MODES
def test_retained_messages(mode: MqttSnMode) -> None:
    def script(tcp: int, udp: int) -> None:
        with Watcher(tcp) as watcher, Device(udp) as device:
            watcher.publish("kept/by/paho", b"1", 1, retain=True)
            device.subscribe("kept/#", 1)
            assert device.receive() == ("kept/by/paho", b"1")
            device.sn.send_publish("also/kept", b"2", 1, True)
            watcher.subscribe("also/#")
            assert watcher.receive() == ("also/kept", b"2", 0)

    run(script, mode=mode)


@MODES
def test_the_will_of_a_device_that_is_lost(mode: MqttSnMode) -> None:
    def script(tcp: int, udp: int) -> None:
        with Watcher(tcp) as watcher:
            watcher.subscribe("wills/#", 1)
            with Device(udp, will=("wills/dev", "gone", 1, False)):
                pass
            assert watcher.receive() == ("wills/dev", b"gone", 1)  # after its Duration of 1 s and a half

    run(script, mode=mode)


def test_a_will_that_is_changed() -> None:
    def script(tcp: int, udp: int) -> None:
        with Watcher(tcp) as watcher:
            watcher.subscribe("wills/#", 1)
            with Device(udp, will=("wills/dev", "gone", 1, False)) as device:
                device.sn.send_will_topic_update("wills/other")
                device.sn.send_will_message_update("bye")
            topic, payload, _ = watcher.receive()
            assert (topic, payload) == ("wills/other", b"bye")

    run(script)


def test_a_session_is_kept() -> None:
    def script(tcp: int, udp: int) -> None:
        with Watcher(tcp) as watcher:
            with Device(udp, clean=False) as device:
                device.subscribe("a/b/c", 1)
                device.sn.send_disconnect()
            watcher.publish("a/b/c", b"meanwhile", 1)
            with Device(udp, clean=False) as device:
                device.sn.list_of_mqtt_sn_callback["a/b/c"] = device
                assert device.receive() == ("a/b/c", b"meanwhile")

    run(script)


def test_qos_minus_one_and_search() -> None:
    def script(tcp: int, udp: int) -> None:
        with Watcher(tcp) as watcher:
            watcher.subscribe("#")
            client = MqttSnClient()
            client.open("127.0.0.1", udp)
            client.send_search_gateway(1)
            client.send_publish("t1", b"x", -1)
            assert watcher.receive() == ("t1", b"x", 0)
            client.send_publish_predefined(7, b"y", -1)
            assert watcher.receive() == ("pre/defined", b"y", 0)
            client.close()

    run(script, qos_minus_one_topics=("t1", "pre/defined"))
