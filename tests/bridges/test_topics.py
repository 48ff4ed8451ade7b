"""Which topics cross, and under what names."""

import pytest
from noctule.bridges.topics import TopicMap
from noctule.config.bridges import BridgeTopic, Direction
from noctule.core.access import PublishRight
from noctule.protocol import PacketError

OUT, IN, BOTH = Direction.OUT, Direction.IN, Direction.BOTH

CASES = [
    # pattern, local prefix, remote prefix, name here, name there
    ("#", "", "", "a/b", "a/b"),
    ("#", "", "site/7/", "a/b", "site/7/a/b"),
    ("#", "here/", "", "here/a", "a"),
    ("#", "here/", "there/", "here/a", "there/a"),
    ("temp/+", "here/", "there/", "here/temp/1", "there/temp/1"),
    ("a/#", "here/", "there/", "here/a", "there/a"),
    ("", "one/name", "another", "one/name", "another"),
    ("ü", "", "ö/", "ü", "ö/ü"),
    ("$SYS/#", "", "far/", "$SYS/x", "far/$SYS/x"),
]


@pytest.mark.parametrize(("pattern", "local", "remote", "here", "there"), CASES)
def test_names_both_ways(pattern: str, local: str, remote: str, here: str, there: str) -> None:
    topics = TopicMap([BridgeTopic(pattern, BOTH, 1, local, remote)])
    assert topics.outgoing(here.encode()) == there.encode()
    assert topics.outgoing(here.encode()) == there.encode()  # as it is remembered
    assert topics.incoming(there.encode()) == here.encode()
    assert topics.publish_right(here) == PublishRight()
    assert topics.may_receive(here)


@pytest.mark.parametrize(
    ("pattern", "local", "remote", "here"),
    [
        ("temp/+", "here/", "", "temp/1"),
        ("temp/+", "here/", "", "here/temp/1/2"),
        ("a/#", "", "", "b"),
        ("#", "", "", "$SYS/x"),
        ("", "one/name", "another", "one/name/more"),
    ],
)
def test_names_that_stay(pattern: str, local: str, remote: str, here: str) -> None:
    topics = TopicMap([BridgeTopic(pattern, BOTH, 1, local, remote)])
    assert topics.outgoing(here.encode()) is None
    assert topics.publish_right(here) is None
    assert not topics.may_receive(here)


def test_each_direction_alone() -> None:
    topics = TopicMap([BridgeTopic("o/#", OUT, 1, "", "r/"), BridgeTopic("i/#", IN, 2, "", "r/")])
    assert topics.outgoing(b"i/1") is None
    assert topics.incoming(b"r/o/1") is None
    assert topics.outgoing(b"o/1") == b"r/o/1"
    assert topics.incoming(b"r/i/1") == b"i/1"
    assert topics.filters_here == {"o/#": 1}
    assert topics.filters_there == {"r/i/#": 2}
    assert topics.filters_only_out == ("r/o/#",)
    assert topics.growth_bytes == 2
    assert topics.may_receive("o/1")
    assert not topics.may_receive("i/1")
    assert topics.publish_right("i/1") == PublishRight()
    assert topics.publish_right("o/1") is None
    assert topics.subscribe_qos_max("o/#", None) == 2
    assert topics.subscribe_qos_max("o/#", "group") is None
    assert topics.subscribe_qos_max("#", None) is None


def test_the_first_that_matches_counts_and_the_highest_qos() -> None:
    topics = TopicMap([BridgeTopic("a/b", OUT, 0, "", "x/"), BridgeTopic("a/#", OUT, 1), BridgeTopic("a/b", OUT, 2)])
    assert topics.outgoing(b"a/b") == b"x/a/b"
    assert topics.outgoing(b"a/c") == b"a/c"
    assert topics.filters_here == {"a/b": 2, "a/#": 1}


def test_what_is_no_topic_name() -> None:
    topics = TopicMap([BridgeTopic("#", BOTH)])
    for name in (b"a/#", b"+", b"", b"\xff"):
        with pytest.raises(PacketError):
            topics.incoming(name)


def test_a_name_that_would_be_too_long() -> None:
    topics = TopicMap([BridgeTopic("#", BOTH, 0, "", "x" * 99 + "/")])
    assert topics.outgoing(b"y" * 65_435) is not None
    assert topics.outgoing(b"y" * 65_436) is None


@pytest.mark.parametrize(
    ("pattern", "local", "remote"),
    [("a/#/b", "", ""), ("a+", "", ""), ("#", "x+/", ""), ("#", "", "x#"), ("", "a", ""), ("", "", ""), ("#", "a", "")],
)
def test_what_no_topic_can_be(pattern: str, local: str, remote: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|prefix"):
        BridgeTopic(pattern, OUT, 0, local, remote)
