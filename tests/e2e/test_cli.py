"""``noctule pub`` and ``noctule sub`` as a person or a script uses them."""

import subprocess
import sys

import pytest
from e2e.paho_client import PahoClient
from e2e.process import DEADLINE, BrokerProcess

every_version = pytest.mark.parametrize("version", ["31", "311", "5"])
NOCTULE = [sys.executable, "-W", "error", "-m", "noctule"]


def run(command: str, broker: BrokerProcess, *arguments: str, stdin: str | None = None) -> str:
    """Run a command against the broker to its end and return what it printed."""
    done = subprocess.run(
        [*NOCTULE, command, "-h", broker.host, "-p", str(broker.port), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@every_version
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_publish(broker: BrokerProcess, topic: str, version: str, qos: str) -> None:
    with PahoClient(broker) as client:
        client.subscribe((topic, 2))
        assert run("pub", broker, "-V", version, "-q", qos, "-t", topic, "-m", "grüße") == ""
        message = client.receive()
    assert (message.payload.decode(), message.qos) == ("grüße", int(qos))


@every_version
def test_subscribe(broker: BrokerProcess, topic: str, version: str) -> None:
    with PahoClient(broker) as client:
        client.publish(topic + "/a", "one", 1, retain=True)
        client.publish(topic + "/b", "two", 1, retain=True)
        arguments = ["-V", version, "-v", "-q", "1", "-t", topic + "/a", "-t", topic + "/b", "-C", "2"]
        assert sorted(run("sub", broker, *arguments).splitlines()) == [f"{topic}/a one", f"{topic}/b two"]


def test_subscribe_prints_as_it_comes(broker: BrokerProcess, topic: str) -> None:
    """Through a pipe too: each message is there when it has come, not when a buffer is full."""
    with (
        PahoClient(broker) as client,
        subprocess.Popen(
            [*NOCTULE, "sub", "-h", broker.host, "-p", str(broker.port), "-t", topic, "-q", "1"],
            stdout=subprocess.PIPE,
            text=True,
        ) as subscriber,
    ):
        assert subscriber.stdout is not None
        client.publish(topic, "first", 1, retain=True)
        assert subscriber.stdout.readline() == "first\n"
        client.publish(topic, "second", 1)
        assert subscriber.stdout.readline() == "second\n"
        subscriber.terminate()


def test_publish_lines(broker: BrokerProcess, topic: str) -> None:
    lines = [f"line {number}" for number in range(100)]
    with PahoClient(broker) as client:
        client.subscribe((topic, 1))
        run("pub", broker, "-q", "1", "-t", topic, "-l", stdin="\n".join(lines) + "\n")
        assert [payload.decode() for payload in client.receive_payloads(100)] == lines


def test_retain_and_clear(broker: BrokerProcess, topic: str) -> None:
    run("pub", broker, "-q", "1", "-r", "-t", topic, "-m", "kept")
    assert run("sub", broker, "-t", topic, "-C", "1") == "kept\n"
    run("pub", broker, "-q", "1", "-r", "-t", topic, "-n")
    with PahoClient(broker) as client:
        client.subscribe((topic, 1))
        client.publish(topic, "end", 1)
        assert client.receive().payload == b"end"


def test_nobody_listens() -> None:
    """Port 1 of this machine: refused at once, one line, no traceback."""
    done = subprocess.run(
        [*NOCTULE, "pub", "-h", "127.0.0.1", "-p", "1", "-t", "t", "-m", "x"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
