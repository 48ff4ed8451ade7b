"""Tries the installed package where no sources are: a broker starts, keeps a message, gives it back and stops.

Run by cibuildwheel in each environment that it builds for, and by the tests. Needs nothing but the package.
"""

import importlib
import pkgutil
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DEADLINE_S = 60


def noctule(*words: str) -> str:
    """Run a command to its end; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "noctule", *words], capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    return done.stdout


def main() -> None:
    """Try; an exception says what does not work."""
    speedups = importlib.import_module("noctule._speedups")
    modules = [module.name for module in pkgutil.iter_modules(speedups.__path__)]
    for name in modules:
        file = importlib.import_module(f"noctule._speedups.{name}").__file__
        if file is None or Path(file).suffix == ".py":
            sys.exit(f"noctule._speedups.{name} is not compiled: {file}")
    print(noctule("--version").strip(), f"with {len(modules)} compiled modules, Python", sys.version.split()[0])
    with tempfile.TemporaryDirectory() as data:
        broker = subprocess.Popen(
            [sys.executable, "-m", "noctule", "run", "--listen", "127.0.0.1:0", "--data", data],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if broker.stderr is None:
                sys.exit("there is no output to read")
            for line in broker.stderr:
                if found := re.search(r"mqtt://127\.0\.0\.1:(\d+)", line):
                    break
            else:
                sys.exit("the broker does not start")
            noctule("pub", "-p", found[1], "-t", "wheel", "-m", "works", "-q", "1", "-r")
            if noctule("sub", "-p", found[1], "-t", "wheel", "-C", "1", "-W", "10") != "works\n":
                sys.exit("the message did not come back")
        finally:
            broker.terminate()
            code = broker.wait(DEADLINE_S)
            if broker.stderr is not None:
                broker.stderr.close()
    if code != 0:
        sys.exit(f"the broker ended with {code}")
    print("it works")


if __name__ == "__main__":
    main()
