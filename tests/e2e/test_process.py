"""The broker as a process: what it says at start, and that it stops in order, in time and at once when asked twice."""

import re
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from e2e.paho_client import V5, PahoClient
from e2e.process import COMMAND, DEADLINE, BrokerProcess
from e2e.wire import MQTT5, MQTT311, PINGREQ, Wire, publish
from noctule.config.limits import STOP_TIMEOUT_S

StartBroker = Callable[..., BrokerProcess]
both_signals = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@both_signals
def test_stop_with_no_client(start_broker: StartBroker, number: signal.Signals) -> None:
    broker = start_broker()
    broker.signal(number)
    assert broker.wait() == 0
    broker.check_output()


@both_signals
def test_stop_tells_the_clients(start_broker: StartBroker, number: signal.Signals) -> None:
    broker = start_broker()
    with Wire(broker) as v5, Wire(broker) as v311, Wire(broker) as silent:
        v5.connect("v5", MQTT5)
        v311.connect("v311", MQTT311)
        broker.signal(number)
        assert [(found.first, found.body[:1]) for found in v5.until_closed()] == [(0xE0, b"\x8b")]
        assert v311.until_closed() == []
        assert silent.until_closed() == []
    assert broker.wait() == 0
    broker.check_output()


def test_what_was_sent_before_the_stop_is_delivered(start_broker: StartBroker) -> None:
    broker = start_broker()
    with Wire(broker) as subscriber, Wire(broker) as publisher:
        subscriber.connect("subscriber")
        subscriber.subscribe(("t", 0))
        publisher.connect("publisher")
        publisher.send(*(publish("t", number.to_bytes(2)) for number in range(1000)), PINGREQ)
        assert publisher.receive() == (0xD0, b"")
        broker.signal(signal.SIGTERM)
        assert [found.body[-2:] for found in subscriber.until_closed()] == [
            number.to_bytes(2) for number in range(1000)
        ]
    assert broker.wait() == 0


def with_a_client_that_does_not_read(broker: BrokerProcess) -> Wire:
    """Return a connection that the broker has more to send to than the kernel takes."""
    stalled = Wire(broker)
    stalled.connect("stalled", MQTT5)
    stalled.subscribe(("t", 1), version=MQTT5)
    with Wire(broker) as publisher:
        publisher.connect("publisher")
        for number in range(1, 129):
            publisher.send(publish("t", bytes(1 << 16), 1, number))
            assert publisher.receive().type == 4
    return stalled


def test_stop_with_a_client_that_does_not_read(start_broker: StartBroker) -> None:
    broker = start_broker()
    with with_a_client_that_does_not_read(broker):
        broker.stop()


@both_signals
def test_a_second_signal_stops_at_once(start_broker: StartBroker, number: signal.Signals) -> None:
    broker = start_broker()
    with with_a_client_that_does_not_read(broker), Wire(broker) as other:
        other.connect("other", MQTT5)
        broker.signal(number)
        other.until_closed()
        start = time.monotonic()
        broker.signal(number)
        broker.wait()
        assert time.monotonic() - start < STOP_TIMEOUT_S / 2  # without it: the whole of that
    broker.check_output()


def test_paho_hears_of_the_stop(start_broker: StartBroker) -> None:
    broker = start_broker()
    with PahoClient(broker, V5) as client:
        broker.signal(signal.SIGTERM)
        client.wait_for_disconnect()
    assert broker.wait() == 0


def test_the_port_is_free_again(start_broker: StartBroker, carrier: str) -> None:
    first = start_broker()
    with Wire(first) as wire:
        wire.connect("x")
        first.stop()
        # The old connection is in TIME_WAIT; that must not keep the next start away.
        again = BrokerProcess("--carrier", carrier, listen=f"127.0.0.1:{first.port}").wait_until_listening()
        assert again.port == first.port
        again.stop()


def test_a_port_in_use_is_one_plain_message(start_broker: StartBroker, carrier: str) -> None:
    first = start_broker()
    second = BrokerProcess("--carrier", carrier, listen=f"127.0.0.1:{first.port}")
    assert second.wait() not in (0, -signal.SIGKILL)
    assert str(first.port) in second.output
    second.check_output()
    first.stop()


def test_start_says_what_is_running(start_broker: StartBroker) -> None:
    broker = start_broker()
    with Wire(broker) as wire:
        wire.connect("x")
    broker.stop()
    assert re.search(r"\b\d+\.\d+\.\d+", broker.output), "no version"
    assert f"mqtt://127.0.0.1:{broker.port}" in broker.output
    # The lines meant for a person are few.
    assert len(broker.output.splitlines()) <= 15


def test_help(carrier: str) -> None:
    done = subprocess.run([*COMMAND, "run", "--help"], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0
    assert "--listen" in done.stdout
    assert f"{carrier}" in done.stdout


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000", "no.such.host.invalid:1883"])
def test_a_wrong_address_is_one_plain_message(listen: str) -> None:
    broker = BrokerProcess(listen=listen)
    assert broker.wait() not in (0, -signal.SIGKILL)
    assert listen.split(":")[0] in broker.output
    broker.check_output()
