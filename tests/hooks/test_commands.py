"""add_commands: the commands of the plugins that a configuration names."""

from pathlib import Path

import pytest
from noctule.cli.main import main

PLUGIN = """\
from noctule.api import hookimpl


class Plugin:
    @hookimpl
    def add_commands(self, commands):
        parser = commands.add_parser("greet", help="say hello")
        parser.add_argument("name")
        parser.set_defaults(run=self.greet)

    def greet(self, arguments):
        print(f"hello {arguments.name}")
        return 7
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "greeting.py").write_text(PLUGIN, encoding="utf-8")
    path = tmp_path / "noctule.toml"
    path.write_text("[plugins.greeting]\nplugin = 'greeting.py'\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("form", ["-c {}", "--config {}", "--config={}", "-c{}"])
def test_add_commands(form: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*form.format(config).split(), "greet", "ann"]) == 7
    assert capsys.readouterr().out == "hello ann\n"


def test_without_the_configuration_there_is_no_such_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["greet", "ann"])
    assert "invalid choice: 'greet'" in capsys.readouterr().err


def test_help_has_them(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["-c", config, "--help"])
    assert caught.value.code == 0
    assert "say hello" in capsys.readouterr().out


def test_our_own_commands_work_beside_them(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-c", config, "check", "-c", config]) == 0
    capsys.readouterr()
    # One that reads its own command line.
    assert main(["-c", config, "pub", "--help"]) == 0
    assert "--repeat-delay" in capsys.readouterr().out
    assert main([f"--config={config}", "ping", "--help"]) == 0
    assert "--round-trip" in capsys.readouterr().out


def test_a_configuration_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "noctule.toml"
    path.write_text("nonsense = 1\n", encoding="utf-8")
    assert main(["-c", str(path), "greet"]) == 3
    assert f"{path}:1" in capsys.readouterr().err
    path.write_text("[plugins.none]\n", encoding="utf-8")
    assert main(["-c", str(path), "greet"]) == 3
    with pytest.raises(SystemExit):
        main(["-c"])


def test_a_plugin_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "from noctule.api import hookimpl\n\n@hookimpl\ndef add_commands(commands):\n    1 / 0\n"
    (tmp_path / "bad.py").write_text(source, encoding="utf-8")
    path = tmp_path / "noctule.toml"
    path.write_text("[plugins.bad]\nplugin = 'bad.py'\n", encoding="utf-8")
    assert main(["-c", str(path), "greet"]) == 3
    assert capsys.readouterr().err == (
        "noctule: plugin bad: add_commands has failed: ZeroDivisionError('division by zero')\n"
    )
