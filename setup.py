"""Build the wheel: the folders below under one import name, and the Cython modules.

The repository keeps ``broker/``, ``_speedups/`` and ``plugins/`` side by side;
installed they are ``noctule``, ``noctule._speedups`` and ``noctule.plugins``.
``lay_out`` makes ``.root/noctule``, a folder of links that looks like the
installed package, and everything that finds modules by folder (setuptools,
Cython's .pxd search, mypy, pyright, import-linter) is pointed at ``.root``.

Environment: ``NOCTULE_ANNOTATE=1`` writes Cython's annotated HTML beside the C
files; ``NOCTULE_SANITIZE=1`` builds with AddressSanitizer and
UndefinedBehaviourSanitizer.
"""

import os
import subprocess
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).parent.resolve()
PACKAGE = HERE / ".root" / "noctule"

# What is compiled is a decision, so the list is by hand.
COMPILED = [
    "buffers",
    "utf8",
    "codec",
    "message",
    "deadlines",
    "journal",
    "topics",
    "outlet",
    "session",
    "router",
    "link",
    "plain",
    "websocket",
    "census",
    "resting",
]
if sys.platform.startswith("linux"):
    COMPILED.append("reactor")  # epoll; elsewhere every connection is a trio task over a stream

SANITIZE = bool(os.environ.get("NOCTULE_SANITIZE"))
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
COMPILE = ["-O1", "-g", *SANITIZERS] if SANITIZE else ["-O3", "-g0"]
LINK = SANITIZERS if SANITIZE else []


def lay_out() -> None:
    """Make ``.root/noctule`` show the folders as the installed package will."""
    PACKAGE.mkdir(parents=True, exist_ok=True)
    sources = [path for path in (HERE / "broker").iterdir() if path.name != "__pycache__"]
    sources += [HERE / "_speedups", HERE / "plugins"]
    for stale in {path.name for path in PACKAGE.iterdir() if path.is_symlink()} - {path.name for path in sources}:
        (PACKAGE / stale).unlink()
    for source in sources:
        link = PACKAGE / source.name
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(source, PACKAGE), target_is_directory=source.is_dir())


def check_toolchain() -> None:
    """Stop with one plain message where the compiler or Python's headers are missing."""
    builds = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"}
    if os.name == "posix" and builds.intersection(sys.argv):
        script = HERE / "packaging" / "check-toolchain.sh"
        check = subprocess.run(["sh", script, "--no-venv", sys.executable], stdout=subprocess.DEVNULL, check=False)
        if check.returncode:
            sys.exit(1)


check_toolchain()
lay_out()
setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=cythonize(
        [
            Extension(
                f"noctule._speedups.{name}",
                [f".root/noctule/_speedups/{name}.pyx"],
                extra_compile_args=[*COMPILE, "-Wall", "-Wno-unused-function", "-Wno-unreachable-code"],
                extra_link_args=LINK,
            )
            for name in COMPILED
        ],
        build_dir="build/cython",
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "language_level": "3",
            "annotation_typing": False,
            # Raw memory is read through Cursor alone, which checks; the lists and
            # tuples that are indexed keep Cython's own checks.
            "cdivision": True,
            "embedsignature": False,
        },
        annotate=bool(os.environ.get("NOCTULE_ANNOTATE")),
    ),
)
