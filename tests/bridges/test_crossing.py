"""What becomes of each packet: renamed, refused, or answered by the bridge itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noctule._speedups.codec import FrameScanner, decode_ack, decode_publish, encode_ack, encode_publish
from noctule.bridges.crossing import Crossing, CrossingLimits
from noctule.bridges.doubtful_identifiers import DoubtfulIdentifiers
from noctule.bridges.topics import TopicMap
from noctule.config.bridges import BridgeTopic, Direction
from noctule.protocol import PacketError, PacketType, PropertyId, ProtocolVersion, encode_property_block

V3_1, V3_1_1, V5 = ProtocolVersion
PUBACK, PUBREC, PUBREL, PUBCOMP = (
    PacketType.PUBACK,
    PacketType.PUBREC,
    PacketType.PUBREL,
    PacketType.PUBCOMP,
)
TOPICS = TopicMap([BridgeTopic("out/#", Direction.OUT, 2, "", "far/"), BridgeTopic("in/#", Direction.IN, 2, "near/")])


class Bench:
    """A crossing, and what it has to say."""

    def __init__(
        self,
        version: ProtocolVersion = V5,
        limits: CrossingLimits | None = None,
        doubtful: DoubtfulIdentifiers | None = None,
    ) -> None:
        self.version = version
        self.logged: list[str] = []
        self.crossing = Crossing(TOPICS, version, limits or CrossingLimits(), doubtful, self.logged.append)

    def _cut(self, packet: bytes) -> tuple[int, bytes]:
        (found,) = FrameScanner().feed(packet)
        return found

    def publish_here(self, topic: str, qos: int = 0, packet_id: int = 0, **options: object) -> None:
        packet = encode_publish(topic.encode(), b"payload", self.version, qos, packet_id=packet_id, **options)  # type: ignore[arg-type]
        self.crossing.message_from_here(*self._cut(packet))

    def publish_there(self, topic: str, qos: int = 0, packet_id: int = 0, **options: object) -> None:
        packet = encode_publish(topic.encode(), b"payload", self.version, qos, packet_id=packet_id, **options)  # type: ignore[arg-type]
        self.crossing.message_from_there(*self._cut(packet))

    def ack_here(self, packet_type: int, packet_id: int, reason_code: int = 0) -> None:
        packet = encode_ack(packet_type, packet_id, self.version, reason_code)
        self.crossing.acknowledgement_from_here(*self._cut(packet))

    def ack_there(self, packet_type: int, packet_id: int, reason_code: int = 0) -> None:
        packet = encode_ack(packet_type, packet_id, self.version, reason_code)
        self.crossing.acknowledgement_from_there(*self._cut(packet))

    def _shown(self, data: bytes) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for first, body in FrameScanner().feed(data):
            if first >> 4 == PacketType.PUBLISH:
                one = decode_publish(first, body, self.version, True)
                found.append((one.topic.decode(), one.qos, one.retain, one.dup, one.packet_id))
                assert one.payload == b"payload"
            else:
                ack = decode_ack(first, body, self.version)
                found.append((ack.packet_type, ack.packet_id))
        return found

    @property
    def to_here(self) -> list[tuple[object, ...]]:
        return self._shown(self.crossing.take_to_here())

    @property
    def to_there(self) -> list[tuple[object, ...]]:
        return self._shown(self.crossing.take_to_there())


@pytest.mark.parametrize("version", ProtocolVersion)
def test_messages_keep_all_but_their_name(version: ProtocolVersion) -> None:
    bench = Bench(version)
    bench.publish_here("out/1", 2, 7, retain=True, dup=True)
    assert bench.to_there == [("far/out/1", 2, True, True, 7)]
    bench.publish_there("in/1", 1, 9)
    assert bench.to_here == [("near/in/1", 1, False, False, 9)]
    assert bench.crossing.messages == 2
    assert not bench.to_there
    assert not bench.logged


def test_properties_cross() -> None:
    block = encode_property_block({PropertyId.CONTENT_TYPE: "text", PropertyId.MESSAGE_EXPIRY_INTERVAL: 5}, 3)
    bench = Bench()
    bench.publish_here("out/1", 1, 7, properties=block)
    ((first, body),) = FrameScanner().feed(bench.crossing.take_to_there())
    assert decode_publish(first, body, V5).properties == block


@pytest.mark.parametrize("version", ProtocolVersion)
@pytest.mark.parametrize("packet_type", [PUBACK, PUBREC, PUBREL, PUBCOMP])
def test_acknowledgements_cross(version: ProtocolVersion, packet_type: int) -> None:
    bench = Bench(version)
    bench.ack_here(packet_type, 300)
    assert bench.to_there == [(packet_type, 300)]
    bench.ack_there(packet_type, 301)
    assert bench.to_here == [(packet_type, 301)]


@pytest.mark.parametrize("version", ProtocolVersion)
def test_what_does_not_go_out_is_acknowledged_here(version: ProtocolVersion) -> None:
    bench = Bench(version)
    bench.publish_here("other")
    bench.publish_here("other", 1, 4)
    bench.publish_here("other", 2, 5)
    assert bench.to_here == [(PUBACK, 4), (PUBREC, 5)]
    bench.ack_here(PUBREL, 5)
    assert bench.to_here == [(PUBCOMP, 5)]
    assert not bench.to_there
    assert bench.crossing.dropped == 3
    assert bench.logged[0] == "dropped: other does not go out"
    bench.ack_here(PUBREL, 5)  # of another message, under the same identifier
    assert bench.to_there == [(PUBREL, 5)]


@pytest.mark.parametrize("version", ProtocolVersion)
def test_what_does_not_come_in_is_acknowledged_there(version: ProtocolVersion) -> None:
    bench = Bench(version)
    bench.publish_there("near/in/1")
    bench.publish_there("other", 1, 4)
    bench.publish_there("other", 2, 5)
    assert bench.to_there == [(PUBACK, 4), (PUBREC, 5)]
    assert not bench.to_here
    # This broker knows of no such message, and answers.
    bench.ack_there(PUBREL, 5)
    assert bench.to_here == [(PUBREL, 5)]
    bench.ack_here(PUBCOMP, 5)
    assert bench.to_there == [(PUBCOMP, 5)]
    assert bench.crossing.dropped == 3


def test_what_is_too_large() -> None:
    bench = Bench(limits=CrossingLimits(packet_max_there=30, packet_max_here=30))
    long = "x" * 20
    bench.publish_here(f"out/{long}", 1, 4)
    assert bench.to_here == [(PUBACK, 4)]
    bench.publish_there(f"in/{long}", 2, 5)
    assert bench.to_there == [(PUBREC, 5)]
    bench.publish_here("out/x", 1, 6)
    assert bench.to_there == [("far/out/x", 1, False, False, 6)]


def test_retain_is_taken_off() -> None:
    bench = Bench(limits=CrossingLimits(sends_retained=False))
    bench.publish_here("out/1", 1, 7, retain=True)
    assert bench.to_there == [("far/out/1", 1, False, False, 7)]
    bench.publish_there("in/1", 0, retain=True)
    assert bench.to_here == [("near/in/1", 0, True, False, 0)]


def test_a_broker_that_takes_no_qos_2() -> None:
    bench = Bench(limits=CrossingLimits(qos_max_there=1))
    bench.publish_here("out/1", 2, 7, dup=True)
    assert bench.to_there == [("far/out/1", 1, False, True, 7)]
    bench.ack_there(PUBACK, 7)
    assert bench.to_here == [(PUBREC, 7)]
    bench.ack_here(PUBREL, 7)
    assert bench.to_here == [(PUBCOMP, 7)]
    assert not bench.to_there


def test_a_broker_that_takes_qos_0_alone() -> None:
    bench = Bench(limits=CrossingLimits(qos_max_there=0))
    bench.publish_here("out/1", 1, 7, dup=True)
    assert bench.to_there == [("far/out/1", 0, False, False, 0)]
    assert bench.to_here == [(PUBACK, 7)]


def test_a_refusal_is_logged_and_crosses() -> None:
    bench = Bench()
    bench.ack_there(PUBACK, 7, 0x87)
    assert bench.to_here == [(PUBACK, 7)]
    assert "Not authorized" in bench.logged[0]
    bench.ack_here(PUBREC, 8, 0x87)
    assert bench.to_there == [(PUBREC, 8)]
    assert not bench.crossing.why_over


@pytest.mark.parametrize("code", [0x83, 0x97])
def test_what_cannot_be_kept_now_is_sent_again(code: int) -> None:
    """A full store, here or there, is no reason to give a message up: the connection ends instead."""
    bench = Bench()
    bench.ack_there(PUBACK, 7, code)
    assert not bench.to_here
    assert bench.crossing.why_over == "the other broker cannot keep messages now"
    bench = Bench()
    bench.ack_here(PUBREC, 7, code)
    assert not bench.to_there
    assert bench.crossing.why_over == "this broker cannot keep messages now"


def alias(number: int) -> bytes:
    return encode_property_block({PropertyId.TOPIC_ALIAS: number}, 3)


def test_aliases_stand_for_topics_that_cross() -> None:
    bench = Bench()
    bench.publish_here("out/1", properties=alias(1))
    bench.publish_here("other", properties=alias(2))
    bench.publish_here("", properties=alias(1))
    bench.publish_here("", properties=alias(2))
    assert [name for name, *_ in bench.to_there] == ["far/out/1", ""]
    bench.publish_here("other", properties=alias(1))
    bench.publish_here("", 1, 3, properties=alias(1))
    assert not bench.to_there
    assert bench.to_here == [(PUBACK, 3)]
    bench.publish_there("in/1", properties=alias(1))
    bench.publish_there("", properties=alias(1))
    assert [name for name, *_ in bench.to_here] == ["near/in/1", ""]


def test_identifiers_in_doubt_are_released_first() -> None:
    bench = Bench(doubtful=DoubtfulIdentifiers())
    bench.publish_here("out/1", 2, 7)
    assert bench.to_there == [(PUBREL, 7), ("far/out/1", 2, False, False, 7)]
    bench.ack_there(PUBCOMP, 7)  # the answer to the bridge's own
    assert not bench.to_here
    bench.ack_there(PUBREC, 7)
    bench.ack_there(PUBCOMP, 7)
    assert bench.to_here == [(PUBREC, 7), (PUBCOMP, 7)]
    bench.publish_here("out/1", 2, 7)  # once is enough
    assert bench.to_there == [("far/out/1", 2, False, False, 7)]
    bench.publish_here("out/1", 2, 8, dup=True)  # the other broker may have it
    bench.publish_here("out/1", 1, 9)
    assert [one[0] for one in bench.to_there] == ["far/out/1", "far/out/1"]


def test_identifiers_in_doubt_are_released_here() -> None:
    bench = Bench(doubtful=DoubtfulIdentifiers())
    bench.publish_there("in/1", 2, 7)
    assert bench.to_here == [(PUBREL, 7), ("near/in/1", 2, False, False, 7)]
    bench.ack_here(PUBCOMP, 7, 0x92)
    assert not bench.to_there
    bench.ack_here(PUBREC, 7)
    assert bench.to_there == [(PUBREC, 7)]
    bench.publish_there("in/1", 2, 8, dup=True)
    assert bench.to_here == [("near/in/1", 2, False, True, 8)]


@pytest.mark.parametrize(
    ("first", "body"),
    [
        (0x30, b""),
        (0x30, b"\x00"),
        (0x30, b"\x00\x05in/1"),
        (0x32, b"\x00\x04in/1\x00"),
        (0x36, b"\x00\x04in/1\x00\x01"),
    ],
)
def test_what_is_no_publish(first: int, body: bytes) -> None:
    with pytest.raises(PacketError):
        Bench(V3_1_1).crossing.message_from_there(first, body)


def test_what_is_no_acknowledgement() -> None:
    with pytest.raises(PacketError):
        Bench(V3_1_1).crossing.acknowledgement_from_there(0x40, b"\x00")


def test_no_more_is_held_than_there_is_room_for() -> None:
    """What comes too early waits in its order; what does not fit at all is to be sent again."""
    bench = Bench(V3_1_1, CrossingLimits(unreleased_max=2, unreleased_max_bytes=40))
    for packet_id in range(1, 9):
        bench.publish_there("in/1", 2, packet_id)
    bench.publish_there("in/0")
    assert [one[4] for one in bench.to_here] == [1, 2]
    bench.publish_there("in/1", 2, 1, dup=True)
    assert not bench.to_here
    taken = [1, 2]
    while taken:
        packet_id = taken.pop(0)
        bench.ack_here(PUBREC, packet_id)
        bench.ack_there(PUBREL, packet_id)
        bench.ack_here(PUBCOMP, packet_id)
        released, *more = bench.to_here
        assert released == (PUBREL, packet_id)
        taken += [int(str(one[4])) for one in more]
        assert bool(bench.crossing.why_over) == (not taken)
    assert packet_id == 5


def test_a_message_that_is_held_already_has_room() -> None:
    bench = Bench(V3_1_1, CrossingLimits(unreleased_max=1))
    bench.crossing.note_unreleased(7)
    bench.publish_there("in/1", 2, 7, dup=True)
    assert [one[4] for one in bench.to_here] == [7]
    bench.publish_there("in/1", 2, 8)
    bench.publish_there("in/0")
    assert not bench.to_here
    bench.ack_here(PUBCOMP, 7)
    assert [one[4] for one in bench.to_here] == [8, 0]
    assert not bench.crossing.why_over


@given(
    version=st.sampled_from(ProtocolVersion),
    packets=st.lists(
        st.tuples(
            st.sampled_from([0x30, 0x32, 0x3B, 0x34, 0x36, 0x40, 0x50, 0x62, 0x70]),
            st.one_of(
                st.binary(max_size=40),
                st.builds(
                    lambda name, rest: len(name).to_bytes(2, "big") + name + rest,
                    st.sampled_from([b"in/1", b"", b"other", b"in/#", b"\xff"]),
                    st.one_of(st.binary(max_size=20), st.just(b"\x00\x01\x03\x23\x00\x01x")),
                ),
            ),
        ),
        max_size=20,
    ),
)
@settings(deadline=None, max_examples=200)
def test_any_bytes_from_there(version: ProtocolVersion, packets: list[tuple[int, bytes]]) -> None:
    """Each is taken or refused with PacketError; what comes out is whole packets."""
    bench = Bench(version, CrossingLimits(packet_max_here=50, unreleased_max=3, unreleased_max_bytes=30))
    for first, body in packets:
        try:
            if first >> 4 == PacketType.PUBLISH:
                bench.crossing.message_from_there(first, body)
            else:
                bench.crossing.acknowledgement_from_there(first, body)
        except PacketError:
            break
        for data in (bench.crossing.take_to_here(), bench.crossing.take_to_there()):
            scanner = FrameScanner()
            scanner.feed(data)
            assert not scanner.held
