"""Run the ``main`` of a script many times, with another failure each time: see ``disk.trace_all``."""

import contextlib
import ctypes
import io
import runpy
import sys
from pathlib import Path


def run_all(script: str, folder: str, failures: str, *arguments: str) -> None:
    """Each run has its own directory, and leaves its exit code and what it printed in a file beside it."""
    start = ctypes.CDLL(None).disk_trace_start
    start.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_longlong)
    main = runpy.run_path(script)["main"]
    for index, failure in enumerate(failures.split(",")):
        directory = Path(folder) / str(index)
        directory.mkdir()
        room = int(failure.removeprefix("room ")) if failure.startswith("room ") else -1
        printed = io.StringIO()
        start(
            str(directory).encode(),
            f"{directory}.trace".encode(),
            b"" if room >= 0 else failure.encode(),
            room,
        )
        with contextlib.redirect_stderr(printed):
            code = main(str(directory), *arguments)
        start(b"", b"", b"", -1)
        Path(f"{directory}.result").write_text(f"{code}\n{printed.getvalue()}")


if __name__ == "__main__":
    run_all(*sys.argv[1:])
