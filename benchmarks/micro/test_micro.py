"""Micro-benchmarks: decoding, encoding, matching, fan-out.

    python -m pytest benchmarks/micro

Two builds are compared with --benchmark-save=before and, later, --benchmark-compare=0001.
"""

from collections.abc import Callable
from typing import Any

import pytest
from noctule._speedups.codec import FrameScanner, decode_ack, decode_publish, encode_ack, encode_publish
from noctule._speedups.outlet import Plane
from noctule._speedups.router import Router
from noctule._speedups.session import Session
from noctule.config.settings import Limits
from noctule.core.state import plane_limits
from noctule.protocol import Connect, ProtocolVersion, decode_connect, encode_connect
from workloads import MESSAGE_EXPIRY_AND_USER_PROPERTY, PAYLOAD, WORKLOADS

Benchmark = Callable[..., Any]

V3_1_1, V5 = ProtocolVersion(4), ProtocolVersion(5)
TOPIC = b"site/7/line/3/temperature"


def body_of(packet: bytes) -> tuple[int, bytes]:
    """The first byte of a packet, and what stands behind its length."""
    (found,) = FrameScanner().feed(packet)
    return found


@pytest.mark.parametrize("version", [V3_1_1, V5])
@pytest.mark.parametrize("qos", [0, 1])
def test_decode_publish(benchmark: Benchmark, version: ProtocolVersion, qos: int) -> None:
    properties = MESSAGE_EXPIRY_AND_USER_PROPERTY if version == V5 else b""
    first, body = body_of(encode_publish(TOPIC, PAYLOAD, version, qos, False, False, qos, properties))
    found = benchmark(decode_publish, first, body, version, True)
    assert found.payload == PAYLOAD


@pytest.mark.parametrize("version", [V3_1_1, V5])
@pytest.mark.parametrize("qos", [0, 1])
def test_encode_publish(benchmark: Benchmark, version: ProtocolVersion, qos: int) -> None:
    properties = MESSAGE_EXPIRY_AND_USER_PROPERTY if version == V5 else b""
    packet = benchmark(encode_publish, TOPIC, PAYLOAD, version, qos, False, False, qos, properties)
    assert packet.endswith(PAYLOAD)


def test_decode_puback(benchmark: Benchmark) -> None:
    first, body = body_of(encode_ack(4, 77, V5, 0))
    assert benchmark(decode_ack, first, body, V5).packet_id == 77


def test_scan_frames(benchmark: Benchmark) -> None:
    data = encode_publish(TOPIC, PAYLOAD, V3_1_1, 0, False, False, 0, b"") * 100
    assert len(benchmark(FrameScanner().feed, data)) == 100


@pytest.mark.parametrize("version", [V3_1_1, V5])
def test_decode_connect(benchmark: Benchmark, version: ProtocolVersion) -> None:
    _, body = body_of(encode_connect(Connect(version, "sensor-4711", user_name="plant", password=b"secret")))
    assert benchmark(decode_connect, body).client_id == "sensor-4711"


@pytest.mark.parametrize("filters", [10, 1_000, 100_000])
def test_match(benchmark: Benchmark, filters: int) -> None:
    """A topic among so many filters with wildcards, its route found anew each time."""
    plane = Plane(**plane_limits(Limits()))
    router = Router(plane)
    holder, matching = Session(plane, "holder"), Session(plane, "matching")
    for number in range(filters):
        router.subscribe(holder, b"site/%d/+/other%d/#" % (number % 50, number), 0)
    router.subscribe(matching, b"site/+/line/#", 0)

    def find() -> int:
        router.access_changed()  # every route is old
        return len(router.route_targets(TOPIC))

    assert benchmark(find) == 1


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_step(benchmark: Benchmark, name: str) -> None:
    """The works of workloads.py: fan-out, flows of QoS 1 and 2, and so on."""
    step, units = WORKLOADS[name]()
    benchmark.extra_info["messages in a step"] = units  # type: ignore[attr-defined]
    benchmark(step)
