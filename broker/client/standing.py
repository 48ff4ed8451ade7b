"""The subscriptions that stand: they are made again where the server has lost the session."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from noctule.protocol import FIRST_FAILURE, Subscribe, SubscriptionRequest

#: How many filters go into one SUBSCRIBE at most, so that it keeps below any server's limit on packets.
_FILTERS_PER_PACKET: Final = 50


@dataclass(frozen=True, slots=True)
class Standing:
    """One subscription, with what was said together with it."""

    entry: SubscriptionRequest
    subscription_identifier: int | None
    user_properties: tuple[tuple[str, str], ...]


class StandingSubscriptions:
    """What the server has granted, by topic filter, oldest first."""

    def __init__(self) -> None:
        self._by_filter: dict[str, Standing] = {}
        #: Whether the server of the present session knows all of them.
        self.is_complete = True

    def __len__(self) -> int:
        return len(self._by_filter)

    def granted(self, request: Subscribe, reason_codes: Iterable[int]) -> None:
        """Remember what was granted; a filter that is refused has no subscription."""
        for entry, code in zip(request.entries, reason_codes, strict=True):
            if code < FIRST_FAILURE:
                self._by_filter[entry.filter] = Standing(
                    entry, request.subscription_identifier, request.user_properties
                )

    def given_up(self, filters: Iterable[str]) -> None:
        """Forget."""
        for one in filters:
            self._by_filter.pop(one, None)

    def requests(self) -> list[Subscribe]:
        """The SUBSCRIBE packets that make all of them again; their packet identifiers are 1 and stand for others."""
        batches: list[list[Standing]] = []
        for standing in self._by_filter.values():
            last = batches[-1] if batches else []
            if (
                last
                and len(last) < _FILTERS_PER_PACKET
                and last[0].subscription_identifier == standing.subscription_identifier
                and last[0].user_properties == standing.user_properties
            ):
                last.append(standing)
            else:
                batches.append([standing])
        return [
            Subscribe(
                1,
                tuple(one.entry for one in batch),
                batch[0].subscription_identifier,
                batch[0].user_properties,
            )
            for batch in batches
        ]
