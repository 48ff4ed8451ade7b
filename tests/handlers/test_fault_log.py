"""The log of broken packets: what a line says, and how few there are however many packets are broken (R20)."""

import logging

import pytest
from handlers.direct_links import V3_1_1, DirectBroker
from noctule.config import limits
from noctule.handlers.fault_log import FaultLog

GARBAGE = b"\x00\x00"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_line_names_the_peer_the_client_the_fault_and_the_rule(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    broker.connect("me", V3_1_1).send(b"\x36\x05\x00\x01t\x00\x01")
    broker.open().send(GARBAGE)
    first, second = lines(caplog)
    assert "10.0.0.1:1" in first
    assert "(me)" in first
    assert "QoS 3" in first
    assert "MQTT-3.3.1-4" in first
    assert "10.0.0.1:2" in second
    assert "MQTT-3.1.0-1" in second


def test_a_client_identifier_cannot_break_the_line(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    broker.connect("a\u2028b\u202ec'\\", V3_1_1).send(GARBAGE)
    (line,) = lines(caplog)
    assert line.isascii()
    assert line.isprintable()


def test_one_address_gets_few_lines_and_the_rest_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    for _ in range(1_000):
        broker.open(address="6.6.6.6").send(GARBAGE)
    assert len(lines(caplog)) == limits.FAULT_LOG_PER_ADDRESS
    broker.open(address="7.7.7.7").send(GARBAGE)
    assert "7.7.7.7" in lines(caplog)[-1]
    broker.advance(limits.FAULT_LOG_INTERVAL_S)
    broker.open(address="6.6.6.6").send(GARBAGE)
    *_, summary, line = lines(caplog)
    assert str(1_000 - limits.FAULT_LOG_PER_ADDRESS) in summary
    assert "6.6.6.6" in line
    assert len(lines(caplog)) == limits.FAULT_LOG_PER_ADDRESS + 3


def test_many_addresses_get_few_lines_in_all(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    for i in range(1_000):
        broker.open(address=f"10.1.{i // 256}.{i % 256}").send(GARBAGE)
    assert len(lines(caplog)) == limits.FAULT_LOG_OVERALL


def test_a_quiet_interval_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    log = FaultLog(logging.getLogger("noctule"))
    for at in (0.0, 20.0, 40.0):
        log.write("[::1]:5", "", "a fault", "", at)
    assert lines(caplog) == ["Closed the connection of [::1]:5: a fault."] * 3


def test_an_orderly_client_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    broker.connect("a").disconnect()
    broker.connect("b", V3_1_1).lose()
    broker.open().lose()
    assert lines(caplog) == []
