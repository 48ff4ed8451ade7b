"""Brokers from a TOML file: what may stand there, what is wrong, and one of a user's own."""

import sys
from pathlib import Path
from typing import Any

import pytest
from suite.brokers import (
    Broker,
    free_port,
    install,
    is_missing,
    is_running,
    read_broker,
    read_brokers,
    running,
    version_of,
)
from suite.command import main
from suite.places import BenchmarkError
from suite.results import read_results

LOSSY = str(Path(__file__).with_name("lossy_broker.py"))


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({}, "command must be a list of words"),
        ({"command": "run {port}"}, "command must be a list of words"),
        ({"command": []}, "has no command"),
        ({"command": ["run"]}, "is told no port"),
        ({"command": ["run"], "port": 0}, "a number from 1 to 65535"),
        ({"command": ["run", "{port}"], "comand": ["x"]}, "has comand; known are command"),
        ({"command": ["run", "{port}"], "install": ["npm install"]}, "install must be a list of words"),
    ],
)
def test_what_is_wrong_is_said(entry: dict[str, Any], text: str) -> None:
    with pytest.raises(BenchmarkError, match=text):
        read_broker("mine", entry)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="No such file"):
        read_brokers([tmp_path / "none.toml"])
    broken = tmp_path / "broken.toml"
    broken.write_text("[mine\n")
    with pytest.raises(BenchmarkError, match=r"broken\.toml: .*line 1"):
        read_brokers([broken])
    broken.write_text("command = ['x']\n")
    with pytest.raises(BenchmarkError, match="'command' stands outside"):
        read_brokers([broken])


def test_the_later_file_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "1.toml", tmp_path / "2.toml"
    first.write_text("[a]\ncommand = ['first', '{port}']\n[b]\ncommand = ['b', '{port}']\n")
    second.write_text("[a]\ncommand = ['second', '{port}']\n")
    found = read_brokers([first, second])
    assert list(found) == ["a", "b"]
    assert found["a"].command == ("second", "{port}")


def test_who_takes_part(brokers: dict[str, Broker]) -> None:
    assert brokers["relay"].can_do(("1-1", "core"), "plain")
    assert not brokers["relay"].can_do(("1-100", "core"), "plain")
    assert brokers["aedes"].can_do(("1-100", "core"), "plain")
    assert not brokers["aedes"].can_do(("1-100", "core"), "tls")
    assert brokers["noctule"].can_do(("anything", "at all"), "tls")


def test_a_program_that_is_not_there(brokers: dict[str, Broker]) -> None:
    missing = read_broker("mine", {"command": ["/nowhere/broker", "{port}"], "hint": "ask them for it"})
    assert is_missing(missing) == "no program '/nowhere/broker' on this machine (ask them for it)"
    assert is_missing(brokers["noctule"]) is None
    with pytest.raises(BenchmarkError, match="cannot be started"), running(missing, "plain", ()):
        pass


def test_installing(tmp_path: Path) -> None:
    marker = tmp_path / "there"
    entry: dict[str, Any] = {"command": ["x", "{port}"], "installed": str(marker)}
    assert install(read_broker("mine", {**entry, "install": [["touch", str(marker)]]})) is None
    assert marker.exists()
    assert install(read_broker("mine", {**entry, "install": [["false"]]})) is None, "it is there already"
    marker.unlink()
    failed = install(read_broker("mine", {**entry, "install": [["sh", "-c", "echo no network >&2; exit 3"]]}))
    assert failed == "cannot be installed: 'sh -c 'echo no network >&2; exit 3'' ends with 3 (no network)"
    assert "cannot be installed" in (install(read_broker("mine", {**entry, "install": [["/nowhere/npm"]]})) or "")


def test_one_that_ends_at_once_says_why() -> None:
    broker = read_broker("mine", {"command": ["sh", "-c", "echo the port {port} is ugly; exit 1"]})
    with pytest.raises(BenchmarkError, match="is ugly"), running(broker, "plain", ()):
        pass


def test_a_daemon_tells_its_process_number(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    broker = read_broker(
        "daemon",
        {"command": [sys.executable, LOSSY, "{port}", "--pid-file", str(pid_file)], "pid_file": str(pid_file)},
    )
    with running(broker, "plain", ()) as server:
        assert server.pid == int(pid_file.read_text())
        assert b"lossy_broker" in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        pid = server.pid
    assert not is_running(pid)


def test_a_command_tells_its_process_number(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    entry: dict[str, Any] = {"command": [sys.executable, LOSSY, "{port}", "--pid-file", str(pid_file)]}
    asked = read_broker("asked", {**entry, "pid_command": ["cat", str(pid_file)]})
    with running(asked, "plain", ()) as server:
        assert server.pid == int(pid_file.read_text())
        pid = server.pid
    assert not is_running(pid)


def test_a_command_that_tells_nothing() -> None:
    silent = read_broker("silent", {"command": [sys.executable, LOSSY, "{port}"], "pid_command": ["true"]})
    with pytest.raises(BenchmarkError, match="does not tell its process number"), running(silent, "plain", ()):
        pass


def test_a_port_of_its_own() -> None:
    port = free_port()
    broker = read_broker("mine", {"command": [sys.executable, LOSSY, str(port)], "port": port})
    with running(broker, "plain", ()) as server:
        assert server.port == port
        with pytest.raises(BenchmarkError, match="somebody is on port"), running(broker, "plain", ()):
            pass


def test_the_version(brokers: dict[str, Broker]) -> None:
    assert version_of(brokers["noctule"]).startswith("noctule 0.")
    assert version_of(brokers["relay"]) == "version unknown"


def test_a_whole_run_with_a_broker_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line to the report: what it loses stands there, and one that does not start is left out."""
    mine = tmp_path / "mine.toml"
    mine.write_text(
        f"[mine]\ncommand = ['{sys.executable}', '{LOSSY}', '{{port}}', '--lose', '50']\n"
        "[broken]\ncommand = ['false', '{port}']\n"
    )
    results = tmp_path / "results"
    words = ["--brokers", "relay", "--brokers-file", str(mine), "--scenarios", "1-1-65536", "--repetitions", "2"]
    assert main([*words, "--seconds", "0.1", "--results", str(results)]) == 0
    found = read_results(results / "results.json")
    assert found.brokers() == ["relay", "mine"]
    assert len(found.of("1-1-65536", "relay")) == len(found.of("1-1-65536", "mine")) == 2
    assert sum(m.lost for m in found.of("1-1-65536", "relay")) == 0
    assert all(m.lost > 0 for m in found.of("1-1-65536", "mine"))
    order = [(m.repetition, m.broker) for m in found.measurements]
    assert order == [(0, "relay"), (0, "mine"), (1, "relay"), (1, "mine")], "in turn"
    assert len(found.left_out) == 1
    assert found.left_out[0].startswith("broken: ")
    report = (results / "report.md").read_text()
    assert "| 1 → 1, 65,536 bytes | mine |" in report
    assert "broken: " in report
    assert (results / "results.json").exists()
    assert report == capsys.readouterr().out.removesuffix("\n")


def test_scenarios_of_the_matrix_share_a_broker(tmp_path: Path) -> None:
    """One broker for both, and after the first has failed (it ends after so many messages) another one."""
    mine = tmp_path / "mine.toml"
    mine.write_text(
        f"[mine]\ncommand = ['{sys.executable}', '{LOSSY}', '{{port}}', '--end-after', '20']\n"
        f"[good]\ncommand = ['{sys.executable}', '{LOSSY}', '{{port}}', '--pid-file', '{tmp_path}/pid']\n"
        f"pid_file = '{tmp_path}/pid'\n"
    )
    words = ["--brokers", "good", "--brokers-file", str(mine), "--repetitions", "1", "--seconds", "0.5"]
    words += ["--scenarios", "1-1-v311-qos0-16,1-1-v311-qos0-64", "--results", str(tmp_path / "results")]
    assert main(words) == 1
    found = read_results(tmp_path / "results" / "results.json")
    order = [(m.row, m.broker, bool(m.error)) for m in found.measurements]
    assert order == [
        ("1-1-v311-qos0-16", "good", False),
        ("1-1-v311-qos0-16", "mine", True),
        ("1-1-v311-qos0-64", "good", False),
        ("1-1-v311-qos0-64", "mine", True),
    ]
    report = (tmp_path / "results" / "report.md").read_text()
    assert "| 3.1.1, QoS 0, 16 bytes |" in report
    assert "mine, 1-1-v311-qos0-64, 1 times: " in report
