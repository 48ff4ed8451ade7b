"""What these tests share, each made once: the wheel of this tree, and a fresh Debian in a folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging_support.debian_root import make_debian, quick_compiler, release_of_this_machine

ROOT = Path(__file__).parent.parent.parent.parent
NOT_SOURCE = shutil.ignore_patterns(
    ".*cache", "__pycache__", "*.so", "*.egg-info", ".git", ".venv", ".root", "build", "dist", "node_modules"
)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree as one has it who has just got it."""
    folder = tmp_path_factory.mktemp("source") / "noctule"
    shutil.copytree(ROOT, folder, ignore=NOT_SOURCE, symlinks=True)
    return folder


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Built in a copy, since building leaves something in the tree.
    shutil.copytree(source, folder / "source", symlinks=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", str(folder), "./source"],
        cwd=folder,
        env={**os.environ, "CC": str(quick_compiler(folder, sys.executable))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(folder / "source")
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A minimal Debian of this machine's release (NOCTULE_DEBIAN: another). Nobody writes to it: use overlays."""
    release = os.environ.get("NOCTULE_DEBIAN") or release_of_this_machine()
    root = make_debian(release, tmp_path_factory.mktemp("debian") / "root")
    yield root
    shutil.rmtree(root)
