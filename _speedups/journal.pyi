"""What has to be kept across a restart, collected as operations, and how far it has been."""

from collections.abc import Callable, Mapping
from typing import Any

from noctule._speedups.message import Message

class Journal:
    """The operations of one broker. ``wake()`` is called when the first of a batch is added.

    ``kinds``: the operations' types by their names. ``waiting_max_bytes``: about how much may wait before those who add
    to it are no longer read from.
    """

    ticket: int
    committed: int
    count: int
    collected_bytes: int

    #: How far the wall clock (seconds since 1970) is ahead of the broker's clock.
    wall_clock_ahead_s: float
    def __init__(
        self,
        kinds: Mapping[str, type[tuple[Any, ...]]],
        wake: Callable[[], object],
        waiting_max_bytes: int = 67_108_864,
    ) -> None: ...
    def __len__(self) -> int:
        """How many operations the batch has that is being collected."""
    @property
    def is_usable(self) -> bool:
        """Whether what must be kept can be: there is room, and the store has not failed."""
    @property
    def takes_messages(self) -> bool:
        """Whether messages that must be kept are taken in: not where little room is left either."""
    @property
    def has_failed(self) -> bool:
        """Whether nothing is kept any more."""
    def take(self) -> tuple[int, list[Any], bool]:
        """(ticket, operations, must_sync) of the batch that has been collected; the next one begins."""
    def commit_done(self, ticket: int) -> None:
        """Everything up to this batch is kept. The caller lets go what was held (``Plane.let_go``)."""
    def run_short(self) -> None:
        """There is little room left: no messages are to be taken in until a batch has been kept."""
    def put_back(self, operations: list[Any], must_sync: bool) -> None:
        """There is no room for a batch that was taken: it is part of the one that is being collected now."""
    def fail(self) -> None:
        """Nothing is kept any more: what is held is never let go."""
    def start_after(self, message_id: int, session_id: int, position: int) -> None:
        """What was kept before this start has used the identifiers up to these."""
    def drop_unreferred(self, message: Message) -> None:
        """Drop the row of a message that was kept, if no other row refers to it."""
    def new_session_id(self) -> int:
        """A number for a session that is to be kept."""
    def put_session(
        self, session_id: int, client_id: str, owner: str | None, expiry_interval_s: int, ends_at: float | None
    ) -> None:
        """``ends_at`` is on the broker's clock, or None."""
    def drop_session(self, session_id: int) -> None:
        """The session is over, and every row of it goes with it."""
    def put_will(
        self,
        session_id: int,
        topic: bytes,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: bytes,
        delay_interval_s: int,
        user_name: str | None,
        due_at: float | None,
    ) -> None:
        """``due_at`` is on the broker's clock, or None."""
    def drop_will(self, session_id: int) -> None:
        """The Will has been published or taken back."""
    def on_wall_clock(self, at: float | None) -> float | None:
        """A time of the broker's clock in seconds since 1970; None for None, and for never."""
