"""What packaging/check-toolchain.sh says on machines that lack something; the machines are folders of small scripts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "packaging" / "check-toolchain.sh"
SH = shutil.which("sh") or "/bin/sh"

OLD_PYTHON = "exit 1"
PYTHON = f'exec {sys.executable} "$@"'
PYTHON_WITHOUT_VENV = f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
COMPILER = "exit 0"
COMPILER_WITHOUT_HEADERS = 'case "$*" in *-I*) exit 1;; esac; exit 0'


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """An empty folder that will be the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def install(machine: Path, name: str, script: str) -> None:
    (machine / name).write_text(f"#!{SH}\n{script}\n", encoding="utf-8")
    (machine / name).chmod(0o755)


def check(machine: Path, *arguments: str, cc: str | None = "cc") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(machine)} | ({"CC": cc} if cc else {})
    return subprocess.run(
        [SH, str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=20, check=False
    )


def lacks(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what the message lists as lacking; it must be short and name a command for each distribution."""
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) <= 8
    for command in ("apt-get install", "dnf install", "apk add"):
        assert any(command in line for line in lines)
    return [line.removeprefix("  - ") for line in lines if line.startswith("  - ")]


def test_this_machine_lacks_nothing() -> None:
    done = subprocess.run([SH, str(SCRIPT), sys.executable], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{sys.executable}\n", "")


def test_an_empty_machine(machine: Path) -> None:
    wanting = lacks(check(machine, cc=None))
    assert len(wanting) == 2
    assert "Python 3.11 or newer" in wanting[0]
    assert "C compiler" in wanting[1]


def test_a_python_too_old(machine: Path) -> None:
    install(machine, "python3", OLD_PYTHON)
    install(machine, "cc", COMPILER)
    assert [line for line in lacks(check(machine)) if "Python 3.11 or newer" in line]


def test_a_newer_python_beside_an_old_one_is_found(machine: Path) -> None:
    install(machine, "python3", OLD_PYTHON)
    install(machine, "python3.12", PYTHON)
    install(machine, "cc", COMPILER)
    done = check(machine)
    assert (done.returncode, done.stdout, done.stderr) == (0, "python3.12\n", "")


def test_no_venv_module(machine: Path) -> None:
    install(machine, "python3.12", PYTHON_WITHOUT_VENV)
    install(machine, "cc", COMPILER)
    done = check(machine)
    assert lacks(done) == ["Python's venv module"]
    assert "python3.12-venv" in done.stderr
    assert check(machine, "--no-venv").returncode == 0


def test_no_compiler(machine: Path) -> None:
    install(machine, "python3", PYTHON)
    (wanting,) = lacks(check(machine, cc="no-such-compiler"))
    assert "C compiler" in wanting
    assert "no-such-compiler" in wanting


def test_no_python_header(machine: Path) -> None:
    install(machine, "python3", PYTHON)
    install(machine, "cc", COMPILER_WITHOUT_HEADERS)
    done = check(machine)
    (wanting,) = lacks(done)
    assert "Python.h" in wanting
    assert "python3-dev" in done.stderr


def test_the_build_ends_with_the_message() -> None:
    """What ``pip install .`` calls stops before anything is compiled, without a traceback."""
    environment = {**os.environ, "CC": "no-such-compiler"}
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--dry-run"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "no-such-compiler" in done.stderr
    assert "Traceback" not in done.stderr
