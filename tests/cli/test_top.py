"""What noctule top shows of ``$SYS``: everything, a part of it, nothing."""

import pytest
from noctule.cli.sys_topics import PREFIX, SysTopics
from noctule.cli.top import _duration, _size, view


def filled(values: dict[str, str]) -> SysTopics:
    topics = SysTopics()
    for name, value in values.items():
        topics.take(PREFIX + name, value.encode(), 0.0, is_retained=True)
    return topics


def test_everything() -> None:
    text = "\n".join(
        view(
            filled(
                {
                    "version": "mosquitto version 2.0.11",
                    "uptime": "90061 seconds",
                    "clients/connected": "12",
                    "clients/disconnected": "3",
                    "clients/total": "15",
                    "clients/maximum": "20",
                    "clients/expired": "1",
                    "subscriptions/count": "40",
                    "retained messages/count": "5000",
                    "store/messages/bytes": "1536",
                    "heap/current": "1048576",
                    "load/publish/received/1min": "120",
                    "publish/messages/received": "1000",
                }
            ),
            "mqtt://h:1883",
        )
    )
    for part in ("mosquitto version 2.0.11  mqtt://h:1883", "up 1 d 1:01:01", "5,000", "1.5 KiB", "1.0 MiB", "1,000"):
        assert part in text
    assert "messages (PUBLISH)          2.0" in text  # a minute's 120


def test_nothing_is_dashes() -> None:
    lines = view(SysTopics(), "mqtt://h:1883")
    assert lines[0] == "a broker  mqtt://h:1883"
    assert lines[1] == "up -"
    assert len(lines) == len(view(filled({"version": "x"}), "h"))


def test_old_names_will_do() -> None:
    topics = filled({"clients/active": "7", "clients/inactive": "2", "messages/stored": "9"})
    assert topics.number("clients/connected", "clients/active") == 7
    assert "7" in view(topics, "h")[4]


def test_what_is_no_number_is_a_dash() -> None:
    topics = filled({"clients/connected": "many", "uptime": ""})
    assert "-" in view(topics, "h")[4]


def test_rates_come_from_what_comes() -> None:
    topics = SysTopics()
    name = PREFIX + "bytes/received"
    topics.take(name, b"5", 0.0, is_retained=True)  # of any age
    topics.take(name, b"1000", 10.0)
    assert topics.rate("bytes/received") is None
    topics.take(name, b"3000", 12.0)
    assert topics.rate("bytes/received") == 1000
    topics.take(name, b"100", 14.0)  # it has started anew
    assert topics.rate("bytes/received") == 0
    topics.take(name, b"300", 16.0)
    assert topics.rate("bytes/received") == 100


def test_colour_is_asked_for() -> None:
    assert "\x1b" not in "".join(view(SysTopics(), "h"))
    assert "\x1b[1m" in view(SysTopics(), "h", is_coloured=True)[0]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (5e13, "45.5 TiB")]
)
def test_sizes(value: float | None, text: str) -> None:
    assert _size(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (5, "0:00:05"), (3661, "1:01:01"), (172_800, "2 d 0:00:00")])
def test_durations(value: float | None, text: str) -> None:
    assert _duration(value) == text
