"""``noctule completion``: the shells themselves complete with what it prints; the manual is taken by man."""

import argparse
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from noctule.cli.command_tree import Command, ValueKind, command_of_options, command_of_parser
from noctule.cli.completion import script
from noctule.cli.main import main, whole_command
from noctule.cli.manual import manual

DEADLINE_S = 20.0


def needs(program: str) -> str:
    """The program's path; the test is skipped where it is not installed."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@pytest.fixture
def command() -> Command:
    return whole_command()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place with files to complete."""
    (tmp_path / "noctule.toml").write_text("", encoding="utf-8")
    (tmp_path / "data").mkdir()
    return tmp_path


def bash(script_text: str, line: str, folder: Path) -> list[str]:
    """What bash offers at the end of the line, sorted."""
    words = line.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    program = (
        f"{script_text}\nCOMP_WORDS=({array}); COMP_CWORD={len(words) - 1}\n"
        # compopt is for bash's own line editor, which is not there.
        "compopt() { :; }\n_noctule noctule; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        [needs("bash"), "--norc", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


def fish(script_text: str, line: str, folder: Path) -> list[str]:
    """What fish offers at the end of the line, sorted, without what it is for."""
    (folder / ".noctule.fish").write_text(script_text, encoding="utf-8")
    done = subprocess.run(
        [needs("fish"), "--no-config", "-c", f"source .noctule.fish; complete -C '{line}'"],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr == ""
    (folder / ".noctule.fish").unlink()
    return sorted(text.split("\t")[0] for text in done.stdout.splitlines() if text)


def zsh(script_text: str, line: str, folder: Path) -> str:
    """The screen of a zsh in which the line was typed, then the tab key."""
    (folder / ".completion.zsh").write_text(script_text, encoding="utf-8")
    process, terminal = pty.fork()
    if process == 0:  # pragma: no cover - another process, which becomes the shell
        os.chdir(folder)
        os.execve(needs("zsh"), ["zsh", "-f", "-i"], {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder)})
    seen = ""
    deadline = time.monotonic() + DEADLINE_S

    def read_until(text: str) -> None:
        nonlocal seen
        while text not in seen:
            readable, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"zsh shows {seen!r}"
            seen += os.read(terminal, 65_536).decode(errors="replace")

    try:
        os.write(
            terminal,
            b"PS1='ready> '; setopt no_beep list_ambiguous; autoload -Uz compinit && compinit -u -D"
            b" && source ./.completion.zsh && echo loa''ded\n",
        )
        read_until("loaded\r\n")
        seen = seen.partition("loaded\r\n")[2]  # what was typed has the prompt in it too
        read_until("ready> ")
        seen = ""
        os.write(terminal, line.encode() + b"\t")
        read_until(line)
        # What is typed next comes after what the completion has shown.
        os.write(terminal, b"@@")
        read_until("@@")
    finally:
        os.kill(process, 9)
        os.close(terminal)
        os.waitpid(process, 0)
    return seen


OFFERS = [
    ("noctule r", {"rr", "run"}),
    ("noctule pas", {"passwd"}),
    ("noctule co", {"config", "convert", "completion"}),
    ("noctule config ", {"example", "schema"}),
    ("noctule store c", {"check"}),
    ("noctule store check --st", {"--store"}),
    ("noctule store check --j", set()),
    ("noctule -c noctule.toml store im", {"import"}),
    ("noctule bench fan-", {"fan-in", "fan-out"}),
    ("noctule pub --cafile noc", {"noctule.toml"}),
    ("noctule sub --capath ", {"data"}),
    ("noctule ping --round", {"--round-trip"}),
    ("noctule top --inter", {"--interval"}),
    ("noctule completion ", {"bash", "zsh", "fish"}),
    ("noctule run --car", {"--carrier"}),
    ("noctule run --carrier ", {"reactor", "streams"}),
    ("noctule run -v --carrier s", {"streams"}),
    ("noctule run --data ", {"data"}),
    ("noctule run -c ", {"noctule.toml", "data"}),
    ("noctule run --config noc", {"noctule.toml"}),
    ("noctule passwd noc", {"noctule.toml"}),
]


@pytest.mark.parametrize(("line", "expected"), OFFERS)
def test_bash(command: Command, line: str, expected: set[str], folder: Path) -> None:
    found = {word for word in bash(script(command, "bash"), line, folder) if not word.startswith("-") or "-" in line}
    assert found == expected


@pytest.mark.parametrize(("line", "expected"), OFFERS)
def test_fish(command: Command, line: str, expected: set[str], folder: Path) -> None:
    found = {word.rstrip("/") for word in fish(script(command, "fish"), line, folder)}
    assert found == expected


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("noctule ru", "noctule run"),
        ("noctule pas", "noctule passwd"),
        ("noctule config sch", "noctule config schema"),
        ("noctule store chec", "noctule store check"),
        ("noctule store stats --js", "--json"),
        ("noctule -c noctule.toml bench fan-i", "bench fan-in"),
        ("noctule pub --cafile noc", "--cafile noctule.toml"),
        ("noctule run --carrier str", "--carrier streams"),
        ("noctule run --config noc", "--config noctule.toml"),
        ("noctule run --data da", "--data data/"),
    ],
)
def test_zsh(command: Command, line: str, shown: str, folder: Path) -> None:
    assert shown in zsh(script(command, "zsh"), line, folder).replace("\x07", "")


def test_bash_offers_every_option(command: Command, folder: Path) -> None:
    text = script(command, "bash")
    for path, one in command.walk():
        offered = bash(text, " ".join([*path, "-"]), folder)
        assert offered == sorted({name for option in one.options for name in option.names}), path


def test_the_commands_of_plugins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are completed where a configuration that names the plugins stands before the command."""
    (folder / "greeter.py").write_text(
        "from noctule.api import hookimpl\n\n"
        "@hookimpl\n"
        "def add_commands(commands):\n"
        "    parser = commands.add_parser('greet', help='say hello')\n"
        "    parser.add_argument('--loudly', action='store_true', help='in capitals')\n",
        encoding="utf-8",
    )
    config = folder / "plugins.toml"
    config.write_text('allow_anonymous = true\n[plugins.greeter]\nplugin = "greeter.py"\n', encoding="utf-8")
    assert main(["-c", str(config), "completion", "bash"]) == 0
    assert bash(capsys.readouterr().out, "noctule greet --l", folder) == ["--loudly"]
    assert main(["completion", "bash"]) == 0
    assert "greet" not in capsys.readouterr().out


def test_the_command_prints_them() -> None:
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [sys.executable, "-m", "noctule", "completion", shell], capture_output=True, text=True, check=True
        )
        assert done.stdout == script(whole_command(), shell)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_texts_cannot_break_out(shell: str, folder: Path) -> None:
    """A summary with everything that a shell could take for its own."""
    parser = argparse.ArgumentParser(prog="noctule")
    parser.add_argument("--x", metavar="A'B:[C]", help='it\'s [one]: $(touch broken) `touch broken` \\ "50 %%"')
    text = script(command_of_parser(parser, "noctule", ""), shell)
    (folder / "script").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [needs(shell), "-n", "script"], cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    if shell == "bash":
        assert bash(text, "noctule --", folder) == ["--help", "--x"]
    if shell == "fish":
        assert fish(text, "noctule --", folder) == ["--help", "--x"]
    assert not (folder / "broken").exists()


def test_options_of_a_table() -> None:
    """A tool that reads its command line without argparse gives a table."""

    class Option:
        def __init__(self, names: str, summary: str, *values: str) -> None:
            self.names, self.summary, self.values = tuple(names.split()), summary, values

    made = command_of_options(
        "sub", "subscribe", [Option("-t --topic", "to this", "topic"), Option("--ca", "x", "file")]
    )
    assert [(option.names, option.value, option.kind) for option in made.options] == [
        (("-t", "--topic"), "TOPIC", ValueKind.TEXT),
        (("--ca",), "FILE", ValueKind.FILE),
        (("--help",), "", ValueKind.TEXT),
        (("--version",), "", ValueKind.TEXT),
    ]


def test_the_manual(command: Command, tmp_path: Path) -> None:
    """man takes the page without a word, and every command and option is on it."""
    page = tmp_path / "noctule.1"
    page.write_text(manual(command, "1.2.3"), encoding="utf-8")
    done = subprocess.run(
        [needs("man"), "--warnings", "-E", "UTF-8", "-l", str(page)],
        env={**os.environ, "MANWIDTH": "200", "MAN_KEEP_FORMATTING": ""},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for path, one in command.walk():
        assert " ".join(path) in done.stdout
        for option in one.options:
            assert ", ".join(option.names) in done.stdout
