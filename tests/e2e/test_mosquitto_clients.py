"""The broker through mosquitto_pub and mosquitto_sub, the clients that scripts and first steps use."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from e2e.process import DEADLINE, BrokerProcess

missing = [program for program in ("mosquitto_pub", "mosquitto_sub", "stdbuf") if shutil.which(program) is None]
pytestmark = pytest.mark.skipif(
    bool(missing), reason=f"not installed: {', '.join(missing)} (Debian: mosquitto-clients, coreutils)"
)
every_version = pytest.mark.parametrize("version", ["31", "311", "5"])
every_qos = pytest.mark.parametrize("qos", [0, 1, 2])


def run(program: str, broker: BrokerProcess, *arguments: str | int, stdin: str | None = None) -> str:
    """Run one of the programs to its end and return what it printed."""
    done = subprocess.run(
        [program, "-h", broker.host, "-p", str(broker.port), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextmanager
def subscribed(broker: BrokerProcess, *arguments: str | int) -> Iterator[subprocess.Popen[str]]:
    """Run mosquitto_sub and wait until its subscription is acknowledged."""
    process = subprocess.Popen(
        [
            # Into a pipe it writes whole blocks only, and "Subscribed" would come too late.
            *("stdbuf", "-oL", "mosquitto_sub", "-h", broker.host, "-p", str(broker.port)),
            *("-d", "-F", "> %t %q %r %p", *map(str, arguments)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Subscribed "):
                break
        yield process
    finally:
        process.kill()
        process.communicate()


def messages(process: subprocess.Popen[str]) -> list[str]:
    """Wait for the end of mosquitto_sub and return its messages: topic, QoS, retain flag, payload."""
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    return [line.removeprefix("> ") for line in output.splitlines() if line.startswith("> ")]


@every_version
@every_qos
def test_publish_and_receive(broker: BrokerProcess, topic: str, qos: int, version: str) -> None:
    with subscribed(broker, "-V", version, "-q", qos, "-t", topic + "/+", "-C", 2) as sub:
        run("mosquitto_pub", broker, "-V", version, "-q", qos, "-t", topic + "/a", "-m", "hello")
        run("mosquitto_pub", broker, "-V", version, "-q", qos, "-t", topic + "/b", "-n")
        assert messages(sub) == [f"{topic}/a {qos} 0 hello", f"{topic}/b {qos} 0 "]


@every_version
def test_retained(broker: BrokerProcess, topic: str, version: str) -> None:
    run("mosquitto_pub", broker, "-V", version, "-q", 1, "-r", "-t", topic, "-m", "kept")
    got = run("mosquitto_sub", broker, "-V", version, "-q", 1, "-t", topic, "-C", 1, "-F", "%t %q %r %p")
    assert got == f"{topic} 1 1 kept\n"
    run("mosquitto_pub", broker, "-V", version, "-q", 1, "-r", "-t", topic, "-n")
    with subscribed(broker, "-V", version, "-t", topic, "-C", 1) as sub:
        run("mosquitto_pub", broker, "-V", version, "-t", topic, "-m", "live")
        assert messages(sub) == [f"{topic} 0 0 live"]


@every_version
@pytest.mark.parametrize("qos", [1, 2])
def test_offline_messages(broker: BrokerProcess, topic: str, qos: int, version: str) -> None:
    client_id = f"{topic[-12:]}-{version}-{qos}"
    session: list[str | int] = ["-V", version, "-c", "-i", client_id, "-q", qos, "-t", topic]
    if version == "5":
        session += ["-x", 3600]
    run("mosquitto_sub", broker, *session, "-E")
    lines = [str(number) for number in range(50)]
    run("mosquitto_pub", broker, "-V", version, "-q", qos, "-t", topic, "-l", stdin="\n".join(lines) + "\n")
    assert run("mosquitto_sub", broker, *session, "-C", 50).splitlines() == lines
    run("mosquitto_sub", broker, "-V", version, "-i", client_id, "-t", topic, "-E")


@every_version
def test_will(broker: BrokerProcess, topic: str, version: str) -> None:
    with (
        subscribed(broker, "-V", version, "-q", 1, "-t", topic, "-C", 1) as watcher,
        subscribed(
            broker, "-V", version, "-t", topic + "/x", "--will-topic", topic, "--will-payload", "gone", "--will-qos", 1
        ) as sub,
    ):
        sub.kill()
        assert messages(watcher) == [f"{topic} 1 0 gone"]


@every_version
def test_many_lines_in_order(broker: BrokerProcess, topic: str, version: str) -> None:
    lines = [f"line {number}" for number in range(1000)]
    with subscribed(broker, "-V", version, "-q", 2, "-t", topic, "-C", len(lines)) as sub:
        run("mosquitto_pub", broker, "-V", version, "-q", 2, "-t", topic, "-l", stdin="\n".join(lines) + "\n")
        assert messages(sub) == [f"{topic} 2 0 {line}" for line in lines]


def test_several_filters(broker: BrokerProcess, topic: str) -> None:
    with subscribed(broker, "-t", f"{topic}/a/+", "-t", f"{topic}/b/#", "-t", f"{topic}/c", "-C", 3) as sub:
        for below in ("a/1", "a/1/2", "b/1/2", "c/1", "c"):
            run("mosquitto_pub", broker, "-t", f"{topic}/{below}", "-m", below)
        assert messages(sub) == [f"{topic}/{below} 0 0 {below}" for below in ("a/1", "b/1/2", "c")]


def test_user_properties(broker: BrokerProcess, topic: str) -> None:
    arguments = ["-V", 5, "-q", 1, "-t", topic]
    pairs = [("colour", "grey"), ("wing", "left"), ("colour", "brown")]
    given = [word for pair in pairs for word in ("-D", "publish", "user-property", *pair)]
    run("mosquitto_pub", broker, *arguments, "-m", "x", "-r", *given)
    assert run("mosquitto_sub", broker, *arguments, "-C", 1, "-F", "%P") == "colour:grey wing:left colour:brown\n"


def test_request_and_response(broker: BrokerProcess, topic: str) -> None:
    """mosquitto_rr asks, and what answers is a subscriber to the same topics."""
    with subscribed(broker, "-V", 5, "-t", topic + "/question", "-C", 1) as responder:
        asking = subprocess.Popen(
            [
                *("mosquitto_rr", "-h", broker.host, "-p", str(broker.port), "-V", "5"),
                *("-t", topic + "/question", "-e", topic + "/answer", "-m", "how?"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert messages(responder) == [f"{topic}/question 0 0 how?"]
        run("mosquitto_pub", broker, "-V", 5, "-t", topic + "/answer", "-m", "so")
        output, _ = asking.communicate(timeout=DEADLINE)
    assert (asking.returncode, output) == (0, "so\n")
