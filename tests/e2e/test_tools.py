"""noctule bench, ping and top as commands, against a broker process."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.process import DEADLINE, BrokerProcess

pytestmark = pytest.mark.slow

NOCTULE = [sys.executable, "-W", "error", "-m", "noctule"]


@pytest.fixture(scope="module")
def one_broker() -> Iterator[BrokerProcess]:
    broker = BrokerProcess().wait_until_listening()
    yield broker
    broker.stop()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NOCTULE, *words], capture_output=True, text=True, timeout=3 * DEADLINE, check=False)


@pytest.mark.parametrize(
    "words",
    [
        "fan-in --publishers 5 --rate 200",
        "fan-in --publishers 3 -q 1",
        "fan-in --publishers 3 -q 2 -V 5",
        "fan-out --subscribers 5 --rate 100",
        "pairs --publishers 3",
        "shared --publishers 2 --subscribers 3 -V 5",
        "ping-pong -q 1",
        "idle --connections 20 --connect-rate 200",
        "connect-storm --connections 4",
        "retained --messages 50 --subscribers 2",
        "durable --messages 100 --subscribers 2",
        "durable --messages 100 -q 2 -V 5",
    ],
)
def test_every_load_gets_through(words: str, one_broker: BrokerProcess, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    address = ["-h", one_broker.host, "-p", str(one_broker.port)]
    done = run("bench", *words.split(), "--warm-up", "0", "--duration", "0.5", *address, "--json", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(file.read_text())
    result = document["result"]
    assert (result["errors"], result["lost"], result["repeated"]) == (0, 0, 0)
    assert document["load"]["scenario"] == words.split()[0]
    assert result["latency_ms"]["count"] > 0
    if document["load"]["connections"]:
        assert result["connected"] >= document["load"]["connections"]
    else:
        assert result["received"] > 0
        assert result["latency_ms"]["p50"] > 0
    if "--rate" in words:
        rate = float(words.split()[words.split().index("--rate") + 1])
        assert result["sent"] == pytest.approx(rate * 0.5, rel=0.2)


def test_results_are_drawn_and_compared(one_broker: BrokerProcess, tmp_path: Path) -> None:
    file, chart = tmp_path / "before.json", tmp_path / "chart.svg"
    words = [
        "bench",
        "ping-pong",
        "-p",
        str(one_broker.port),
        "-h",
        one_broker.host,
        "--warm-up",
        "0",
        "--duration",
        "0.6",
    ]
    assert run(*words, "--json", str(file), "--chart", str(chart)).returncode == 0
    assert chart.read_text().startswith("<svg")
    done = run(*words, "--compare", str(file))
    assert done.returncode == 0
    assert "latency, p99 ms" in done.stdout
    assert json.loads(run(*words, "--json", "-").stdout)["load"]["scenario"] == "ping-pong"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("bench nothing", "There is no scenario 'nothing'"),
        ("bench --rate fast", "'fast' where a number from 0 up was expected"),
        ("bench --publishers 0", "whole number from 1 up"),
        ("bench --payload 15", "from 16 up"),
        ("bench --compare /does/not/exist", "No such file"),
        ("bench -h 127.0.0.1 -p 1", "Connection refused"),
        ("ping -n 0", "from 1 up"),
        ("ping --interval never", "a number of seconds"),
        ("ping 127.0.0.1:1", "Unsupported URL scheme"),
        ("ping mqtt://127.0.0.1:1", "Connection refused"),
        ("top -n 0", "from 1 up"),
        ("top --interval 0", "from 0.1 to 3600"),
        ("top -h 127.0.0.1 -p 1", "Connection refused"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(words: str, complaint: str) -> None:
    done = run(*words.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ping(one_broker: BrokerProcess) -> None:
    url = f"mqtt://{one_broker.host}:{one_broker.port}"
    done = run("ping", url)
    assert done.returncode == 0
    assert done.stdout.startswith(f"{url}: connected in ")
    done = run("ping", url, "--round-trip", "-q", "2", "-n", "2", "--interval", "0.05", "-V", "5")
    assert done.returncode == 0
    assert done.stdout.count("there and back") == 2
    assert run("ping", url, "--quiet").stdout == ""


def test_ping_of_a_server_that_says_nothing() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        done = run("ping", f"mqtt://127.0.0.1:{listening.getsockname()[1]}", "-W", "0.5")
    assert done.returncode == 27
    assert "no answer within 0.5 s" in done.stderr


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs mosquitto")
def test_top_of_mosquitto(tmp_path: Path) -> None:
    with socket.socket() as probe:  # mosquitto cannot have the system choose
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nsys_interval 1\n")
    with subprocess.Popen(["mosquitto", "-c", str(file)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "running" in line:
                break
        done = run("top", "-h", "127.0.0.1", "-p", str(port), "-n", "2", "--interval", "1")
        process.terminate()
    assert done.returncode == 0
    assert done.stdout.count("mosquitto version") == 2
    assert "\x1b" not in done.stdout
