"""The wheel works by itself."""

import os
import shutil
import subprocess
import sys
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
