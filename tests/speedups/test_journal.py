"""The journal by itself: batches and their tickets, references to messages, room, failure."""

from typing import Any

import pytest
from handlers.kept_links import KINDS
from noctule._speedups.journal import Journal
from noctule._speedups.message import Message
from noctule._speedups.outlet import Plane
from noctule._speedups.router import Router
from noctule._speedups.session import Session
from noctule.config.settings import Limits
from noctule.core.state import plane_limits
from noctule.storage.operations import DropSession, DropWill, PutSession, PutWill


class Wakes:
    """Counts how often a batch was begun."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def wakes() -> Wakes:
    return Wakes()


@pytest.fixture
def journal(wakes: Wakes) -> Journal:
    made = Journal(KINDS, wakes, 10_000)
    made.wall_clock_ahead_s = 1_000.0
    return made


@pytest.fixture
def router(journal: Journal) -> Router:
    plane = Plane(**plane_limits(Limits()))
    plane.journal = journal
    return Router(plane)


def kinds_of(batch: tuple[int, list[tuple[Any, ...]], bool]) -> list[str]:
    return [type(operation).__name__ for operation in batch[1]]


def session_of(router: Router, client_id: str, *filters: bytes) -> Session:
    """A session that is kept, with subscriptions."""
    session = Session(router.plane, client_id)
    journal = router.plane.journal
    assert journal is not None
    session.keep(journal.new_session_id())
    for topic_filter in filters:
        router.subscribe(session, topic_filter, 2)
    return session


def test_a_batch_wakes_once_and_has_its_ticket(journal: Journal, wakes: Wakes) -> None:
    journal.drop_session(1)
    journal.drop_session(2)
    assert (wakes.count, len(journal), journal.ticket) == (1, 2, 1)
    assert journal.take() == (1, [DropSession(1), DropSession(2)], False)
    assert (len(journal), journal.ticket, journal.committed, journal.collected_bytes) == (0, 2, 0, 0)
    journal.drop_will(3)
    assert wakes.count == 2
    journal.commit_done(1)
    assert journal.committed == 1
    assert journal.take() == (2, [DropWill(3)], False)


def test_what_is_put_back_comes_first(journal: Journal, wakes: Wakes) -> None:
    journal.drop_session(1)
    _, operations, _ = journal.take()
    journal.drop_session(2)
    journal.put_back(operations, True)
    assert not journal.is_usable
    assert not journal.has_failed
    journal.drop_session(3)
    assert journal.take() == (2, [DropSession(1), DropSession(2), DropSession(3)], True)
    journal.commit_done(2)
    assert journal.is_usable
    assert wakes.count == 2


def test_little_room_lasts_until_a_batch_is_kept(journal: Journal) -> None:
    journal.run_short()
    assert journal.is_usable
    assert not journal.takes_messages
    journal.commit_done(journal.take()[0])
    assert journal.takes_messages


def test_after_a_failure_nothing_is_collected(journal: Journal, wakes: Wakes) -> None:
    journal.drop_session(1)
    journal.fail()
    before = journal.count
    journal.drop_session(2)
    journal.put_will(1, b"t", bytes(1_000), 0, False, b"", 0, None, None)
    journal.run_short()
    assert journal.has_failed
    assert not journal.is_usable
    assert (len(journal), journal.count, journal.collected_bytes) == (0, before, 0)
    assert wakes.count == 1


def test_times_are_on_the_wall_clock(journal: Journal) -> None:
    journal.put_session(1, "c", None, 60, 5.0)
    journal.put_session(1, "c", "ann", 60, None)
    journal.put_session(1, "c", None, 60, float("inf"))
    journal.put_will(1, b"t", b"p", 1, True, b"", 7, "ann", 6.0)
    assert journal.take()[1] == [
        PutSession(1, "c", None, 60, 1_005.0),
        PutSession(1, "c", "ann", 60, None),
        PutSession(1, "c", None, 60, None),
        PutWill(1, b"t", b"p", 1, True, b"", 7, "ann", 1_006.0),
    ]


def test_identifiers_go_on_after_those_that_were_kept(journal: Journal, router: Router) -> None:
    journal.start_after(41, 7, 9)
    session_of(router, "c", b"t")
    router.publish_message(Message(b"t", b"", 1))
    _, operations, _ = journal.take()
    assert [operation[0] for operation in operations] == [8, 42, 8]


def test_a_message_has_one_row_however_many_refer_to_it(journal: Journal, router: Router) -> None:
    one, two = session_of(router, "one", b"t"), session_of(router, "two", b"#")
    journal.take()
    message = Message(b"t", b"payload", 1, True)
    router.publish_message(message)
    batch = journal.take()
    assert sorted(kinds_of(batch)) == ["PutMessage", "PutQueued", "PutQueued", "PutRetained"]
    router.end_session(one)
    assert kinds_of(journal.take()) == ["DropQueued", "DropSession"]
    router.publish_message(Message(b"t", b"", 1, True))
    journal.take()
    router.end_session(two)
    # Its last row goes with the session, and the message with it; that of the second goes with its own.
    rows = ["DropMessage"] * 2 + ["DropQueued"] * 2
    assert sorted(kinds_of(journal.take())) == [*rows, "DropSession"]


def test_a_message_that_was_kept_before_goes_with_its_last_row(journal: Journal, router: Router) -> None:
    kept, lost = Message(b"t", b"1", 1, True), Message(b"t", b"2", 1)
    kept.kept_as(5)
    lost.kept_as(6)
    router.restore_retained(kept)
    for message in (kept, lost):
        journal.drop_unreferred(message)
    assert [tuple(operation) for operation in journal.take()[1]] == [(6,)]
    router.publish_message(Message(b"t", b"", 0, True))
    assert sorted(kinds_of(journal.take())) == ["DropMessage", "DropRetained"]


def test_what_the_broker_says_of_itself_is_not_kept(journal: Journal, router: Router) -> None:
    router.publish_message(Message(b"$SYS/uptime", b"1", 0, True))
    assert len(journal) == 0


def test_what_clients_choose_the_size_of_is_counted(journal: Journal, router: Router) -> None:
    session = session_of(router, "c")
    for act, size in (
        (lambda: router.publish_message(Message(b"t" * 3_000, b"p" * 2_000, 0, True)), 8_000),
        (lambda: router.subscribe(session, b"f" * 4_000, 0), 4_000),
        (lambda: journal.put_will(1, b"t", bytes(5_000), 0, False, bytes(100), 0, None, None), 5_100),
    ):
        journal.take()
        act()
        assert size <= journal.collected_bytes <= size + 600


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ((0, 1, 0, 0, False), "no message"),
        ((2, 0, 0, 0, False), "no message"),
        ((2, 3, 0, 0, False), "no message"),
        ((2, 1, 0, 9, False), "the packet identifier 9 cannot be in flight"),
        ((2, 2, 0, 9, False), "the packet identifier 9 cannot be in flight"),
        ((2, 2, 0, 0, True), "no message"),
    ],
)
def test_rows_that_cannot_be_are_refused(router: Router, fields: tuple[int, int, int, int, bool], why: str) -> None:
    position, qos, flags, packet_id, is_released = fields
    session = session_of(router, "c")
    session.restore_queued(Message(b"t", b"", 1), 1, 1, 0, 9, False, b"", b"")
    with pytest.raises(ValueError, match=why):
        session.restore_queued(Message(b"t", b"", 1), position, qos, flags, packet_id, is_released, b"", b"")
    with pytest.raises(ValueError, match="cannot be received"):
        session.restore_received(0, Message(b"t", b"", 2))


def test_sessions_that_end_leave_no_reference(journal: Journal, router: Router) -> None:
    """Queued, in flight, released, received: whatever it had goes with it."""
    session = session_of(router, "c", b"t")
    for number in range(3):
        router.publish_message(Message(b"t", b"%d" % number, 2))
    session.restore_received(4, Message(b"x", b"", 2))
    journal.take()
    router.end_session(session)
    rows = ["DropMessage"] * 4 + ["DropQueued"] * 3 + ["DropReceived"]
    assert sorted(kinds_of(journal.take())) == [*rows, "DropSession"]
    assert session.store_id == 0
