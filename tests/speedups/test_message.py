"""Message: what it keeps, what it refuses, and that it does not change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule._speedups.buffers import PacketError
from noctule._speedups.message import Message
from speedups.message_packets import EVERY_PROPERTY

EXPIRY_60_S = b"\x02\x00\x00\x00\x3c"


def test_it_keeps_what_it_was_made_of() -> None:
    message = Message(b"a/b", b"\x00payload", 2, True, EVERY_PROPERTY, 1_000.0)
    assert message.topic == b"a/b"
    assert message.payload == b"\x00payload"
    assert message.properties == EVERY_PROPERTY
    assert (message.qos, message.retain) == (2, True)
    assert message.expires_at == 1_060.0


def test_least_message() -> None:
    message = Message(b"t", b"")
    assert (message.topic, message.payload, message.properties) == (b"t", b"", b"")
    assert (message.qos, message.retain, message.expires_at) == (0, False, 0.0)


@pytest.mark.parametrize("block", [EXPIRY_60_S, b"\x26\x00\x01k\x00\x01v" + EXPIRY_60_S, EXPIRY_60_S + b"\x01\x00"])
def test_its_expiry_runs_from_its_arrival(block: bytes) -> None:
    assert Message(b"t", b"", properties=block, now=5.0).expires_at == 65.0


@given(topic=st.binary(min_size=1, max_size=50), payload=st.binary(max_size=200))
def test_topic_and_payload_are_kept_apart(topic: bytes, payload: bytes) -> None:
    message = Message(topic, payload, properties=EXPIRY_60_S)
    assert (message.topic, message.properties, message.payload) == (topic, EXPIRY_60_S, payload)


@pytest.mark.parametrize("topic", [b"", b"x" * 65_536], ids=["empty", "65,536 bytes"])
def test_a_topic_that_fits_no_packet_is_our_fault(topic: bytes) -> None:
    with pytest.raises(ValueError, match="topic name"):
        Message(topic, b"")


@pytest.mark.parametrize("qos", [-1, 3])
def test_a_qos_that_is_none_is_our_fault(qos: int) -> None:
    with pytest.raises(ValueError, match="QoS"):
        Message(b"t", b"", qos)


def test_a_topic_alias_belongs_to_a_connection() -> None:
    with pytest.raises(ValueError, match="Topic Alias"):
        Message(b"t", b"", properties=b"\x23\x00\x01")


@pytest.mark.parametrize(
    ("block", "reason_code"),
    [
        (b"\x7e", 0x81),
        (b"\x02\x00", 0x81),
        (b"\x01\x02", 0x82),
        (b"\x0b\x01", 0x82),
        (EXPIRY_60_S + EXPIRY_60_S, 0x82),
        (b"\x08\x00\x01#", 0x82),
    ],
)
def test_a_wrong_property_block_is_refused(block: bytes, reason_code: int) -> None:
    with pytest.raises(PacketError) as caught:
        Message(b"t", b"", properties=block)
    assert caught.value.reason_code == reason_code


def test_it_does_not_change() -> None:
    message = Message(b"t", b"p", 1)
    with pytest.raises(TypeError, match="does not change"):
        message.__init__(b"u", b"q")
    with pytest.raises(AttributeError):
        message.qos = 2
    with pytest.raises(AttributeError):
        message.payload = b"q"
    assert (message.topic, message.payload, message.qos) == (b"t", b"p", 1)


def test_its_repr_names_the_topic_and_not_the_payload() -> None:
    assert repr(Message(b"a/\n", b"secret", 1, True)) == "<Message b'a/\\n' QoS 1 6 bytes retain>"
