"""The option that names a configuration, the plugins that it may name, and how its problems are told."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from noctule.config.problems import Problem

#: The exit code for a configuration that cannot be used, as Mosquitto has it.
EXIT_BAD_CONFIG: Final = 3


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """``-c FILE``."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        help="read the configuration from there: TOML (noctule config example), or a mosquitto.conf as it is",
    )


def print_problems(problems: Iterable[Problem], severity: str) -> None:
    """A line for each, on stderr: file and line first, for people and for editors."""
    for problem in problems:
        print(problem.line(severity), file=sys.stderr)


def counted(number: int, noun: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
