"""noctule pub and sub over TLS, WebSocket and a unix socket to mosquitto; and how they end when they are ended."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from e2e.paho_client import PahoClient
from e2e.process import DEADLINE, BrokerProcess

pytestmark = pytest.mark.slow

NOCTULE = [sys.executable, "-W", "error", "-m", "noctule"]
AUTHORITY = trustme.CA()


@dataclass
class Ways:
    """How a mosquitto can be reached."""

    tls: int
    websocket: int
    unix: Path
    authority: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    if shutil.which("mosquitto") is None:
        pytest.skip("needs mosquitto")
    folder = tmp_path_factory.mktemp("ways")
    with socket.socket() as one, socket.socket() as other:  # mosquitto cannot have the system choose
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        tls, websocket = one.getsockname()[1], other.getsockname()[1]
    found = Ways(tls, websocket, folder / "socket", folder / "ca.pem", folder / "client.pem", folder / "client.key")
    AUTHORITY.cert_pem.write_to_path(str(found.authority))
    client = AUTHORITY.issue_cert("me@example.com")
    client.cert_chain_pems[0].write_to_path(str(found.certificate))
    client.private_key_pem.write_to_path(str(found.key))
    server = AUTHORITY.issue_cert("localhost")
    server.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
    server.private_key_pem.write_to_path(str(folder / "server.key"))
    file = folder / "mosquitto.conf"
    file.write_text(
        f"allow_anonymous true\nuser root\n"
        f"listener {tls} 127.0.0.1\ncafile {found.authority}\ncertfile {folder}/server.pem\n"
        f"keyfile {folder}/server.key\nrequire_certificate true\n"
        f"listener {websocket} 127.0.0.1\nprotocol websockets\n"
        f"listener 0 {found.unix}\n"
    )
    with subprocess.Popen(
        ["mosquitto", "-c", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "running" in line:
                break
        yield found
        process.terminate()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NOCTULE, *words], capture_output=True, text=True, timeout=DEADLINE, check=False)


def words_for(way: str, ways: Ways) -> list[str]:
    if way == "tls":
        return [
            *("-h", "localhost", "-p", str(ways.tls), "--cafile", str(ways.authority)),
            *("--cert", str(ways.certificate), "--key", str(ways.key), "--tls-version", "tlsv1.2"),
        ]
    if way == "websocket":
        return ["--ws", "-h", "127.0.0.1", "-p", str(ways.websocket)]
    return ["--unix", str(ways.unix)]


@pytest.mark.parametrize("way", ["tls", "websocket", "unix"])
def test_there_and_back(way: str, ways: Ways) -> None:
    words = words_for(way, ways)
    done = run("pub", *words, "-t", f"way/{way}", "-m", "hello", "-r", "-q", "1")
    assert (done.returncode, done.stderr) == (0, "")
    done = run("sub", *words, "-t", f"way/{way}", "-C", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-h", "127.0.0.1", "--cafile", "{ca}"], "mismatch"),
        (["-h", "localhost", "--tls-use-os-certs"], "no TLS connection"),
        (["-h", "localhost", "--cafile", "/does/not/exist"], '"/does/not/exist": No such file'),
        (["-h", "localhost", "--cafile", "{key}"], "Problem setting TLS options"),
    ],
)
def test_tls_that_cannot_be(words: list[str], complaint: str, ways: Ways) -> None:
    filled = [word.replace("{ca}", str(ways.authority)).replace("{key}", str(ways.key)) for word in words]
    done = run("pub", "-p", str(ways.tls), "-t", "t", "-m", "x", *filled)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_the_name_need_not_be_the_right_one_where_that_is_wanted(ways: Ways) -> None:
    words = words_for("tls", ways)
    words[1] = "127.0.0.1"
    assert run("pub", *words, "-t", "t", "-m", "x").returncode == 1
    assert run("pub", *words, "-t", "t", "-m", "x", "--insecure").returncode == 0


# How they end


@pytest.fixture(scope="module")
def one_broker() -> Iterator[BrokerProcess]:
    broker = BrokerProcess().wait_until_listening()
    yield broker
    broker.stop()


def subscriber(broker: BrokerProcess, *words: str) -> "subprocess.Popen[str]":
    """A running noctule sub that has subscribed."""
    process = subprocess.Popen(
        [*NOCTULE, "sub", "-d", "-h", broker.host, "-p", str(broker.port), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Subscribed"):
            break
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("words", [[], ["--message-rate"]])
def test_signals(number: signal.Signals, code: int, words: list[str], one_broker: BrokerProcess) -> None:
    """SIGTERM is a way to end it, as for mosquitto_sub; either way the server is told."""
    with subscriber(one_broker, "-t", "t", *words) as process:
        process.send_signal(number)
        output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (code, "")
    assert "sending DISCONNECT" in output


def test_the_will_of_who_is_stopped_is_published(one_broker: BrokerProcess) -> None:
    with PahoClient(one_broker) as client:
        client.subscribe(("will", 1))
        with subscriber(one_broker, "-V", "5", "-t", "t", "--will-topic", "will", "--will-payload", "bye") as process:
            process.terminate()
            process.communicate(timeout=DEADLINE)
        assert client.receive().payload == b"bye"


def test_a_namesake_ends_it_with_a_line(one_broker: BrokerProcess) -> None:
    with subscriber(one_broker, "-V", "5", "-t", "t", "-i", "same") as process:
        assert (
            run("pub", "-h", one_broker.host, "-p", str(one_broker.port), "-i", "same", "-t", "x", "-n").returncode == 0
        )
        _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert errors == "Error: the server ended the connection: Session taken over\n"


def test_whoever_reads_the_output_may_go(one_broker: BrokerProcess) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [*NOCTULE, "sub", "-h", one_broker.host, "-p", str(one_broker.port), "-t", "pipe"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    with PahoClient(one_broker) as client, process:
        client.publish("pipe", "one", 1, retain=True)
        assert os.read(reading, 10) == b"one\n"
        os.close(reading)
        client.publish("pipe", "two", 1)
        _, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (1, "")
