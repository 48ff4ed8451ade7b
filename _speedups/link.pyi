"""One connection's protocol state: bytes in, packets handled or handed out, bytes out."""

from collections.abc import Callable
from typing import Any, Protocol, type_check_only

from noctule._speedups.outlet import Outlet
from noctule._speedups.router import Router
from noctule._speedups.session import Session

NEW: int
DECIDING: int
OPEN: int
ENDING: int
CLOSED: int

@type_check_only
class Handler(Protocol):
    """What a link calls for the packets that it does not handle itself."""

    def connect(self, link: Link, body: bytes) -> None:
        """The first packet, a CONNECT."""
    def packet(self, link: Link, first: int, body: bytes) -> None:
        """A later CONNECT, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH; before ``open`` only the last two."""
    def violation(self, link: Link, reason_code: int, text: str, rule: str) -> None:
        """The peer broke a rule: the handler ends the connection."""
    def denied(self, link: Link, topic: bytes) -> None:
        """A message to this topic was not allowed."""
    def undecided(self, link: Link, topic: bytes) -> None:
        """Whether a message to this topic is allowed is to be found out: the handler pauses the link, or has the answer
        when it returns."""
    def lost(self, link: Link, cause: str) -> None:
        """The connection is gone, and not because the handler ended it."""
    def closed(self, link: Link) -> None:
        """The last call of all, however it ended."""

@type_check_only
class Filter(Protocol):
    """Stands between the wire and a link's packets: TLS, WebSocket, a header that a proxy sends first.

    It is called in the order of the bytes and refers to no link: that would be a cycle, and links are not collected.
    """

    def received(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]:
        """Bytes from the wire: what of them is for the link, what is to be sent at once, and whether this is the end.

        The end: None where it is not, "" where the peer has said that nothing more comes, else what it did wrong.
        ``link.origin`` and ``link.peer`` are set as they become known, and ``link.filter`` by a filter that is done
        (None, or the next one).
        """
    def to_send(self, data: bytes) -> bytes:
        """The link's bytes as they go over the wire; what comes back is sent before anything that comes later."""
    def end(self) -> bytes:
        """What says to the peer that nothing more comes; empty where it has been said, or nothing says it."""

class Link(Outlet):
    """One connection. ``wake()`` is called when there is something to send (``take_output``).

    ``peer`` names the other side for the log, ``origin`` says where it comes from; both may be set as more becomes
    known, until CONNECT. ``connection`` is what the handlers know of it; ``filter`` belongs to whoever carries the
    bytes.
    """

    router: Router
    session: Session | None
    wake: Callable[[], object] | None
    connection: Any
    peer: str
    origin: Any
    filter: Filter | None
    keep_alive_s: int

    #: When CONNECT was accepted, on the broker's clock.
    opened_at: float

    #: Bytes in all that came, and the PUBLISH packets among them.
    received: int
    publishes_received: int
    state: int
    is_paused: bool
    has_more: bool

    #: So much waits for the journal that nothing more is handled.
    is_stalled: bool
    def __init__(self, router: Router, handler: Handler, peer: str, origin: Any = None) -> None: ...
    def await_decision(self, version: int, packet_max: int = 0xFFFFFFFF) -> None:
        """CONNECT is read, and whether it is accepted is decided later: with ``open`` or with ``end``."""
    def open(
        self,
        session: Session,
        version: int,
        keep_alive_s: int,
        receive_maximum: int = 65_535,
        packet_max: int = 0xFFFFFFFF,
        alias_max: int = 0,
    ) -> None:
        """CONNECT is accepted: packets of ``version`` are read from now on, in the name of ``session``."""
    def mount_at(self, prefix: bytes) -> None:
        """Before ``open``: put this before every topic that the peer publishes to, and take it off what it gets."""
    def restrict(self, packet_max_in: int, qos_max: int) -> None:
        """What the peer may send from now on: the largest packet in bytes, and the highest QoS."""
    def write(self, packet: bytes) -> None:
        """Append a whole packet; it is sent at the end of the turn. Nothing happens on a link that has ended."""
    def pause(self) -> None:
        """Look at nothing more of this link until ``resume``."""
    def resume(self) -> None:
        """Go on with what has come meanwhile. The caller flushes the plane afterwards."""
    def go_on(self) -> None:
        """Handle what has been kept, another go of it, where ``has_more`` says so. The caller flushes the plane."""
    def end(self, packet: bytes = b"") -> None:
        """Send ``packet`` and what is written already, then close. What still comes in is thrown away."""
    def close(self) -> None:
        """Close now. What is written and not sent is lost."""
    @property
    def peer_packet_max(self) -> int:
        """The largest packet in bytes that the peer takes."""
    def overdue(self, now: float) -> bool:
        """Whether the peer has kept silent too long, at this deadline of the link."""
    @property
    def sendable_bytes(self) -> int:
        """Written, not yet sent, and free to go."""
    def wait_for_journal(self) -> None:
        """What is written from now on waits until all is kept that the journal has collected so far.

        Nothing where there is no journal, or where this connection's acknowledgements wait for nothing.
        """
    def forget_held_back(self) -> None:
        """What waits for the journal is never sent: it will not be kept."""
    def unstall(self) -> None:
        """Less waits for the journal: go on with what has come meanwhile. The caller flushes the plane afterwards."""
    def take_output(self) -> bytes:
        """All that may be sent now, as bytes; the link forgets it."""
    def output_sent(self) -> None:
        """What ``take_output`` gave has gone: the session's backlog moves up."""
    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Handle received bytes (any buffer); they are not referred to afterwards."""
    def lose(self, cause: str) -> None:
        """The connection is gone: the peer closed it, or the network did."""
