"""Which Topic Names a Topic Filter takes (4.7.1), for a client that looks at messages one by one."""

from noctule.protocol import split_filter


def filter_matches(topic_filter: str, topic: str) -> bool:
    """Whether a message of this topic comes to a subscription with this filter; of a shared one what stands behind.

    Both are well formed; PacketError for a shared filter that is not. The cost is one pass over the levels.
    """
    wanted = split_filter(topic_filter).filter
    # A wildcard in the first place leaves out the topics of the server's own  [MQTT-4.7.2-1].
    if topic.startswith("$") and wanted[0] in "+#":
        return False
    filter_levels = wanted.split("/")
    levels = topic.split("/")
    for index, level in enumerate(filter_levels):
        if level == "#":  # the level before it as well  [MQTT-4.7.1-1]
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(filter_levels) == len(levels)
