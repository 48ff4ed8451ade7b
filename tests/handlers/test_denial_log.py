"""Denials in the log: each once, and not too many from one address."""

import logging

import pytest
from noctule.core.clients import Client
from noctule.handlers.denial_log import INTERVAL_S, LINES_PER_ADDRESS, RECENT_MAX, DenialLog


def client(client_id: str = "c", address: str = "192.0.2.7") -> Client:
    return Client(client_id, None, address, f"{address}:4711", "0.0.0.0:1883", 5)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [one.getMessage() for one in caplog.records]
    caplog.clear()
    return found


def test_the_same_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    log = DenialLog(logging.getLogger("noctule"))
    for _ in range(3):
        log.write("publish to", client(), "a\nb", "acl:1", 1_000)
    assert lines(caplog) == [r"Denied: client c (user none, 192.0.2.7:4711) may not publish to a\nb (acl:1)."]
    log.write("publish to", client(), "a\nb", "acl:1", 1_000 + INTERVAL_S)
    assert len(lines(caplog)) == 1
    assert len(log.recent) == 4


def test_who_tries_everything_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = DenialLog(logging.getLogger("noctule"))
    for number in range(1_000):
        log.write("publish to", client(f"c{number}"), f"t/{number}", "", 1_000)
    found = lines(caplog)
    assert len(found) == LINES_PER_ADDRESS + 1
    assert "at 192.0.2.7 have been denied more" in found[-1]
    log.write("publish to", client(address="192.0.2.8"), "t", "", 1_000)
    assert len(lines(caplog)) == 1, "others are told of"
    log.write("publish to", client(), "later", "", 1_000 + INTERVAL_S)
    assert len(lines(caplog)) == 1
    assert len(log.recent) == RECENT_MAX
