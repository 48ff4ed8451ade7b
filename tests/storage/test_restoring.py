"""What comes of rows that were kept, and of rows that do not fit the others."""

from typing import Any

import pytest
from noctule._speedups.journal import Journal
from noctule.config.settings import Settings
from noctule.core.state import State, make_state
from noctule.storage import operations as kept
from noctule.storage.operations import (
    DropMessage,
    Operation,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
)
from noctule.storage.restoring import PROBLEMS_NAMED, restore

KINDS = {name: kind for name, kind in vars(kept).items() if name.startswith(("Put", "Drop")) and isinstance(kind, type)}

MESSAGE = PutMessage(1, b"t", b"p", 1, False, b"", None)
SESSION = PutSession(1, "c", "ann", 0xFFFF_FFFF, None)


@pytest.fixture
def state() -> State:
    made = make_state(Settings(listeners=()))
    made.plane.journal = Journal(KINDS, lambda: None)
    return made


def collected(state: State) -> list[Operation]:
    """What restoring wants to be changed in the store."""
    journal = state.plane.journal
    assert journal is not None
    found: list[Any] = journal.take()[1]
    return found


def test_rows_are_put_back(state: State) -> None:
    rows = [
        MESSAGE,
        MESSAGE._replace(message_id=2, retain=True),
        SESSION,
        PutSubscription(1, b"a/+", b"", 1, 3, 7),
        PutSubscription(1, b"b", b"group", 2, 0, 0),
        PutQueued(1, 4, 1, 1, 1, 0, False, b"\x0b\x07", b""),
        PutQueued(1, 8, 1, 1, 0, 4, False, b"", b""),
        PutQueued(1, 9, 1, 2, 0, 5, False, b"", b""),
        PutQueued(1, 10, 0, 2, 0, 6, True, b"", b""),
        PutReceived(1, 3, 1),
        PutRetained(b"t", 2),
        PutWill(1, b"w", b"gone", 2, True, b"", 30, "ann", None),
    ]
    restored = restore(rows, state, 0.0)
    assert restored.problems == []
    counts = (restored.messages, restored.sessions, restored.subscriptions, restored.queued, restored.retained)
    assert counts == (2, 1, 2, 4, 1)
    session = state.sessions.find("c")
    assert session is not None
    assert (session.owner, session.store_id, session.connected) == ("ann", 1, False)
    assert sorted(state.router.subscriptions_of(session)) == [(b"a/+", None, 1, 3, 7), (b"b", b"group", 2, 0, 0)]
    queued, received = session.kept_state()
    assert [(one[0], one[2], one[3], one[4]) for one in queued] == [
        (4, 1, 0, False),
        (8, 1, 4, False),
        (9, 2, 5, False),
        (10, 2, 6, True),
    ]
    assert [packet_id for packet_id, _ in received] == [3]
    assert [one.topic for one in state.router.retained.walk(b"#")] == [b"t"]
    assert (session.will.topic, session.will.will_delay_interval_s) == ("w", 30)
    assert session.client.user_name == "ann"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (PutSession(2, "c", None, 60, None), "left out PutSession of 2, 'c'"),
        (PutSubscription(7, b"t", b"", 1, 0, 0), "left out PutSubscription of 7, b't': 7"),
        (PutSubscription(1, b"t", b"", 3, 0, 0), "no subscription"),
        (PutSubscription(1, b"", b"", 1, 0, 0), "no subscription"),
        (PutQueued(1, 1, 8, 1, 0, 0, False, b"", b""), "left out PutQueued of 1, 1: 8"),
        (PutQueued(1, 1, 1, 0, 0, 0, False, b"", b""), "no message of a session's queue"),
        (PutQueued(1, 1, 0, 1, 0, 4, True, b"", b""), "no message of a session's queue"),
        (PutQueued(1, 1, 0, 2, 0, 0, True, b"", b""), "a released message without packet identifier"),
        (PutReceived(1, 70_000, 1), "left out PutReceived of 1, 70000"),
        (PutSubscription(1, None, b"", 1, 0, 0), "left out PutSubscription of 1, None"),  # type: ignore[arg-type]
        (PutReceived(1, 0, 1), "the packet identifier 0 cannot be received"),
        (PutRetained(b"t", 9), "left out PutRetained of b't', 9: 9"),
        (PutMessage(5, b"", b"", 1, False, b"", None), "a topic name has 1 to 65535 bytes"),
        (PutMessage(5, b"t", b"", 1, False, b"\xff\xff", None), "left out PutMessage of 5"),
        (PutMessage(5, b"t", b"", 3, False, b"", None), "QoS is 0, 1 or 2"),
        (PutWill(3, b"w", b"", 0, False, b"", 0, None, None), "left out PutWill of 3"),
        (PutWill(1, b"\xff", b"", 0, False, b"", 0, None, None), "left out PutWill of 1"),
        (DropMessage(1), "not what a store restores"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, tuple) else None,
)
def test_a_row_that_does_not_fit_is_left_out_and_the_rest_is_there(state: State, row: Operation, why: str) -> None:
    restored = restore([MESSAGE, SESSION, row, PutReceived(1, 3, 1)], state, 0.0)
    (problem,) = restored.problems
    assert why in problem
    session = state.sessions.find("c")
    assert session is not None
    assert session.unreleased == 1


def test_many_rows_that_do_not_fit_are_counted(state: State) -> None:
    restored = restore([PutReceived(1, 1, 1)] * (PROBLEMS_NAMED + 7), state, 0.0)
    assert len(restored.problems) == PROBLEMS_NAMED + 1
    assert restored.problems[-1] == "left out 7 rows more"


def test_messages_that_nothing_refers_to_are_dropped(state: State) -> None:
    restore([MESSAGE, MESSAGE._replace(message_id=2), SESSION, PutReceived(1, 3, 1)], state, 0.0)
    assert collected(state) == [DropMessage(2)]


def test_what_is_new_has_other_numbers(state: State) -> None:
    restore([MESSAGE._replace(message_id=41), SESSION._replace(session_id=17), PutReceived(17, 3, 41)], state, 0.0)
    session, _ = state.sessions.open("new", clean_start=True, expiry_interval_s=60)
    assert session.store_id == 18
    session.will = None
    assert [row[0] for row in collected(state)] == [18]


def test_progress_is_told(state: State) -> None:
    told: list[int] = []
    restore((MESSAGE._replace(message_id=number) for number in range(1, 100_002)), state, 0.0, told.append)
    assert told == [50_000, 100_000]


def test_a_store_that_cannot_be_read_on_says_so(state: State) -> None:
    def rows() -> Any:
        yield SESSION
        raise OSError("a bad page")

    with pytest.raises(OSError, match="a bad page"):
        restore(rows(), state, 0.0)
