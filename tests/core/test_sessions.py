"""The registry of sessions by itself: opening, ending, expiring, and the wills of those that have gone."""

import math

import pytest
from noctule.config.settings import Settings
from noctule.core.sessions import NEVER, Sessions
from noctule.core.state import State, make_state
from noctule.protocol import Will

START_S = 1_000.0


@pytest.fixture
def state() -> State:
    made = make_state(Settings())
    made.plane.begin_turn(START_S)
    return made


@pytest.fixture
def sessions(state: State) -> Sessions:
    return state.sessions


def advance(state: State, seconds: float) -> None:
    plane = state.plane
    plane.begin_turn(plane.now + seconds)
    for item in plane.deadlines.take_due(plane.now):
        state.sessions.look_at(item)  # type: ignore[arg-type]


def test_a_session_is_found_from_its_opening_to_its_end(sessions: Sessions) -> None:
    assert sessions.find("c") is None
    session, present = sessions.open("c", clean_start=False, expiry_interval_s=5)
    assert not present
    assert sessions.find("c") is session
    assert sessions.open("c", clean_start=False, expiry_interval_s=9) == (session, True)
    assert session.expiry_interval_s == 9
    other, _ = sessions.open("d", clean_start=True, expiry_interval_s=0)
    assert set(sessions) == {session, other}
    assert len(sessions) == 2
    sessions.end(session, "over")
    assert sessions.find("c") is None
    assert list(sessions) == [other]


def test_a_clean_start_makes_another_session(sessions: Sessions) -> None:
    old, _ = sessions.open("c", clean_start=False, expiry_interval_s=5)
    new, present = sessions.open("c", clean_start=True, expiry_interval_s=5)
    assert new is not old
    assert not present
    assert sessions.find("c") is new


def test_names_differ_by_case_and_form(sessions: Sessions) -> None:
    for name in ("c", "C", "é", "e\u0301"):
        assert not sessions.open(name, clean_start=False, expiry_interval_s=5)[1]
    assert len(sessions) == 4


def test_the_end_of_an_old_session_leaves_the_new_one_of_its_name(sessions: Sessions) -> None:
    old, _ = sessions.open("c", clean_start=True, expiry_interval_s=5)
    new, _ = sessions.open("c", clean_start=True, expiry_interval_s=5)
    sessions.end(old, "over")
    sessions.end(old, "over")
    assert sessions.find("c") is new


def test_an_end_takes_subscriptions_and_deadline_along(state: State, sessions: Sessions) -> None:
    session, _ = sessions.open("c", clean_start=True, expiry_interval_s=5)
    state.router.subscribe(session, b"a/b/#", 1)
    sessions.connection_ended(session, "gone", publish_will=True)
    assert session.scheduled
    sessions.end(session, "over")
    assert not session.scheduled
    assert (state.router.filters.node_count, session.subscription_count) == (0, 0)


@pytest.mark.parametrize("expiry", [1, 100, NEVER - 1])
def test_expiry_to_the_second(state: State, sessions: Sessions, expiry: int) -> None:
    session, _ = sessions.open("c", clean_start=True, expiry_interval_s=expiry)
    sessions.connection_ended(session, "gone", publish_will=True)
    assert session.ends_at == START_S + expiry
    advance(state, expiry - 0.25)
    assert len(sessions) == 1
    advance(state, 0.25)
    assert len(sessions) == 0


def test_for_good(state: State, sessions: Sessions) -> None:
    session, _ = sessions.open("c", clean_start=True, expiry_interval_s=NEVER)
    sessions.connection_ended(session, "gone", publish_will=True)
    assert session.ends_at == math.inf
    assert state.plane.deadlines.next_deadline() == math.inf
    advance(state, 1e12)
    assert sessions.find("c") is session


def test_for_good_with_a_delayed_will(state: State, sessions: Sessions) -> None:
    session, _ = sessions.open("c", clean_start=True, expiry_interval_s=NEVER)
    session.will = Will("w", b"x", 0, True, 10)
    sessions.connection_ended(session, "gone", publish_will=True)
    assert state.plane.deadlines.next_deadline() == START_S + 10
    advance(state, 10)
    assert state.router.retained.get(b"w") is not None
    assert session.will is None
    assert not session.scheduled
    assert sessions.find("c") is session


@pytest.mark.parametrize(
    ("delay", "expiry", "published_at"), [(0, 50, 0), (10, 50, 10), (50, 10, 10), (10, 0, 0), (7, 7, 7)]
)
def test_when_a_will_is_published(state: State, sessions: Sessions, delay: int, expiry: int, published_at: int) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.3-9]"""
    session, _ = sessions.open("c", clean_start=True, expiry_interval_s=expiry)
    session.will = Will("w", b"x", 0, True, delay)
    sessions.connection_ended(session, "gone", publish_will=True)
    if published_at:
        advance(state, published_at - 0.5)
        assert len(state.router.retained) == 0
        advance(state, 0.5)
    assert len(state.router.retained) == 1
    assert session.will is None


def test_a_will_that_is_taken_back_is_never_published(state: State, sessions: Sessions) -> None:
    for expiry in (0, 10):
        session, _ = sessions.open("c", clean_start=True, expiry_interval_s=expiry)
        session.will = Will("w", b"x", 0, True, 5)
        sessions.connection_ended(session, "gone", publish_will=False)
        advance(state, 100)
    assert len(state.router.retained) == 0


def test_two_brokers_share_nothing() -> None:
    first, second = make_state(Settings()), make_state(Settings())
    session, _ = first.sessions.open("c", clean_start=True, expiry_interval_s=5)
    first.router.subscribe(session, b"#", 0)
    assert second.sessions.find("c") is None
    assert second.router.route_targets(b"t") == []
    assert first.plane is not second.plane
    first.sessions.end(session, "over")
