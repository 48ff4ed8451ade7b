"""Requests that wait for their responses (4.10): the topic they come to, and which belongs to which."""

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio
from noctule.client.errors import NoAnswerError, SubscriptionRefusedError
from noctule.client.message import Message
from noctule.protocol import FIRST_FAILURE

if TYPE_CHECKING:
    from noctule.client.client import Client

#: Responses come below it where the server gives no Response Information.
_PREFIX: Final = "responses"

_CORRELATION_BYTES: Final = 8


@dataclass(slots=True, eq=False)
class _Waiting:
    response_topic: str
    ended: trio.Event = field(default_factory=trio.Event)
    response: Message | None = None


class Requests:
    """The requests of one client that have no response yet."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._by_correlation: dict[bytes, _Waiting] = {}
        self._subscribed: set[str] = set()
        self._subscribing = trio.Lock()
        self._own_name = secrets.token_hex(8)

    def take(self, message: Message) -> bool:
        """A message has come: whether it is a response that somebody waits for, who has it now."""
        waiting = self._by_correlation.get(message.correlation_data or b"")
        if waiting is None or waiting.response_topic != message.topic or waiting.response is not None:
            return False
        waiting.response = message
        waiting.ended.set()
        return True

    async def ask(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        timeout_s: float,
        response_topic: str | None,
        content_type: str | None,
        user_properties: tuple[tuple[str, str], ...],
    ) -> Message:
        """As ``Client.request``."""
        if response_topic is None:
            base = (self._client.connack.response_information or _PREFIX).rstrip("/")
            response_topic = f"{base}/{self._own_name}"
        async with self._subscribing:
            if response_topic not in self._subscribed:
                (code,) = await self._client.subscribe(response_topic, qos)
                if code >= FIRST_FAILURE:
                    raise SubscriptionRefusedError(response_topic, code)
                self._subscribed.add(response_topic)
        correlation = secrets.token_bytes(_CORRELATION_BYTES)
        waiting = self._by_correlation[correlation] = _Waiting(response_topic)
        try:
            with trio.move_on_after(timeout_s):
                await self._client.publish(
                    topic,
                    payload,
                    qos,
                    content_type=content_type,
                    response_topic=response_topic,
                    correlation_data=correlation,
                    user_properties=user_properties,
                )
                await waiting.ended.wait()
        finally:
            del self._by_correlation[correlation]
        if waiting.response is None:
            raise NoAnswerError(f"waited {timeout_s:g} s in vain for a response from {topic}")
        return waiting.response
