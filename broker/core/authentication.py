"""Enhanced authentication of version 5: what a method is, and the state of its exchange on one connection.

A method is whatever has a ``name`` and can ``start`` an exchange; the exchange turns each piece of Authentication
Data into its next step. Nothing here knows packets or tasks: a step may be awaitable, and who awaits it, under which
deadline, is the caller's business.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol

from noctule.protocol.reason_codes import ReasonCode

#: The interval over which the AUTH packets of one connection are counted.
_INTERVAL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who wants to be authenticated, as far as is known without it: what CONNECT says of itself."""

    #: As in CONNECT; may be empty.
    client_id: str

    #: The User Name of CONNECT, which nobody has checked.
    user_name: str | None

    #: The other side's address, for the log and for whoever counts failures.
    peer: str

    #: Who the connection belongs to already, when it authenticates again; None at CONNECT.
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class AuthContinue:
    """The client is to answer this: AUTH with reason code 0x18 [MQTT-4.12.0-2]."""

    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class AuthSuccess:
    """The client is who it says: its user name from now on, and the last data for it, if there is any."""

    identity: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class AuthRefused:
    """The client is not let in, or its connection ends.

    A ``reason_code`` that the packet cannot carry becomes 0x87. ``why`` is for the log alone, "" where that has been
    written: the client hears the same whatever was wrong.
    """

    reason_code: int = ReasonCode.NOT_AUTHORIZED
    why: str = "the authentication has failed"


AuthStep = AuthContinue | AuthSuccess | AuthRefused


class Exchange(Protocol):
    """One exchange with one client, from its first data on. It must not refer to the connection."""

    def step(self, data: bytes | None) -> AuthStep | Awaitable[AuthStep | None] | None:
        """What follows from this Authentication Data (None: the packet had none), at once or to be awaited.

        None, an exception and a deadline that passes refuse the client.
        """
        ...


class AuthenticationMethod(Protocol):
    """A method of enhanced authentication; one for each broker, shared by its connections."""

    @property
    def name(self) -> str:
        """The Authentication Method of CONNECT that it answers to, to the letter (3.1.2.11.9)."""
        ...

    def start(self, claimant: Claimant) -> Exchange:
        """A new exchange, at CONNECT or for a connection that authenticates again."""
        ...


class Authentication:
    """The enhanced authentication of one connection: its method, and the exchange that goes on, if one does."""

    __slots__ = ("_claimant", "_exchange", "_interval_ends_at", "_method", "_packets", "_steps", "identity")

    def __init__(self, method: AuthenticationMethod, claimant: Claimant) -> None:
        self._method = method
        self._claimant = claimant
        self._exchange: Exchange | None = None
        self._steps = 0
        self._packets = 0
        self._interval_ends_at = float("-inf")
        #: Who the client has proven to be; None before its first success.
        self.identity: str | None = None

    @property
    def method_name(self) -> str:
        """The method, which stays that of CONNECT [MQTT-4.12.0-5] [MQTT-4.12.1-1]."""
        return self._method.name

    @property
    def is_going_on(self) -> bool:
        """Whether an exchange has begun and not come to its end."""
        return self._exchange is not None

    @property
    def steps(self) -> int:
        """How many steps the exchange that goes on has had."""
        return self._steps

    def count_packet(self, now: float) -> int:
        """Count an AUTH of the client's; how many this one makes within the minute."""
        if now >= self._interval_ends_at:
            self._interval_ends_at = now + _INTERVAL_S
            self._packets = 0
        self._packets += 1
        return self._packets

    def begin(self) -> None:
        """Start an exchange; one that goes on is forgotten. What the method raises is passed on."""
        claimant = self._claimant
        if self.identity is not None:
            claimant = Claimant(claimant.client_id, claimant.user_name, claimant.peer, self.identity)
        self._steps = 0
        self._exchange = self._method.start(claimant)

    def step(self, data: bytes | None) -> AuthStep | Awaitable[AuthStep | None] | None:
        """The method's next step, at once or to be awaited. What the method raises is passed on.

        RuntimeError, the caller's fault, where no exchange goes on.
        """
        if self._exchange is None:
            raise RuntimeError("no exchange goes on")
        self._steps += 1
        return self._exchange.step(data)

    def judge(self, answer: object) -> AuthStep:
        """What an answer of the method's amounts to; the exchange is over unless it is AuthContinue.

        No answer is a refusal (whoever asked has logged it). So is a success under another name than the one that
        the connection has already: its session, its subscriptions and its rights are those of the first.
        """
        if isinstance(answer, AuthContinue) and _is_data(answer.data):
            return answer
        self._exchange = None
        if answer is None:
            return AuthRefused(why="")
        if isinstance(answer, AuthRefused):
            return answer
        if not (isinstance(answer, AuthSuccess) and _is_name(answer.identity) and _is_data(answer.data)):
            return AuthRefused(why="the method has answered what is no step")
        if self.identity is not None and answer.identity != self.identity:
            return AuthRefused(why="the client has authenticated again as somebody else")
        self.identity = answer.identity
        return answer

    def give_up(self) -> None:
        """Forget the exchange, and what it holds of the client's secrets."""
        self._exchange = None


# Methods are other people's code: a wrong type would fail later, where nobody expects it.


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def _is_data(value: object) -> bool:
    return value is None or isinstance(value, bytes)
