"""paho-mqtt's client made to wait: each call returns when the broker has answered, or fails at the deadline."""

import queue
import socket
import warnings
from types import TracebackType
from typing import Any, Self

import pytest
from e2e.process import DEADLINE, BrokerProcess
from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

V31, V311, V5 = MQTTProtocolVersion.MQTTv31, MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
VERSIONS = (V31, V311, V5)
DAY = 86_400


def publish_properties(**values: Any) -> Properties:
    """Return properties of a PUBLISH; paho takes names such as ``UserProperty``."""
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


class PahoClient:
    """One client in a ``with`` block: connected at its start, sent DISCONNECT at its end."""

    def __init__(
        self,
        broker: BrokerProcess,
        version: MQTTProtocolVersion = V311,
        client_id: str = "",
        *,
        callbacks: CallbackAPIVersion = CallbackAPIVersion.VERSION2,
        clean: bool = True,
        will: tuple[str, str, int, bool] | None = None,
    ) -> None:
        with warnings.catch_warnings():
            if callbacks is CallbackAPIVersion.VERSION1:
                warnings.filterwarnings("ignore", "Callback API version 1", DeprecationWarning)
            self.paho = Client(
                callbacks,
                client_id,
                protocol=version,
                clean_session=None if version is V5 else clean,
                reconnect_on_failure=False,
            )
        self._broker = broker
        self._clean = clean
        self._connected: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._acknowledged: queue.SimpleQueue[tuple[int, list[int]]] = queue.SimpleQueue()
        self._disconnected: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._messages: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
        self.session_present = False
        self.connack_properties: Properties | None = None
        if will is not None:
            self.paho.will_set(*will)
        # The callbacks' signatures differ between API 1 and 2 and, in API 1, between versions.
        self.paho.on_connect = lambda _client, _userdata, flags, code, *rest: self._connected.put((flags, code, *rest))
        self.paho.on_subscribe = lambda _client, _userdata, mid, codes, *_rest: self._acknowledged.put(
            (mid, [getattr(code, "value", code) for code in codes])
        )
        self.paho.on_unsubscribe = lambda _client, _userdata, mid, *_rest: self._acknowledged.put((mid, []))
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_message = lambda _client, _userdata, message: self._messages.put(message)

    def _on_disconnect(self, _client: Client, _userdata: None, *rest: Any) -> None:
        code = rest[1] if len(rest) == 3 else rest[0]
        self._disconnected.put(getattr(code, "value", code))

    def __enter__(self) -> Self:
        version5: dict[str, Any] = {}
        if self.paho.protocol == V5:
            version5["clean_start"] = self._clean
            if not self._clean:
                version5["properties"] = Properties(PacketTypes.CONNECT)
                version5["properties"].SessionExpiryInterval = DAY
        self.paho.connect(self._broker.host, self._broker.port, **version5)
        self.paho.loop_start()
        flags, code, *rest = self._connected.get(timeout=DEADLINE)
        assert getattr(code, "value", code) == 0, f"refused: {code}"
        # API 1 hands out a dict, API 2 a tuple with names.
        self.session_present = bool(flags["session present"] if isinstance(flags, dict) else flags.session_present)
        self.connack_properties = rest[0] if rest else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def subscribe(self, *filters: tuple[str, int]) -> list[int]:
        """Subscribe with one SUBSCRIBE packet and return the codes of its SUBACK."""
        _, mid = self.paho.subscribe(list(filters))
        answered, codes = self._acknowledged.get(timeout=DEADLINE)
        assert answered == mid
        return codes

    def unsubscribe(self, *filters: str) -> None:
        """Unsubscribe with one UNSUBSCRIBE packet and wait for its UNSUBACK."""
        _, mid = self.paho.unsubscribe(list(filters))
        assert self._acknowledged.get(timeout=DEADLINE)[0] == mid

    def send(
        self,
        topic: str,
        payload: str | bytes,
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> MQTTMessageInfo:
        """Start to publish."""
        return self.paho.publish(topic, payload, qos, retain, properties)

    def publish(
        self,
        topic: str,
        payload: str | bytes,
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> None:
        """Publish, and wait until the broker has acknowledged it (QoS 0: until it is written)."""
        info = self.send(topic, payload, qos, retain=retain, properties=properties)
        info.wait_for_publish(DEADLINE)
        assert info.is_published(), f"not acknowledged: {topic}"

    def receive(self) -> MQTTMessage:
        """Return the next message."""
        try:
            return self._messages.get(timeout=DEADLINE)
        except queue.Empty:
            pytest.fail("no message came")

    def receive_payloads(self, count: int) -> list[bytes]:
        """Return the payloads of the next messages, in the order of their coming."""
        return [self.receive().payload for _ in range(count)]

    def wait_for_disconnect(self) -> int:
        """Wait until the connection is gone and return the reason code that paho tells."""
        return self._disconnected.get(timeout=DEADLINE)

    def drop(self) -> None:
        """Lose the connection: no DISCONNECT is sent."""
        connection = self.paho.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)
        self.wait_for_disconnect()
