"""Bridges to Eclipse Mosquitto."""

import shutil
from pathlib import Path

import pytest
import trio
from bridges.brokers import bridge_to, broker_with, connected
from bridges.mosquittos import Mosquitto
from noctule.client import connect
from noctule.config.bridges import BridgeTopic, BridgeVersion, Direction

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
