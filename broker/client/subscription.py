"""A subscription with messages of its own, for as long as a block lasts."""

from typing import TYPE_CHECKING

from noctule.client.errors import ClientError
from noctule.client.mailbox import Mailbox
from noctule.client.matching import filter_matches
from noctule.client.message import Message

if TYPE_CHECKING:
    from noctule.client.session import Session


class Subscription:
    """The messages of some topic filters. Made by ``Client.subscription``; ``async for`` takes them one by one."""

    def __init__(
        self,
        session: "Session",
        filters: tuple[str, ...],
        subscription_identifier: int | None,
        reason_codes: tuple[int, ...],
    ) -> None:
        #: What was subscribed to.
        self.filters = filters
        #: What the server granted, in the order of the filters: the QoS of each.
        self.reason_codes = reason_codes
        self.mailbox = Mailbox()
        self._session = session
        self._subscription_identifier = subscription_identifier
        #: Why no more messages come; None while they do.
        self.failure: ClientError | None = None

    def wants(self, message: Message) -> bool:
        """Whether the message is one of these.

        By the number of the subscription, where the server has told it; else by the topic, and then a message that
        two overlapping subscriptions bring is told from one that comes twice by nothing.
        """
        if self._subscription_identifier is not None and message.subscription_identifiers:
            return self._subscription_identifier in message.subscription_identifiers
        return any(filter_matches(one, message.topic) for one in self.filters)

    def end(self, failure: ClientError) -> None:
        """Tell whoever waits that no more messages come."""
        self.failure = failure
        self.mailbox.wake_all()

    async def receive(self) -> Message:
        """The next message, in the order of arrival; raises as ``Client.receive``, and SubscriptionRefusedError if the
        subscription had to be made again and was refused."""
        return await self._session.take_from(self.mailbox, self)

    def __aiter__(self) -> "Subscription":
        """The subscription itself: several tasks may take messages from it, each message goes to one."""
        return self

    async def __anext__(self) -> Message:
        """As ``receive``; ends when the client has left."""
        return await self._session.next_from(self.mailbox, self)
