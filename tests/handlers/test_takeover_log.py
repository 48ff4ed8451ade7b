"""Two clients that fight over one client identifier: the log says so once a minute, and single takeovers not at all."""

import logging

import pytest
from handlers.direct_links import V3_1_1, V5, DirectBroker
from noctule.handlers.takeover_log import INTERVAL_S, REMEMBERED_MAX, TAKEOVERS, TakeoverLog


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def fight(broker: DirectBroker, times: int, client_id: str = "twin") -> None:
    for _ in range(times):
        broker.connect(client_id, V3_1_1)


def test_two_clients_with_one_identifier_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    fight(broker, TAKEOVERS)
    assert lines(caplog) == []
    broker.connect("twin", V5)
    assert lines(caplog) == [
        f"Client twin has been taken over {TAKEOVERS} times within a minute, at last from 10.0.0.1:3 by 10.0.0.1:4: "
        "do two clients have this identifier?"
    ]


def test_it_is_told_once_in_an_interval(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    fight(broker, 10 * TAKEOVERS)
    assert len(lines(caplog)) == 1
    broker.advance(INTERVAL_S)
    fight(broker, 10 * TAKEOVERS)
    assert len(lines(caplog)) == 2


def test_who_comes_back_now_and_then_is_no_fight(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that is lost without a word is taken over by the next one."""
    broker = DirectBroker()
    for _ in range(10):
        fight(broker, 1)
        broker.advance(INTERVAL_S / (TAKEOVERS - 1))
    assert lines(caplog) == []


def test_each_identifier_counts_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    for number in range(2 * TAKEOVERS):
        fight(broker, 2, f"client-{number}")
    assert lines(caplog) == []


def test_a_client_identifier_cannot_break_the_line(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    fight(broker, TAKEOVERS + 1, "a\u2028b\u202ec'\\")
    (line,) = lines(caplog)
    assert line.isascii()
    assert line.isprintable()


def test_what_is_remembered_has_a_limit() -> None:
    log = TakeoverLog(logging.getLogger("noctule"))
    for number in range(3 * REMEMBERED_MAX):
        log.note(f"client-{number}", "10.0.0.1:1", "10.0.0.1:2", 0.0)
    assert len(log._seen) <= REMEMBERED_MAX
