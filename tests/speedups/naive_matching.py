"""Topic matching as section 4.7 tells it, level by level and as plainly as it goes: what the trees are held against."""


def matches(topic_filter: bytes, topic: bytes) -> bool:
    """Whether the topic name matches the filter."""
    wanted, levels = topic_filter.split(b"/"), topic.split(b"/")
    if topic.startswith(b"$") and wanted[0] in (b"+", b"#"):  # [MQTT-4.7.2-1]
        return False
    for at, level in enumerate(wanted):
        if level == b"#":
            return True
        if at == len(levels):
            return False
        if level not in (b"+", levels[at]):
            return False
        if at == len(levels) - 1 and wanted[at + 1 :] == [b"#"]:  # "#" stands for the parent level too (4.7.1.2)
            return True
    return len(wanted) == len(levels)


#: Filter, topic, whether it matches. From sections 4.7.1 to 4.7.3 and their examples.
MATCHING = [
    (b"sport/tennis/player1/#", b"sport/tennis/player1", True),
    (b"sport/tennis/player1/#", b"sport/tennis/player1/ranking", True),
    (b"sport/tennis/player1/#", b"sport/tennis/player1/score/wimbledon", True),
    (b"sport/tennis/player1/#", b"sport/tennis/player2", False),
    (b"sport/tennis/player1/#", b"sport/tennis", False),
    (b"sport/#", b"sport", True),
    (b"sport/#", b"sports", False),
    (b"#", b"sport", True),
    (b"#", b"a/b/c/d/e/f/g", True),
    (b"#", b"/", True),
    (b"#", b"//", True),
    (b"/#", b"/", True),
    (b"/#", b"/a", True),
    (b"/#", b"a", False),
    (b"a/#", b"a/", True),
    (b"a/#", b"a//", True),
    (b"sport/tennis/+", b"sport/tennis/player1", True),
    (b"sport/tennis/+", b"sport/tennis/player1/ranking", False),
    (b"sport/+", b"sport", False),
    (b"sport/+", b"sport/", True),
    (b"+", b"finance", True),
    (b"+", b"/finance", False),
    (b"+/+", b"/finance", True),
    (b"/+", b"/finance", True),
    (b"+", b"a/b", False),
    (b"+/tennis/#", b"sport/tennis", True),
    (b"+/tennis/#", b"sport/tennis/x", True),
    (b"sport/+/player1", b"sport/tennis/player1", True),
    (b"sport/+/player1", b"sport//player1", True),
    (b"sport/+/player1", b"sport/player1", False),
    (b"+/+/+", b"//", True),
    (b"+/+", b"//", False),
    (b"+/#", b"a", True),
    (b"+/#", b"/", True),
    (b"+/+/#", b"a", False),
    (b"+/+/#", b"a/b", True),
    (b"/", b"/", True),
    (b"/", b"//", False),
    (b"//", b"//", True),
    (b"a//b", b"a//b", True),
    (b"a//b", b"a/b", False),
    (b"a/b", b"a/b", True),
    (b"a/b", b"a/b/", False),
    (b"a/b/", b"a/b", False),
    (b"/a", b"a", False),  # [MQTT-4.7.3-4]
    (b"a", b"A", False),
    (b"ACCOUNTS", b"Accounts", False),
    (b"a b", b"a b", True),
    (b"#", b"$SYS/broker", False),  # [MQTT-4.7.2-1]
    (b"+", b"$SYS", False),
    (b"+/broker", b"$SYS/broker", False),
    (b"+/#", b"$SYS/broker", False),
    (b"+/+", b"$SYS/broker", False),
    (b"#", b"$", False),
    (b"+", b"$", False),
    (b"$SYS/#", b"$SYS/broker/load", True),
    (b"$SYS/#", b"$SYS", True),
    (b"$SYS/+", b"$SYS/broker", True),
    (b"$SYS/broker/+", b"$SYS/broker/$x", True),
    (b"$SYS/monitor/+", b"$SYS/monitor/Clients", True),
    (b"#", b"a/$SYS", True),
    (b"+/+", b"a/$SYS", True),
    (b"+/#", b"/$SYS", True),
    ("ä/+/ü".encode(), "ä/ö/ü".encode(), True),
    ("é".encode(), "e\u0301".encode(), False),  # composed and decomposed differ  [MQTT-4.7.3-4]
    ("🦇/#".encode(), "🦇".encode(), True),
    (b"\xef\xbb\xbfa", b"a", False),  # a byte order mark is a character  [MQTT-1.5.4-3]
]
