"""``noctule check``, ``config`` and ``convert``: what they print, where, and their exit codes."""

import json
from pathlib import Path

import jsonschema
import pytest
import tomli
from noctule.cli.main import main
from noctule.config.schema import schema
from noctule.config.toml_text import example_text

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOCTULE__LIMITS__RECEIVE_MAXIMUM", raising=False)


def written(folder: Path, text: str, name: str = "noctule.toml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return str(path)


def test_check(tmp_path: Path, capsys: Output) -> None:
    path = written(tmp_path, "allow_anonymous = true\n[[listeners]]\naddress = '0.0.0.0'\n")
    assert main(["check", "-c", path]) == 0
    printed = capsys.readouterr()
    assert tomli.loads(printed.out)["listeners"][0]["address"] == "0.0.0.0"
    assert f'address = "0.0.0.0"  # {path}:3' in printed.out
    assert 'max_packet_size = "2MB"  # default' in printed.out
    assert printed.err == (
        f"{path}:1: warning: allow_anonymous: everybody who can reach 0.0.0.0:1883 may connect without a password, "
        "read every message and send any\n"
    )
    assert main(["check", "-q", "-c", path]) == 0
    assert capsys.readouterr().out == ""


def test_check_of_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("NOCTULE__LIMITS__RECEIVE_MAXIMUM", "77")
    assert main(["check"]) == 0
    assert "receive_maximum = 77  # NOCTULE__LIMITS__RECEIVE_MAXIMUM" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "run"])
def test_errors(tmp_path: Path, capsys: Output, command: str) -> None:
    path = written(tmp_path, "typo = 1\ndurability = 'disc'\n")
    assert main([command, "-c", path]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    begin = "not started: 2 errors" if command == "run" else "2 errors"
    assert printed.err.splitlines() == [
        f"{path}:1: error: typo: unknown key",
        f'{path}:2: error: durability: expected one of "disk", "os", "memory"; did you mean "disk"; got "disc"',
        f"noctule: {begin} in the configuration",
    ]


def test_run_with_a_plugin_that_is_not_there(tmp_path: Path, capsys: Output) -> None:
    path = written(tmp_path, "listener 1883\npassword_file /nowhere/at/all\nplugin x.so\n", "mosquitto.conf")
    assert main(["run", "-c", path]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith(f"{path}:3: error: plugin: x.so is a shared object for Mosquitto")
    assert lines[-1].startswith("noctule: not started: ")


def test_run_checks_the_command_line_against_the_file(tmp_path: Path, capsys: Output) -> None:
    """A file that says nothing of strangers is no leave to let them in from anywhere."""
    path = written(tmp_path, "")
    assert main(["run", "-c", path, "--listen", "0.0.0.0:0"]) == 3
    assert capsys.readouterr().err.startswith("--listen: error: listeners[0]: nobody could connect")


def test_a_level_on_the_command_line_that_a_listener_exceeds(tmp_path: Path, capsys: Output) -> None:
    path = written(tmp_path, "[[listeners]]\nport = 0\ndurability = 'disk'\n")
    assert main(["run", "-c", path, "--durability", "memory"]) == 3
    assert capsys.readouterr().err.startswith(f'{path}:3: error: listeners[0].durability: "disk" needs a store')


def test_example(capsys: Output) -> None:
    assert main(["config", "example"]) == 0
    assert capsys.readouterr().out == example_text()


def test_schema(capsys: Output) -> None:
    assert main(["config", "schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == schema()
    jsonschema.Draft7Validator.check_schema(printed)


MOSQUITTO = """\
listener 1883
allow_anonymous true
max_keepalive 60
autosave_interval 5
"""


def test_convert(tmp_path: Path, capsys: Output) -> None:
    path = written(tmp_path, MOSQUITTO, "mosquitto.conf")
    assert main(["convert", path]) == 0
    printed = capsys.readouterr()
    assert tomli.loads(printed.out) == {
        "allow_anonymous": True,
        "keep_alive_maximum": 60,
        "listeners": [{"port": 1883, "address": "*"}],
    }
    assert f"keep_alive_maximum = 60  # {path}:3" in printed.out
    assert printed.err.splitlines() == [
        f"{path}:2: warning: allow_anonymous: everybody who can reach *:1883 may connect without a password, read "
        "every message and send any",
        f"{path}:4: differs: autosave_interval: has no effect: there is no snapshot to write at intervals",
        "differs: max_inflight_messages is not set: 20 in Mosquitto, 1000 here (limits.max_inflight_messages)",
        "differs: max_queued_messages is not set: 1000 in Mosquitto, 10000 here (limits.max_queued_messages)",
        'differs: max_queued_bytes is not set: no limit in Mosquitto, "16MiB" here (limits.max_queued_bytes)',
        "differs: max_topic_alias is not set: 10 in Mosquitto, 32 here (limits.topic_alias_maximum)",
        "differs: max_topic_alias_broker is not set: 10 in Mosquitto, 32 here (limits.topic_alias_maximum_outgoing)",
    ]


def test_convert_to_a_file(tmp_path: Path, capsys: Output) -> None:
    path = written(tmp_path, MOSQUITTO, "mosquitto.conf")
    output = tmp_path / "noctule.toml"
    assert main(["convert", path, "-o", str(output)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["check", "-q", "-c", str(output)]) == 0
    capsys.readouterr()
    before = output.read_text(encoding="utf-8")
    assert main(["convert", path, "-o", str(output)]) == 1
    assert capsys.readouterr().err == f"noctule: cannot write {output}: File exists\n"
    assert output.read_text(encoding="utf-8") == before


def test_convert_what_cannot_be(tmp_path: Path, capsys: Output) -> None:
    """What this version lacks is converted all the same, what nothing says here is reported."""
    path = written(tmp_path, MOSQUITTO + "mount_point a/\nconnection b\nbad 1\n", "mosquitto.conf")
    assert main(["convert", path]) == 1
    printed = capsys.readouterr()
    assert tomli.loads(printed.out)["listeners"][0]["mount_point"] == "a/"
    lines = printed.err.splitlines()
    assert lines[0].startswith(f'{path}:6: not converted: connection: "b" leads nowhere: expected a line address')
    assert lines[1].startswith(f"{path}:7: not converted: bad: unknown directive")
    assert lines[-1] == "noctule: 2 lines could not be converted"


def test_convert_something_else(tmp_path: Path, capsys: Output) -> None:
    path = written(tmp_path, "[limits]\n")
    assert main(["convert", path]) == 1
    assert capsys.readouterr().err == f"noctule: {path} is no mosquitto.conf\n"
    assert main(["convert", str(tmp_path / "none.conf")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[0] == (
        f"{tmp_path}/none.conf: not converted: cannot be read: No such file or directory"
    )
