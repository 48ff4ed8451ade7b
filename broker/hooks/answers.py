"""What hooks are asked with, and what they answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from noctule.core.access import Access
from noctule.protocol.reason_codes import ReasonCode


class PluginError(Exception):
    """A plugin cannot do its work; the text is for the operator: what is wrong, where, and what to do.

    Raised from a plugin's ``__init__``, from ``broker_starting`` or ``prepare_reload`` it refuses the start or the
    reload, without a traceback.
    """


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client has brought along to prove who it is."""

    #: None where CONNECT has no User Name.
    user_name: str | None

    #: None where CONNECT has no Password; an empty one is not the same.
    password: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Allow:
    """The answer yes."""

    #: To ``authenticate``: who the client is from now on, where that is not what it said.
    user_name: str | None = None

    #: To ``authenticate``: what it may do, where that is known with it; ``load_access`` is not asked then.
    access: Access | None = None

    #: To ``authenticate``: when the connection ends at the latest, in seconds since 1970 (a token's end).
    expires_at: float | None = None

    #: To ``authorize``: how long the answer may be remembered, in seconds; None: as long as the connection lasts.
    remember_s: float | None = None

    #: To ``authorize`` of a subscription or of a message: the highest QoS.
    qos_max: int = 2

    #: To ``authorize`` of a message: whether it may be retained.
    retain: bool = True


@dataclass(frozen=True, slots=True)
class Deny:
    """The answer no. The client hears the same whatever was wrong."""

    #: For the log alone.
    why: str = ""

    #: What a client of version 5 is told.
    reason_code: int = ReasonCode.NOT_AUTHORIZED

    #: To ``authorize``: how long the answer may be remembered, in seconds; None: as long as the connection lasts.
    remember_s: float | None = None


Verdict = Allow | Deny


@dataclass(frozen=True, slots=True)
class Subscription:
    """One entry of a SUBSCRIBE."""

    topic_filter: str
    share_name: str | None = None
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    identifier: int | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """The answer to ``message_received``: the message goes nowhere.

    Its publisher gets ``reason_code`` at QoS 1 and 2 in version 5; a code below 0x80 makes it think that all is well.
    """

    why: str = ""
    reason_code: int = ReasonCode.SUCCESS


@dataclass(frozen=True, slots=True)
class Service:
    """A task that runs beside the connections, from ``broker_started`` until the broker stops."""

    name: str

    #: Runs until it is cancelled. If it raises, the broker logs it and starts it again after a rest.
    run: Callable[[], Awaitable[None]]
