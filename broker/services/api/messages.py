"""Retained messages."""

import base64
from collections.abc import AsyncIterator
from typing import Final

import trio
from noctule._speedups.message import Message
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import split_filter
from noctule.services.api import answers
from noctule.services.api.pages import OFFSET_MAX, page_of, written
from noctule.services.api.requests import Parameter, Values
from noctule.services.api.view import View
from noctule.services.http import RequestError

#: Payload bytes of one message in an answer: as many as are asked for, and at most.
_PAYLOAD: Final = 256
_PAYLOAD_MAX: Final = 65_536

#: Payload bytes of one answer.
_PAYLOADS_MAX: Final = 1_048_576

RETAINED_FILTERS: Final = (
    Parameter("topic_filter", str, "Only those whose topics match; # leaves out what begins with $.", default="#"),
    Parameter("payload", bool, "Whether payloads are shown.", default=False),
    Parameter("payload_max", int, "Bytes of each payload that are shown.", 0, _PAYLOAD_MAX, _PAYLOAD),
)


async def retained(view: View, values: Values) -> AsyncIterator[bytes]:
    """A page of retained messages. RequestError 400 where the filter is none."""
    offset, limit = page_of(values)
    if offset > OFFSET_MAX:
        raise RequestError(400, f"offset: no more than {OFFSET_MAX} here; ask with a narrower topic_filter")
    try:
        share_name, topic_filter = split_filter(str(values["topic_filter"]), view.settings.limits.topic_levels_max)
    except PacketError as error:
        raise RequestError(400, f"topic_filter: {error}") from None
    if share_name is not None:
        raise RequestError(400, "topic_filter: shared subscriptions have no retained messages")
    payload_max = int(values["payload_max"] or 0) if values["payload"] else None
    if payload_max and payload_max * limit > _PAYLOADS_MAX:
        raise RequestError(400, f"payload_max times limit is at most {_PAYLOADS_MAX} bytes")
    tree = view.state.router.retained
    # One more than is shown: whether there are more is told, how many is not counted for every page.
    found = tree.walk(topic_filter.encode(), offset + limit + 1)
    await trio.lowlevel.checkpoint()
    is_all = len(found) <= offset + limit
    total = len(found) if is_all else offset + limit
    if topic_filter == "#" and not is_all:
        total = tree.count
    now = trio.current_time()
    page = answers.Page(total, is_all, offset, limit)
    return written(page, found[offset : offset + limit], lambda message: _answer(message, payload_max, now))


def _answer(message: Message, payload_max: int | None, now: float) -> answers.Retained:
    payload = message.payload
    shown = b"" if payload_max is None else payload[:payload_max]
    text: str | None = None
    encoded: str | None = None
    if payload_max is not None:
        try:
            text = shown.decode()
        except UnicodeDecodeError:
            encoded = base64.b64encode(shown).decode("ascii")
    return answers.Retained(
        topic=message.topic.decode(errors="replace"),
        qos=message.qos,
        payload_bytes=len(payload),
        expires_in_s=round(max(0.0, message.expires_at - now), 3) if message.expires_at else None,
        payload_text=text,
        payload_base64=encoded,
        is_payload_cut=payload_max is not None and len(payload) > payload_max,
    )
