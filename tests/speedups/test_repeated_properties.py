"""Properties that stand in one PUBLISH after another: what was checked is taken again where it is the same."""

import pytest
from noctule._speedups.codec import encode_publish
from speedups.message_packets import EVERY_PROPERTY, V5, WRONG_PUBLISH, Wrong, frame
from speedups.recording import Peer, make_router

WRONG_PROPERTIES = [row for row in WRONG_PUBLISH if row.versions == V5 and row.wire[2:5] == b"\x00\x01t"]


def publisher_and_subscriber(version: int = 5) -> tuple[Peer, Peer]:
    router = make_router()
    subscriber = Peer(router, "subscriber", version).connect().subscribe(b"#")
    return Peer(router, "publisher", 5).connect(), subscriber


def packets(*blocks: bytes) -> bytes:
    return b"".join(encode_publish(b"t", bytes((number,)), 5, properties=block) for number, block in enumerate(blocks))


BLOCKS = [
    EVERY_PROPERTY,
    EVERY_PROPERTY,
    b"",
    EVERY_PROPERTY,
    b"\x02\x00\x00\x00\x09\x03\x00\x02ab",
    b"\x02\x00\x00\x00\x08\x03\x00\x02ab",
    b"\x03\x00\x02ab\x02\x00\x00\x00\x09",
    b"\x03\x00\x02ab",
    b"\x09\x00\x02ab",
    b"\x01\x01",
    b"\x01\x00",
    EVERY_PROPERTY,
]


def test_every_message_has_its_own_properties() -> None:
    publisher, subscriber = publisher_and_subscriber()
    publisher.send(packets(*BLOCKS))
    assert [(one.payload[0], one.properties) for one in subscriber.publishes()] == list(enumerate(BLOCKS))


def test_every_message_has_its_own_properties_where_each_is_sent_alone() -> None:
    """One subscriber has a Subscription Identifier, which is put behind the others' properties."""
    publisher, _ = publisher_and_subscriber()
    other = Peer(publisher.router, "other").connect().subscribe(b"t", identifier=7)
    publisher.send(packets(*BLOCKS))
    got = [(one.payload[0], one.properties) for one in other.publishes()]
    assert got == [(number, block + b"\x0b\x07") for number, block in enumerate(BLOCKS)]


def test_every_message_is_translated_on_its_own() -> None:
    publisher, subscriber = publisher_and_subscriber(4)
    publisher.send(packets(*BLOCKS))
    assert subscriber.payloads() == [bytes((number,)) for number in range(len(BLOCKS))]


@pytest.mark.parametrize("interval_s", [1, 0xFFFFFFFF])
def test_every_message_of_qos_1_expires_at_its_own_time(interval_s: int) -> None:
    publisher, subscriber = publisher_and_subscriber()
    subscriber.subscribe(b"#", 1).lose()
    subscriber.session.expiry_interval_s = 0xFFFFFFFF
    blocks = [b"\x02" + s.to_bytes(4, "big") for s in (100, 100, interval_s, 100)]
    publisher.send(
        *(encode_publish(b"t", bytes((i,)), 5, 1, packet_id=i + 1, properties=b) for i, b in enumerate(blocks))
    )
    publisher.router.plane.begin_turn(publisher.router.plane.now + 50)
    subscriber.connect()
    left = [one.properties for one in subscriber.publishes()]
    if interval_s == 1:
        assert left == [b"\x02\x00\x00\x00\x32"] * 3
    else:
        assert left == [
            b"\x02\x00\x00\x00\x32",
            b"\x02\x00\x00\x00\x32",
            b"\x02" + (interval_s - 50).to_bytes(4, "big"),
            b"\x02\x00\x00\x00\x32",
        ]


@pytest.mark.parametrize("row", WRONG_PROPERTIES, ids=lambda row: row.name)
@pytest.mark.parametrize(
    "before", [EVERY_PROPERTY, b"\x26\x00\x01k\x00\x01v", b"\x01\x01"], ids=["every", "user", "short"]
)
def test_wrong_properties_behind_right_ones_are_refused_the_same(row: Wrong, before: bytes) -> None:
    publisher, subscriber = publisher_and_subscriber()
    publisher.send(packets(before, before) + row.wire)
    ((reason_code, _, rule),) = publisher.recorder.violations
    assert (reason_code, rule) == (row.reason_code, row.rule)
    assert len(subscriber.publishes()) == 2


@pytest.mark.parametrize(
    ("right", "wrong", "reason_code"),
    [
        (b"\x01\x01", b"\x01\x02", 0x82),
        (b"\x03\x00\x01a", b"\x03\x00\x01\xff", 0x81),
        (b"\x03\x00\x01a", b"\x03\x00\x02a", 0x81),
        (b"\x26\x00\x01k\x00\x01v", b"\x26\x00\x01k\x00\x01\x00", 0x81),
        (b"\x01\x00\x03\x00\x00", b"\x01\x00\x01\x00\x03", 0x82),
        (b"\x01\x00", b"\x01", 0x81),
        (b"\x01\x00", b"\x01\x00\x01", 0x82),
        (b"\x08\x00\x01a", b"\x08\x00\x01#", 0x82),
        (b"\x08\x00\x01a", b"\x23\x00\x01a", 0x81),
    ],
)
def test_a_block_that_differs_in_little_is_checked(right: bytes, wrong: bytes, reason_code: int) -> None:
    publisher, subscriber = publisher_and_subscriber()
    publisher.send(packets(right, right) + frame(0x30, b"\x00\x01t", bytes((len(wrong),)), wrong))
    assert [one.reason_code for one in publisher.recorder.violations] == [reason_code]
    assert len(subscriber.publishes()) == 2


def test_a_topic_is_missing_whatever_properties_were_before() -> None:
    publisher, subscriber = publisher_and_subscriber()
    publisher.send(packets(b"\x01\x01"), frame(0x30, b"\x00\x00", b"\x02", b"\x01\x01", b"p"))
    assert [one.reason_code for one in publisher.recorder.violations] == [0x82]
    assert len(subscriber.publishes()) == 1
