"""The broker over every transport, by real clients: paho, mosquitto_pub and mosquitto_sub, MQTT.js in node."""

import gc
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e import test_mosquitto_clients
from e2e import test_mqttjs as mqttjs
from e2e.transports import CONFIG, CONFIG_MUTUAL, DEADLINE, Transports, start
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

WAYS = ("mqtt", "mqtts", "ws", "wss", "unix")
MOSQUITTO_WAYS = ("mqtt", "mqtts", "unix")


@pytest.fixture
def transports(carrier: str, tmp_path: Path) -> Iterator[Transports]:
    yield from running(tmp_path, carrier, CONFIG.format(web=""))


@pytest.fixture
def mutual(carrier: str, tmp_path: Path) -> Iterator[Transports]:
    """One that lets in nobody without a certificate."""
    yield from running(tmp_path, carrier, f"allow_anonymous = true\n{CONFIG_MUTUAL}")


def running(folder: Path, carrier: str, config: str) -> Iterator[Transports]:
    found = start(folder, carrier, config)
    try:
        yield found
        found.process.stop()
    finally:
        if found.process.process.poll() is None:
            found.process.kill()


class NotConnectedError(Exception):
    """paho could not connect."""


@contextmanager
def paho(transports: Transports, way: str, certificate: Path | None = None) -> Iterator["Peer"]:
    peer = Peer(transports, way, certificate)
    try:
        peer.connect()
        yield peer
    finally:
        peer.client.disconnect()
        peer.client.loop_stop()


class Peer:
    """A paho client over one of the transports."""

    def __init__(self, transports: Transports, way: str, certificate: Path | None) -> None:
        kind = {"ws": "websockets", "wss": "websockets", "unix": "unix"}.get(way, "tcp")
        self._transports, self._way = transports, way
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            transport=kind,  # type: ignore[arg-type]
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        if way in ("mqtts", "wss"):
            self.client.tls_set(str(transports.ca_file), *((str(certificate),) * 2 if certificate else ()))
        self._changed = threading.Condition()
        self.payloads: list[bytes] = []
        self.is_subscribed = False
        self.has_failed = False
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: self._note("is_subscribed")
        self.client.on_connect_fail = lambda *_: self._note("has_failed")
        self.client.on_disconnect = lambda *_: self._note("has_failed")

    def _note(self, what: str) -> None:
        with self._changed:
            setattr(self, what, True)
            self._changed.notify_all()

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        with self._changed:
            self.payloads.append(message.payload)
            self._changed.notify_all()

    def connect(self) -> None:
        try:
            if self._way == "unix":
                self.client.connect(str(self._transports.socket))
            else:
                self.client.connect("127.0.0.1", self._transports.ports[self._way])
        except OSError as error:
            raise NotConnectedError from error
        self.client.loop_start()

    def subscribe(self, topic: str) -> None:
        self.client.on_connect = lambda *_: self.client.subscribe(topic, 2)
        if self.client.is_connected():
            self.client.subscribe(topic, 2)
        with self._changed:
            self._changed.wait_for(lambda: self.is_subscribed or self.has_failed, DEADLINE)
        if not self.is_subscribed:
            raise NotConnectedError

    def receive(self, count: int) -> list[bytes]:
        with self._changed:
            self._changed.wait_for(lambda: len(self.payloads) >= count, DEADLINE)
        return self.payloads


def test_paho_over_every_transport(transports: Transports, topic: str) -> None:
    """Who subscribes by one gets what is published by each, each QoS in order.

    A client hands out a message of QoS 2 when it is released: one of another QoS that comes meanwhile is earlier.
    """
    sizes = (1, 126, 70_000)  # of each QoS
    for way in WAYS:
        with paho(transports, way) as subscriber:
            subscriber.subscribe(f"{topic}/{way}")
            for other in WAYS:
                with paho(transports, other) as publisher:
                    publisher.subscribe("another")
                    for qos in range(3):
                        info = publisher.client.publish(f"{topic}/{way}", other.encode() * sizes[qos], qos)
                        info.wait_for_publish(DEADLINE)
            received = subscriber.receive(len(WAYS) * 3)
            for qos in range(3):
                expected = [other.encode() * sizes[qos] for other in WAYS]
                assert [payload for payload in received if len(payload) in map(len, expected)] == expected
            assert len(received) == len(WAYS) * 3


# paho leaves a socket behind where the handshake fails.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")
def test_paho_with_a_certificate(mutual: Transports, topic: str) -> None:
    for way in ("mqtts", "wss"):
        with paho(mutual, way, mutual.client_file) as peer:
            peer.subscribe(topic)
            peer.client.publish(topic, way, 1)
            assert peer.receive(1) == [way.encode()]
        with pytest.raises(NotConnectedError), paho(mutual, way) as stranger:
            stranger.subscribe(topic)
    gc.collect()
    assert mutual.process.output.count("the client shows no certificate, and this listener requires one") == 2


needs_mosquitto = pytest.mark.skipif(
    bool(test_mosquitto_clients.missing), reason="not installed: mosquitto-clients, coreutils"
)


def mosquitto_arguments(transports: Transports, way: str) -> list[str]:
    if way == "unix":
        return ["--unix", str(transports.socket)]
    arguments = ["-h", "127.0.0.1", "-p", str(transports.ports[way])]
    if way == "mqtts":
        arguments += ["--cafile", str(transports.ca_file)]
    return arguments


@needs_mosquitto
def test_mosquitto_pub_and_sub(transports: Transports, topic: str) -> None:
    for way in MOSQUITTO_WAYS:
        with subprocess.Popen(
            [
                *("stdbuf", "-oL", "mosquitto_sub", *mosquitto_arguments(transports, way), "-t", topic, "-q", "1"),
                *("-d", "-C", str(len(MOSQUITTO_WAYS)), "-F", "> %p"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        ) as subscriber:
            try:
                assert subscriber.stdout is not None
                for line in subscriber.stdout:
                    if line.startswith("Subscribed "):
                        break
                for other in MOSQUITTO_WAYS:
                    subprocess.run(
                        ["mosquitto_pub", *mosquitto_arguments(transports, other), "-t", topic, "-q", "1", "-m", other],
                        timeout=DEADLINE,
                        check=True,
                    )
                output, _ = subscriber.communicate(timeout=DEADLINE)
            finally:
                subscriber.kill()
        assert [line for line in output.splitlines() if line.startswith("> ")] == [f"> {way}" for way in MOSQUITTO_WAYS]


@needs_mosquitto
def test_mosquitto_pub_with_a_certificate(mutual: Transports, topic: str) -> None:
    def publish(*arguments: str) -> int:
        return subprocess.run(
            [
                *("mosquitto_pub", "-h", "127.0.0.1", "-p", str(mutual.ports["mqtts"])),
                *("-t", topic, "-m", "x", "-q", "1", "--cafile", str(mutual.ca_file), *arguments),
            ],
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        ).returncode

    client = str(mutual.client_file)
    assert publish("--cert", client, "--key", client) == 0
    assert publish() != 0


@pytest.mark.skipif(bool(mqttjs.lacking), reason=mqttjs.lacking)
@pytest.mark.parametrize("version", [3, 4, 5], ids=["3.1", "3.1.1", "5"])
@pytest.mark.parametrize("way", ["mqtts", "ws", "wss"])
def test_mqttjs(transports: Transports, topic: str, way: str, version: int) -> None:
    """MQTT 3.1 asks for the sub-protocol mqttv3.1; the first frame is one byte."""
    options = {
        "protocol": way,
        "port": transports.ports[way],
        "path": "/mqtt",
        "ca": transports.ca_file.read_text(),
        "hostname": "localhost",
        "host": "localhost",
    }
    seen = mqttjs.run("exchange", transports.process, topic, version, transport=options)
    assert seen["granted"] == [[0, 1, 2]] * 2
    assert len(seen["received"]) == 18
    assert mqttjs.run("large", transports.process, topic, version, transport=options)


def test_a_browser_that_asks_for_a_page(transports: Transports) -> None:
    """What somebody sees who types the address of the WebSocket port."""
    request = urllib.request.Request(f"http://127.0.0.1:{transports.ports['ws']}/mqtt")
    with pytest.raises(urllib.error.HTTPError) as answered:
        urllib.request.urlopen(request, timeout=DEADLINE)
    with answered.value as page:
        assert page.code == 426
        assert f"ws://127.0.0.1:{transports.ports['ws']}/mqtt" in page.read().decode()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="not installed: openssl")
def test_openssl_sees_what_is_offered(transports: Transports) -> None:
    """An ALPN of mqtt, a chain that is believed, no compression, and no renegotiation."""
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{transports.ports['mqtts']}", "-alpn", "mqtt"),
            *("-CAfile", str(transports.ca_file), "-tls1_2"),
        ],
        input="R\n",  # ask for renegotiation
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert "ALPN protocol: mqtt" in done.stdout
    assert "Verify return code: 0 (ok)" in done.stdout
    assert "Compression: NONE" in done.stdout
    assert "no renegotiation" in done.stderr
