"""What is built and installed: a wheel with one top-level name and typed, compiled modules, from a complete sdist."""

import ast
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
NOT_SOURCE = shutil.ignore_patterns(
    ".*cache", "__pycache__", "*.so", "*.egg-info", ".git", ".venv", ".root", "build", "dist", "node_modules"
)

#: Tracked, and of no use to who has the archive: how we are tested, and what was measured on one machine.
LEFT_OUT = re.compile(r"\.ci/|\.gitignore$|\.gitattributes$|benchmarks/results/")


def compiled_modules() -> list[str]:
    """Return the names in setup.py's list, read and not run, since a run would build."""
    names: list[str] = []
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))):
        match node:
            case ast.Assign(targets=[ast.Name("COMPILED")]):
                names += ast.literal_eval(node.value)
            case ast.Call(func=ast.Attribute(ast.Name("COMPILED"), "append")) if sys.platform.startswith("linux"):
                names.append(ast.literal_eval(node.args[0]))
    return names


def call_backend(hook: str, source: Path, out: Path, **environment: str) -> Path:
    """Call the build backend as pip does, in a process of its own, and return the file that it made."""
    out.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.{hook}({str(out)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, made from a copy: what lies in the build folders of this one must not get in."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "copy", ignore=NOT_SOURCE)
    return call_backend("build_sdist", folder / "copy", folder)


@pytest.fixture(scope="module")
def unpacked(sdist: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(sdist.parent, filter="data")
    return sdist.parent / sdist.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(unpacked: Path) -> Path:
    """The wheel, made from the sdist; without optimisation, which takes most of the time and changes no name."""
    compiler = unpacked.parent / "cc-O0"
    usual = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    compiler.write_text(f'#!/bin/sh\nexec {shlex.join(shlex.split(usual))} "$@" -O0\n', encoding="utf-8")
    compiler.chmod(0o755)
    return call_backend("build_wheel", unpacked, unpacked.parent, CC=str(compiler))


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[PurePosixPath]:
    with zipfile.ZipFile(wheel) as archive:
        return [PurePosixPath(name) for name in archive.namelist()]


def test_every_pyx_is_in_the_list() -> None:
    listed = compiled_modules()
    assert listed
    only_linux = set() if sys.platform.startswith("linux") else {"reactor"}
    assert set(listed) == {path.stem for path in (ROOT / "_speedups").glob("*.pyx")} - only_linux


@pytest.mark.parametrize("name", compiled_modules())
def test_the_installed_module_is_the_compiled_one(name: str) -> None:
    module = importlib.import_module(f"noctule._speedups.{name}")
    assert module.__file__ is not None
    assert module.__file__.endswith(SUFFIX)


@pytest.mark.parametrize("name", compiled_modules())
def test_every_compiled_module_has_its_types(name: str) -> None:
    assert (ROOT / "_speedups" / f"{name}.pyi").is_file()


def test_cimports_are_absolute() -> None:
    """``from noctule._speedups.x cimport ...`` is an error where its .pxd is not found; other forms may be untyped."""
    wrong: list[str] = []
    for path in sorted((ROOT / "_speedups").glob("*.p[yx][xd]")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            words = line.split()
            if words[:1] == ["from"] and "cimport" in words and words[1].split(".")[0] in ("", "_speedups"):
                wrong.append(f"{path.name}:{number}: {line.strip()}")
    assert wrong == []


@pytest.mark.parametrize("generic", ["broker", "_speedups", "plugins"])
def test_nothing_imports_by_the_folders_names(generic: str) -> None:
    """``import broker`` from the repository's folder makes a second copy of everything."""
    users: list[str] = []
    for folder in ("broker", "_speedups", "plugins", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Import():
                        imported = [alias.name for alias in node.names]
                    case ast.ImportFrom(module=str(module), level=0):
                        imported = [module]
                    case _:
                        continue
                users += [str(path.relative_to(ROOT)) for name in imported if name.split(".")[0] == generic]
    assert users == []
    assert generic not in sys.modules


@pytest.mark.slow
def test_the_sdist_is_complete(unpacked: Path) -> None:
    for name in ("README.md", "LICENSE", "pyproject.toml", "setup.py", "Makefile", "packaging/check-toolchain.sh"):
        assert (unpacked / name).is_file(), name
    for folder in ("broker", "_speedups", "plugins", "tests"):
        patterns = ("*.py", "*.pyi", "*.pyx", "*.pxd", "py.typed")
        here, there = (
            {
                str(path.relative_to(base))
                for pattern in patterns
                for path in (base / folder).rglob(pattern)
                if "__pycache__" not in path.parts
            }
            for base in (ROOT, unpacked)
        )
        assert there == here
    made = [path for pattern in ("*.so", "*.c", "*.pyc") for path in (unpacked / "_speedups").rglob(pattern)]
    assert made == []
    assert not (unpacked / ".root" / "noctule").exists()


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_every_tracked_file_is_in_the_sdist(unpacked: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    assert tracked
    assert sorted(name for name in tracked if not LEFT_OUT.match(name) and not (unpacked / name).is_file()) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_has_one_name(names: list[PurePosixPath]) -> None:
    top = {name.parts[0] for name in names}
    assert "noctule" in top
    assert {name for name in top if not name.endswith(".dist-info")} == {"noctule"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_holds_what_it_should(names: list[PurePosixPath]) -> None:
    there = {str(name) for name in names}
    expected = {"noctule/py.typed", "noctule/__init__.py", "noctule/_speedups/__init__.py"}
    expected |= {f"noctule/_speedups/{module}{SUFFIX}" for module in compiled_modules()}
    expected |= {f"noctule/_speedups/{path.name}" for path in (ROOT / "_speedups").glob("*.p[yx][id]")}
    for folder, prefix in (("broker", ""), ("plugins", "plugins/")):
        expected |= {f"noctule/{prefix}{path.relative_to(ROOT / folder)}" for path in (ROOT / folder).rglob("*.py")}
    assert expected - there == set()
    assert [str(name) for name in names if name.suffix in (".c", ".pyx", ".o", ".html")] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """Every compiled module of the wheel can be imported from it, and from nowhere else."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    modules = [f"noctule._speedups.{name}" for name in compiled_modules()]
    code = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2:]: print(importlib.import_module(name).__file__)"
    )
    # -P and the path put first keep the source tree out.
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path), *modules],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(tmp_path)) for line in done.stdout.splitlines())
    assert len(done.stdout.splitlines()) == len(modules)
