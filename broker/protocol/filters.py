"""Which Topic Names and Topic Filters are well formed, and how a shared subscription's filter is taken apart.

Nothing here recurses over levels and nothing becomes a regular expression: the cost is one pass over the text.
"""

from typing import Final, NamedTuple

from noctule.protocol.constants import FIELD_SIZE_MAXIMUM
from noctule.protocol.errors import PacketError
from noctule.protocol.reason_codes import ReasonCode

#: What a shared subscription's filter begins with (4.8.2).
SHARE_PREFIX: Final = "$share/"


class SubscriptionFilter(NamedTuple):
    """A Topic Filter taken apart."""

    #: The ShareName of a shared subscription; None for an ordinary one.
    share_name: str | None

    #: What Topic Names are matched against: behind ``$share/ShareName/``, or all of it.
    filter: str


def check_topic_name(topic: str, maximum_levels: int | None = None) -> None:
    """Return if ``topic`` may name a message (4.7).

    Raises PacketError with reason code 0x90 if it is empty, too long, has U+0000 or a wildcard, or more than
    ``maximum_levels`` levels; the fault of whoever chose the name.
    """
    code = ReasonCode.TOPIC_NAME_INVALID
    if "#" in topic or "+" in topic:  # [MQTT-3.3.2-2] [MQTT-4.7.0-1]
        raise PacketError(code, "a wildcard in a topic name", "MQTT-3.3.2-2")
    _check_text(topic, maximum_levels, code, "topic name")


def split_filter(text: str, maximum_levels: int | None = None) -> SubscriptionFilter:
    """The filter and, of a shared subscription, the ShareName.

    Raises PacketError with reason code 0x8F if the filter is not well formed (4.7.1, 4.8.2) or has more than
    ``maximum_levels`` levels, those of ``$share/ShareName/`` not counted; the subscriber's fault. It may be
    told in the SUBACK for this filter alone, or end the connection.
    """
    if not text.startswith(SHARE_PREFIX):
        check_topic_filter(text, maximum_levels)
        return SubscriptionFilter(None, text)
    code = ReasonCode.TOPIC_FILTER_INVALID
    share_name, slash, topic_filter = text[len(SHARE_PREFIX) :].partition("/")
    if not share_name:  # [MQTT-4.8.2-1]
        raise PacketError(code, "a shared subscription without a share name", "MQTT-4.8.2-1")
    if "#" in share_name or "+" in share_name:  # [MQTT-4.8.2-2]
        raise PacketError(code, "a wildcard in a share name", "MQTT-4.8.2-2")
    if not slash or not topic_filter:  # [MQTT-4.8.2-2]
        raise PacketError(code, "a shared subscription without a topic filter", "MQTT-4.8.2-2")
    check_topic_filter(topic_filter, maximum_levels)
    return SubscriptionFilter(share_name, topic_filter)


def check_topic_filter(text: str, maximum_levels: int | None = None) -> None:
    """Return if ``text`` is a well-formed Topic Filter, ``$share`` not looked at (4.7.1).

    Raises PacketError with reason code 0x8F if it is empty, too long, has U+0000, a misplaced wildcard, or more
    than ``maximum_levels`` levels; the subscriber's fault.
    """
    code = ReasonCode.TOPIC_FILTER_INVALID
    _check_text(text, maximum_levels, code, "topic filter")
    # "#" may stand at the end alone: everything before the last character must be free of it.  [MQTT-4.7.1-1]
    many = text.find("#")
    if many >= 0 and (many != len(text) - 1 or (many > 0 and text[many - 1] != "/")):
        raise PacketError(code, "'#' in a topic filter is not a whole last level", "MQTT-4.7.1-1")
    if "+" in text and any("+" in level and level != "+" for level in text.split("/")):  # [MQTT-4.7.1-2]
        raise PacketError(code, "'+' in a topic filter is not a whole level", "MQTT-4.7.1-2")


def _check_text(text: str, maximum_levels: int | None, code: int, what: str) -> None:
    if not text:  # [MQTT-4.7.3-1]
        raise PacketError(code, f"an empty {what}", "MQTT-4.7.3-1")
    if "\0" in text:  # [MQTT-4.7.3-2]
        raise PacketError(code, f"the null character U+0000 in a {what}", "MQTT-4.7.3-2")
    # A character has at most four bytes, so that a short text need not be encoded to be measured.
    if len(text) * 4 > FIELD_SIZE_MAXIMUM and len(text.encode("utf-8", "surrogatepass")) > FIELD_SIZE_MAXIMUM:
        raise PacketError(code, f"a {what} of more than {FIELD_SIZE_MAXIMUM} bytes", "MQTT-4.7.3-3")  # [MQTT-4.7.3-3]
    if maximum_levels is not None and text.count("/") >= maximum_levels:
        raise PacketError(code, f"a {what} of more than {maximum_levels} levels")
