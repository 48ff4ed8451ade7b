"""The log of broken packets: what a line says, and how few there are however many packets are broken (R20)."""

import logging

import pytest
from handlers.direct_links import V3_1_1, DirectBroker
from noctule._speedups.deadlines import Alarm, Deadlines
from noctule._speedups.link import Link
from noctule.config import limits
from noctule.handlers.fault_log import FaultKind, FaultLog
from noctule.protocol import Connect

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
    assert lines(caplog)[-1] == f"{1_000 - limits.FAULT_LOG_PER_ADDRESS} more broken packets were not logged."
    broker.open(address="6.6.6.6").send(GARBAGE)
    assert "6.6.6.6" in lines(caplog)[-1]
    assert len(lines(caplog)) == limits.FAULT_LOG_PER_ADDRESS + 3


def test_broken_packets_hide_no_refused_login(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever floods the log with the one is seen at the other; each is called what it is."""
    broker = DirectBroker()
    for i in range(200):
        broker.open(address=f"10.1.{i // 10}.{i % 10}").send(GARBAGE)
    for i in range(200):  # refused before anything is asked, and still no login
        broker.open(V3_1_1, address=f"10.1.{i // 10}.{i % 10}").connect(Connect(V3_1_1, "", clean_start=False))
    before = len(lines(caplog))
    assert before == 2 * limits.FAULT_LOG_OVERALL
    log = broker.dispatcher.means.fault_log
    now = broker.state.plane.now
    for i in range(limits.FAULT_LOG_PER_ADDRESS + 1):
        log.write(f"10.1.0.0:{i}", "", "a wrong password (user ann)", "", now, kind=FaultKind.LOGIN)
    told = lines(caplog)[before:]
    assert len(told) == limits.FAULT_LOG_PER_ADDRESS
    assert told[0] == "Refused the login of 10.1.0.0:0: a wrong password (user ann)."
    broker.advance(limits.FAULT_LOG_INTERVAL_S)
    assert lines(caplog)[before + len(told) :] == [
        "150 more broken packets were not logged.",
        "150 more refused connections were not logged.",
        "1 more refused login was not logged.",
    ]


def test_the_rest_is_told_when_the_broker_stops(caplog: pytest.LogCaptureFixture) -> None:
    deadlines = Deadlines()
    log = FaultLog(logging.getLogger("noctule"), deadlines)
    for _ in range(limits.FAULT_LOG_PER_ADDRESS + 2):
        log.write("10.0.0.1:5", "", "a fault", "", 0.0)
    log.sum_up()
    assert lines(caplog)[-1] == "2 more broken packets were not logged."
    (due,) = deadlines.take_due(limits.FAULT_LOG_INTERVAL_S)
    assert isinstance(due, Alarm)
    due.call()
    assert len(lines(caplog)) == limits.FAULT_LOG_PER_ADDRESS + 1


def test_a_network_of_version_6_counts_as_one_address(caplog: pytest.LogCaptureFixture) -> None:
    log = FaultLog(logging.getLogger("noctule"), Deadlines())
    for i in range(20):
        log.write(f"[2001:db8::{i:x}]:5", "", "a fault", "", 0.0)
    log.write("[2001:db8:0:1::1]:5", "", "a fault", "", 0.0)
    assert len(lines(caplog)) == limits.FAULT_LOG_PER_ADDRESS + 1


def test_many_addresses_get_few_lines_in_all(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    for i in range(1_000):
        broker.open(address=f"10.1.{i // 256}.{i % 256}").send(GARBAGE)
    assert len(lines(caplog)) == limits.FAULT_LOG_OVERALL


def test_a_quiet_interval_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    log = FaultLog(logging.getLogger("noctule"), Deadlines())
    for at in (0.0, 20.0, 40.0):
        log.write("[::1]:5", "", "a fault", "", at)
    assert lines(caplog) == ["Closed the connection of [::1]:5: a fault."] * 3


def test_an_orderly_client_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    broker.connect("a").disconnect()
    broker.connect("b", V3_1_1).lose()
    broker.open().lose()
    assert lines(caplog) == []


def test_broken_handshakes_hide_no_broken_packet(caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    for _ in range(limits.FAULT_LOG_PER_ADDRESS + 2):
        link = broker.open().link
        link.filter = _NoFilter()
        broker.dispatcher.violation(link, 0x82, "TLS: wrong version number", "")
    broker.open().send(GARBAGE)
    assert len(lines(caplog)) == limits.FAULT_LOG_PER_ADDRESS + 1
    assert "MQTT-3.1.0-1" in lines(caplog)[-1]
    broker.advance(limits.FAULT_LOG_INTERVAL_S)
    assert lines(caplog)[-1] == "2 more broken handshakes were not logged."


class _NoFilter:
    """Stands where one is that has found the fault; the link is told of that by hand, so no bytes go through it."""

    def received(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]:
        raise NotImplementedError

    def to_send(self, data: bytes) -> bytes:
        raise NotImplementedError

    def end(self) -> bytes:
        raise NotImplementedError
