"""Topic Names and Topic Filters: which are well formed (4.7), and how a shared one is taken apart (4.8.2)."""

import pytest
from noctule.protocol import PacketError, ReasonCode, SubscriptionFilter, check_topic_name, split_filter

LONGEST = "a" * 65_535
LONGEST_OF_TWO_BYTES_EACH = "ü" * 32_767 + "a"


@pytest.mark.parametrize(
    "topic",
    [
        "a",
        "/",
        "//",
        "/a",
        "a/",
        "a b",
        "$SYS/x",
        "ü/\U0001f987",
        "\ufeff",
        "$share/a/b",
        LONGEST,
        LONGEST_OF_TWO_BYTES_EACH,
    ],
)
def test_a_topic_name(topic: str) -> None:
    check_topic_name(topic)


@pytest.mark.parametrize(
    ("topic", "rule"),
    [
        ("", "MQTT-4.7.3-1"),
        ("a/#", "MQTT-3.3.2-2"),
        ("+", "MQTT-3.3.2-2"),
        ("a+b", "MQTT-3.3.2-2"),
        ("a\0b", "MQTT-4.7.3-2"),
        (LONGEST + "a", "MQTT-4.7.3-3"),
        (LONGEST_OF_TWO_BYTES_EACH + "a", "MQTT-4.7.3-3"),
    ],
)
def test_no_topic_name(topic: str, rule: str) -> None:
    with pytest.raises(PacketError) as caught:
        check_topic_name(topic)
    assert (caught.value.reason_code, caught.value.rule) == (ReasonCode.TOPIC_NAME_INVALID, rule)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "#",
        "+",
        "/",
        "/#",
        "+/#",
        "a/#",
        "a/+/b",
        "+/+",
        "/+",
        "+/",
        "//",
        "$SYS/#",
        "$share",
        "$Share/a/b",
        LONGEST,
    ],
)
def test_a_filter(text: str) -> None:
    assert split_filter(text) == SubscriptionFilter(None, text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "MQTT-4.7.3-1"),
        ("a\0", "MQTT-4.7.3-2"),
        (LONGEST + "/", "MQTT-4.7.3-3"),
        ("a#", "MQTT-4.7.1-1"),
        ("#a", "MQTT-4.7.1-1"),
        ("#/a", "MQTT-4.7.1-1"),
        ("a/#/", "MQTT-4.7.1-1"),
        ("##", "MQTT-4.7.1-1"),
        ("#/#", "MQTT-4.7.1-1"),
        ("+#", "MQTT-4.7.1-1"),
        ("a+", "MQTT-4.7.1-2"),
        ("+a", "MQTT-4.7.1-2"),
        ("a/b+/c", "MQTT-4.7.1-2"),
        ("++", "MQTT-4.7.1-2"),
        ("$share//a", "MQTT-4.8.2-1"),
        ("$share/", "MQTT-4.8.2-1"),
        ("$share/g", "MQTT-4.8.2-2"),
        ("$share/g/", "MQTT-4.8.2-2"),
        ("$share/g+/a", "MQTT-4.8.2-2"),
        ("$share/#/a", "MQTT-4.8.2-2"),
        ("$share/g/a#", "MQTT-4.7.1-1"),
        ("$share/g/a+/b", "MQTT-4.7.1-2"),
    ],
)
def test_no_filter(text: str, rule: str) -> None:
    with pytest.raises(PacketError) as caught:
        split_filter(text)
    assert (caught.value.reason_code, caught.value.rule) == (ReasonCode.TOPIC_FILTER_INVALID, rule)


@pytest.mark.parametrize(
    ("text", "share_name", "topic_filter"),
    [
        ("$share/g/a/b", "g", "a/b"),
        ("$share/g//", "g", "/"),
        ("$share/g/#", "g", "#"),
        ("$share/group one/+/x", "group one", "+/x"),
        ("$share/g/$share/h/a", "g", "$share/h/a"),
    ],
)
def test_a_shared_filter_is_taken_apart(text: str, share_name: str, topic_filter: str) -> None:
    assert split_filter(text) == (share_name, topic_filter)


def test_levels_are_counted_to_the_limit() -> None:
    check_topic_name("a/b/c", 3)
    split_filter("a/+/#", 3)
    split_filter("$share/g/a/b/c", 3)
    for too_deep in (lambda: check_topic_name("a/b/c/d", 3), lambda: check_topic_name("///", 3)):
        with pytest.raises(PacketError) as caught:
            too_deep()
        assert caught.value.reason_code == ReasonCode.TOPIC_NAME_INVALID
    for text in ("a/b/c/d", "a/b/c/#", "$share/g/a/b/c/d"):
        with pytest.raises(PacketError) as caught:
            split_filter(text, 3)
        assert caught.value.reason_code == ReasonCode.TOPIC_FILTER_INVALID


def test_the_deepest_topic_there_can_be_is_no_matter() -> None:
    """65,535 levels: nothing recurses."""
    check_topic_name("/" * 65_535)
    split_filter("+/" * 32_767 + "#")
