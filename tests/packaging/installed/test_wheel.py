"""The wheel works by itself, and a release has one for each Python and machine."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.mark.timeout(400)
def test_it_works_by_itself(wheel: Path, tmp_path: Path) -> None:
    """In a fresh environment, from an empty folder: as cibuildwheel tries it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def run(*words: str, folder: Path) -> str:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", str(tmp_path / "venv"), folder=tmp_path)
    python = str(tmp_path / "venv/bin/python")
    run(python, "-m", "pip", "install", "-q", str(wheel), folder=tmp_path)
    script = shutil.copy(ROOT / "packaging/try_wheel.py", tmp_path)
    (tmp_path / "empty").mkdir()
    assert run(python, "-W", "error", str(script), folder=tmp_path / "empty").endswith("it works\n")


def test_the_wheels_of_a_release(tmp_path: Path) -> None:
    """As cibuildwheel understands its configuration; building them needs Docker."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv/bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", "cibuildwheel>=3.1,<5"], check=True)
    promised = [
        name.rpartition(" :: 3.")[2]
        for name in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
        if name.startswith("Programming Language :: Python :: 3.")
    ]
    for machine in ("x86_64", "aarch64"):
        words = ["cibuildwheel", "--platform", "linux", "--archs", machine, "--print-build-identifiers"]
        done = subprocess.run([python, "-m", *words, str(ROOT)], capture_output=True, text=True, check=False)
        expected = [f"cp3{minor}-{libc}_{machine}" for minor in promised for libc in ("manylinux", "musllinux")]
        assert (done.returncode, sorted(done.stdout.split())) == (0, sorted(expected)), done.stderr
