"""A broker without sockets and trio whose state is kept: the test says when a batch is taken and when it is on disk."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

from handlers.direct_links import V5, DirectBroker, DirectClient
from noctule._speedups.journal import Journal
from noctule._speedups.link import CLOSED
from noctule.config.settings import Settings
from noctule.hooks.table import HookTable
from noctule.protocol import Connect, ProtocolVersion, decode_connack, encode_connect
from noctule.storage import operations as kept
from noctule.storage.operations import Operation
from noctule.storage.restoring import restore
from noctule.testing.store_contract import Model

KINDS = {name: kind for name, kind in vars(kept).items() if name.startswith(("Put", "Drop")) and isinstance(kind, type)}

#: How far the wall clock is ahead of the broker's, unless a test says otherwise.
AHEAD_S = 1_000_000_000.0

#: First messages, then sessions, then the rest: as a store restores them.
_ORDER = [kept.PutMessage, kept.PutSession]


class Batch(NamedTuple):
    """What has been taken from the journal and is not on disk yet."""

    ticket: int
    operations: Sequence[Operation]
    must_sync: bool

    @property
    def kinds(self) -> list[str]:
        """The operations' types by name."""
        return [type(operation).__name__ for operation in self.operations]


def in_order(rows: Iterable[Operation]) -> list[Operation]:
    """As a store gives them back."""
    return sorted(
        rows,
        key=lambda row: (
            _ORDER.index(type(row)) if type(row) in _ORDER else len(_ORDER),
            type(row).__name__,
            row[:2] if isinstance(row, kept.PutQueued) else (),
        ),
    )


class KeptBroker(DirectBroker):
    """State, handlers and a journal. ``disk`` is what a restart would find."""

    def __init__(
        self,
        rows: Iterable[Operation] = (),
        settings: Settings | None = None,
        *,
        ahead_s: float = AHEAD_S,
        hooks: HookTable | None = None,
        waiting_max_bytes: int = 1 << 26,
        **limits: Any,
    ) -> None:
        super().__init__(settings, hooks, **limits)
        self.wakes = 0
        self.journal = Journal(KINDS, self._woken, waiting_max_bytes)
        self.journal.wall_clock_ahead_s = ahead_s
        self.state.plane.journal = self.journal
        self.disk = Model()
        found = in_order(rows)
        self.disk.apply(found)
        self.restored = restore(found, self.state, ahead_s)
        self._settings = settings
        self._limits = limits

    def _woken(self) -> None:
        self.wakes += 1

    # --- what whoever commits does ---

    def begin_commit(self) -> Batch:
        """Take what has been collected; it is on its way to the disk."""
        return Batch(*self.journal.take())

    def end_commit(self, batch: Batch) -> Batch:
        """It is on the disk."""
        self.disk.apply(batch.operations)
        self.journal.commit_done(batch.ticket)
        self.state.plane.let_go()
        for link in self.state.plane.take_stalled():
            link.unstall()
        self.state.plane.flush()
        return batch

    def commit(self) -> Batch:
        """All that has been collected is on the disk."""
        return self.end_commit(self.begin_commit())

    def commit_all(self) -> None:
        """Until nothing is collected any more."""
        while len(self.journal):
            self.commit()

    # --- clients ---

    def begin_connect(self, client_id: str = "c", version: ProtocolVersion = V5, **fields: Any) -> DirectClient:
        """A client that has sent its CONNECT."""
        return self.open(version).send(encode_connect(Connect(version, client_id, **fields)))

    def connect(self, client_id: str = "c", version: ProtocolVersion = V5, **fields: Any) -> DirectClient:
        """A client whose CONNECT has been accepted, with what that takes on the disk."""
        client = self.begin_connect(client_id, version, **fields)
        self.commit_all()
        (first, body), *client.behind_connack = client.received()
        client.connack = decode_connack(body, client.version, first)
        assert client.connack.reason_code == 0
        return client

    def durable(self, client_id: str = "c", version: ProtocolVersion = V5, **fields: Any) -> DirectClient:
        """A client whose session is kept, and goes on where there is one."""
        if version == V5:
            fields.setdefault("session_expiry_interval_s", 3_600)
        fields.setdefault("clean_start", False)
        return self.connect(client_id, version, **fields)

    # --- what is left ---

    def crash(
        self, extra: Iterable[Operation] = (), *, ahead_s: float | None = None, hooks: HookTable | None = None
    ) -> Self:
        """Another broker with what is on the disk, and ``extra``, as if that had just been written too."""
        left = Model()
        left.rows = dict(self.disk.rows)
        left.apply(extra)
        left.restart()
        settings, limits = self._settings, self._limits
        ahead_s = self.journal.wall_clock_ahead_s if ahead_s is None else ahead_s
        return type(self)(left.rows.values(), settings, ahead_s=ahead_s, hooks=hooks, **limits)

    def rows(self, kind: type) -> list[Any]:
        """The rows of a table that are on the disk."""
        return [row for row in self.disk.rows.values() if isinstance(row, kind)]


def types_sent(client: DirectClient) -> list[int]:
    """The types of the packets that the broker has sent since the last time."""
    return [first >> 4 for first, _ in client.received()]


def sent_now(client: DirectClient) -> int:
    """How many bytes may be sent now."""
    return int(client.link.sendable_bytes)


def is_over(client: DirectClient) -> bool:
    """Whether the connection is closed, or will be when its last packet is sent."""
    return client.link.session is None or client.link.state == CLOSED
