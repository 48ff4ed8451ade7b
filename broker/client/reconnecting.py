"""When a lost connection is tried again: how long is waited, and what no trying again can mend."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from noctule.client.errors import AuthenticationError, ClientError, DisconnectedError, RefusedError
from noctule.protocol import ReasonCode

#: Refusals, and reasons for an end, that the next attempt would meet again; a person has to change something.
_FINAL_CODES: Final = frozenset(
    {
        ReasonCode.MALFORMED_PACKET,
        ReasonCode.PROTOCOL_ERROR,
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        ReasonCode.BAD_USER_NAME_OR_PASSWORD,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.BANNED,
        ReasonCode.BAD_AUTHENTICATION_METHOD,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.USE_ANOTHER_SERVER,
        ReasonCode.SERVER_MOVED,
    }
)


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How a lost connection is made again. The waits double up to a limit, and each is drawn from its second half.

    The draw keeps the clients of a server that comes back from all coming at once.
    """

    #: The longest first wait, in seconds.
    first_delay_s: float = 1.0

    #: The longest of all waits, in seconds.
    maximum_delay_s: float = 60.0

    #: What a wait is multiplied with for the next.
    factor: float = 2.0

    #: A connection that has lasted this long counts as sound: the waits begin anew after it, in seconds.
    settled_after_s: float = 10.0

    #: How long it is tried without success, in seconds; None: without end.
    give_up_after_s: float | None = None

    #: Whether the first connection is tried again too; if not, its failure comes out at once.
    retry_first: bool = False

    def __post_init__(self) -> None:
        if self.first_delay_s <= 0 or self.maximum_delay_s < self.first_delay_s or self.factor < 1:
            raise ValueError("the waits must be above 0 s and must not shrink")


class BackOff:
    """The waits between attempts, in order."""

    def __init__(self, policy: Reconnect, draw: Callable[[], float] = random.random) -> None:
        self._policy = policy
        self._draw = draw
        self._limit_s = policy.first_delay_s

    def next_delay_s(self) -> float:
        """How long to wait before the next attempt."""
        limit_s = self._limit_s
        self._limit_s = min(limit_s * self._policy.factor, self._policy.maximum_delay_s)
        return limit_s / 2 + limit_s / 2 * self._draw()

    def reset(self) -> None:
        """Begin anew: the last connection was sound."""
        self._limit_s = self._policy.first_delay_s


def is_final(failure: ClientError) -> bool:
    """Whether trying again would meet the same, or do harm: who is thrown out by a namesake would throw it out."""
    if isinstance(failure, RefusedError):
        return failure.reason_code in _FINAL_CODES
    if isinstance(failure, DisconnectedError):
        return failure.reason_code in _FINAL_CODES or failure.reason_code == ReasonCode.SESSION_TAKEN_OVER
    return isinstance(failure, AuthenticationError)
