"""Bridges to Eclipse Mosquitto."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trustme
from bridges.brokers import bridge_to, broker_with, connected
from bridges.mosquittos import Mosquitto, until
from bridges.relay import Relay
from net.secured import Authority
from noctule.client import connect
from noctule.config.bridge_transports import BridgeTcpSettings, BridgeTlsSettings
from noctule.config.bridges import BridgeTopic, BridgeVersion, Direction
from noctule.config.options import Secret
from noctule.protocol import ProtocolVersion

pytestmark = [
    pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs mosquitto"),
    pytest.mark.timeout(60),
]

VERSIONS = list(BridgeVersion)


@pytest.mark.parametrize("version", VERSIONS)
def test_messages_cross_both_ways_with_prefixes(version: BridgeVersion, tmp_path: Path) -> None:
    topics = (
        BridgeTopic("x/#", Direction.OUT, 2, "", "far/"),
        BridgeTopic("y/#", Direction.IN, 2, "near/", ""),
    )

    async def main() -> None:
        with Mosquitto(tmp_path) as there:
            bridge = bridge_to(there.url, topics=topics, protocol_version=version)
            async with (
                broker_with(bridge) as (broker, url),
                connect(url) as near,
                connect(there.url) as far,
                near.subscription("near/#", 2) as received_here,
                far.subscription("far/#", 2) as received_there,
            ):
                await connected(broker)
                with trio.fail_after(10):
                    for qos in range(3):
                        await near.publish(f"x/{qos}", b"out", qos)
                        message = await received_there.receive()
                        assert (message.topic, message.payload, message.qos) == (f"far/x/{qos}", b"out", qos)
                        await far.publish(f"y/{qos}", b"in", qos)
                        message = await received_here.receive()
                        assert (message.topic, message.payload, message.qos) == (f"near/y/{qos}", b"in", qos)

    trio.run(main)


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_comes_back(version: BridgeVersion, tmp_path: Path) -> None:
    """Topics that go both ways on the same names: each message crosses once, and what is retained stays so."""

    async def main() -> None:
        with Mosquitto(tmp_path) as there:
            bridge = bridge_to(there.url, topics=(BridgeTopic("#", Direction.BOTH, 2),), protocol_version=version)
            async with (
                broker_with(bridge) as (broker, url),
                connect(url) as near,
                connect(there.url) as far,
                near.subscription("#", 2) as received_here,
                far.subscription("#", 2) as received_there,
            ):
                await connected(broker)
                with trio.fail_after(10):
                    await near.publish("a", b"from here", 2, retain=True)
                    await far.publish("b", b"from there", 2, retain=True)
                    for messages in (received_here, received_there):
                        found = {(await messages.receive()).payload for _ in range(2)}
                        assert found == {b"from here", b"from there"}
                    await near.publish("c", b"last", 2)
                    await far.publish("d", b"last", 2)
                    for messages in (received_here, received_there):
                        assert {(await messages.receive()).topic for _ in range(2)} == {"c", "d"}
                    for url_, name in ((url, "b"), (there.url, "a")):
                        async with connect(url_) as late, late.subscription(name, 2) as kept:
                            assert (await kept.receive()).retain

    trio.run(main)


@pytest.mark.parametrize("version", VERSIONS)
def test_over_tls_with_a_certificate_and_a_password(version: BridgeVersion, tmp_path: Path) -> None:
    authority = Authority(tmp_path, trustme.CA())
    authority.ca.cert_pem.write_to_path(authority.ca_file)
    certificate, key = authority.server()
    own = authority.client("bridge")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(tmp_path / "users"), "edge", "pass word"], check=True)

    async def main() -> None:
        with Mosquitto(
            tmp_path,
            f"cafile {authority.ca_file}",
            f"certfile {certificate}",
            f"keyfile {key}",
            "require_certificate true",
            "allow_anonymous false",
            f"password_file {tmp_path}/users",
        ) as there:
            bridge = bridge_to(
                f"mqtts://localhost:{there.port}",
                protocol_version=version,
                remote_user_name="edge",
                remote_password=Secret("pass word"),
                tls=BridgeTlsSettings(ca_file=authority.ca_file, certificate_file=own, key_file=own),
                tcp=BridgeTcpSettings(keep_alive_s=30, user_timeout_s=20),
            )
            async with broker_with(bridge) as (broker, _):
                await connected(broker)
            wrong = replace(bridge, remote_password=Secret("wrong"))
            async with broker_with(wrong) as (broker, _):
                await until(lambda: any("not authorised" in line for line in there.output))
                assert not broker.bridges.connected["b"]
            for tls in (BridgeTlsSettings(), BridgeTlsSettings(ca_file=authority.ca_file)):
                count = len(there.output)
                async with broker_with(replace(bridge, tls=tls)) as (broker, _):
                    await until(lambda count=count: any("rror" in line for line in there.output[count:]))
                    assert not broker.bridges.connected["b"]

    trio.run(main)


@pytest.mark.parametrize("version", [BridgeVersion.V3_1_1, BridgeVersion.V5])
def test_killed_without_keeping_anything(version: BridgeVersion, tmp_path: Path) -> None:
    """What this broker has acknowledged has been acknowledged by the other, however often that one loses everything."""

    async def main() -> None:
        with Mosquitto(tmp_path, "persistence false") as there:
            relay = Relay(there.port, ProtocolVersion.V5 if version is BridgeVersion.V5 else ProtocolVersion.V3_1_1)
            async with trio.open_nursery() as nursery:
                await nursery.start(relay.serve)
                bridge = bridge_to(f"mqtt://127.0.0.1:{relay.port}", protocol_version=version)
                sent: set[bytes] = set()
                async with broker_with(bridge) as (broker, url), connect(url) as near:
                    for blow in range(4):
                        await connected(broker)
                        for number in range(40):
                            payload = b"%d %d" % (blow, number)
                            await near.publish("out/1", payload, 1 + number % 2)
                            sent.add(payload)
                            if number == 20:
                                there.kill()
                        await trio.to_thread.run_sync(there.start)
                    await until(lambda: sent <= relay.acknowledged)
                nursery.cancel_scope.cancel()

    trio.run(main)
