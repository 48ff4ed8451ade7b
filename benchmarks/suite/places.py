"""Where things are: the repository, what was compiled and installed for the benchmarks, and the results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent.parent
REPOSITORY: Final = HERE.parent
BUILD: Final = REPOSITORY / "build" / "benchmarks"
RESULTS: Final = HERE / "results"
DOCUMENT: Final = REPOSITORY / "docs" / "performance.md"


class BenchmarkError(Exception):
    """A broker or a tool cannot be used; the text says why."""


def say(text: str) -> None:
    """Tell the user how things go, apart from the report on standard output."""
    print(text, file=sys.stderr, flush=True)
