"""``noctule run -c``: a broker that is what its file says, for TOML and for mosquitto.conf."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

DEADLINE = 10.0


@contextmanager
def running(*arguments: str, wait_for: str = "mqtt://", **environment: str) -> Iterator[tuple[list[str], int]]:
    """The lines that a broker printed on stderr until it was ready, and its process number; stopped afterwards."""
    with (
        TemporaryDirectory() as data,
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "noctule", "run", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NOCTULE__DATA_DIRECTORY": data, **environment},
        ) as process,
    ):
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            if wait_for in line:
                break
        try:
            yield lines, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=DEADLINE)
            assert process.returncode == 0, rest
            assert "Traceback" not in rest


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def connect(port: int, host: str = "127.0.0.1") -> bytes:
    """The CONNACK for a plain CONNECT of version 5."""
    with socket.create_connection((host, port), timeout=DEADLINE) as connection:
        connection.sendall(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00")
        return connection.recv(100)


def written(folder: Path, text: str, name: str = "noctule.toml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def port_of(line: str) -> int:
    found = re.search(r"mqtt(?:-sn)?://\S+:(\d+)", line)
    assert found is not None
    return int(found[1])


def test_toml(tmp_path: Path) -> None:
    """Limits from the file are those that a client is told."""
    path = written(tmp_path, "pid_file = 'x.pid'\n[limits]\nreceive_maximum = 259\n[[listeners]]\nport = 0\n")
    with running("-c", path) as (lines, pid):
        assert f"Configured by {path}" in "\n".join(lines)
        assert b"\x21\x01\x03" in connect(port_of(lines[-1]))
        assert (tmp_path / "x.pid").read_text(encoding="ascii") == f"{pid}\n"
    assert not (tmp_path / "x.pid").exists()


def test_mosquitto_conf(tmp_path: Path) -> None:
    port = free_port()
    path = written(tmp_path, f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_keepalive 60\n", "mosquitto.conf")
    with running("-c", path) as (_, _pid):
        assert b"\x13\x00\x3c" in connect(port)  # a Server Keep Alive of 60 s


def test_several_addresses(tmp_path: Path) -> None:
    path = written(tmp_path, "[[listeners]]\naddress = ['127.0.0.1', '127.0.0.2']\nport = 0\n")
    with running("-c", path, wait_for="127.0.0.2") as (lines, _):
        ports = {port_of(line) for line in lines if "Listening" in line}
        assert len(ports) == 1
        for host in ("127.0.0.1", "127.0.0.2"):
            assert connect(ports.copy().pop(), host)[:1] == b"\x20"


def test_the_command_line_goes_first(tmp_path: Path) -> None:
    path = written(tmp_path, "carrier = 'reactor'\n[[listeners]]\nport = 1\n[logging]\nlevel = 'error'\n")
    with running("-c", path, "--listen", "127.0.0.1:0", "--carrier", "streams", "-v") as (lines, _):
        assert "streams" in lines[0]
        assert connect(port_of(lines[-1]))[:1] == b"\x20"


def test_the_environment_without_a_file() -> None:
    with running(NOCTULE__LISTENERS__0__PORT="0", NOCTULE__LIMITS__RECEIVE_MAXIMUM="260") as (lines, _):
        assert b"\x21\x01\x04" in connect(port_of(lines[-1]))


def test_json_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "[logging]\nformat = 'json'\ntimestamp_format = '%Y'\n[[listeners]]\nport = 0\n")
    with running("-c", path) as (lines, _):
        records = [json.loads(line) for line in lines]
    assert {tuple(record) for record in records} == {("ts", "level", "logger", "message")}
    assert re.fullmatch(r"\d{4}", records[0]["ts"])
    assert records[0]["message"].startswith("Noctule ")


def test_a_log_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "[logging]\ndestinations = ['noctule.log', 'stderr']\ntimestamps = false\n[[listeners]]\nport = 0\n",
    )
    with running("-c", path) as (lines, _):
        assert (tmp_path / "noctule.log").read_text(encoding="utf-8").splitlines()[: len(lines)] == lines
        assert lines[0].startswith("INFO Noctule ")


def test_files_that_cannot_be_written_do_not_stop_it(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "pid_file = 'none/x.pid'\n[logging]\ndestinations = ['none/noctule.log']\n[[listeners]]\nport = 0\n",
    )
    with running("-c", path) as (lines, _):
        assert f"Cannot log to {tmp_path}/none/noctule.log: No such file or directory. Logging to stderr." in lines[0]
        assert f"Cannot write the process number to {tmp_path}/none/x.pid: No such file or directory" in lines[1]


def test_warnings_are_logged(tmp_path: Path) -> None:
    path = written(
        tmp_path, f"listener {free_port()} 127.0.0.1\nallow_anonymous true\nenable_control_api true\n", "mosquitto.conf"
    )
    with running("-c", path) as (lines, _):
        assert f"WARNING {path}:3: enable_control_api: ignored: the topics below $CONTROL are not available" in lines[0]


def test_an_mqtt_sn_gateway(tmp_path: Path) -> None:
    path = written(tmp_path, "[[listeners]]\nport = 0\n[[mqtt_sn]]\nport = 0\ngateway_id = 9\n")
    with running("-c", path, wait_for="mqtt-sn://") as (lines, _):
        assert lines[-1].endswith(", for devices")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
            device.settimeout(DEADLINE)
            device.sendto(b"\x03\x01\x01", ("127.0.0.1", port_of(lines[-1])))
            assert device.recv(100) == b"\x03\x02\x09"
