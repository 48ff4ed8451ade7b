"""A TOML file that is one table of settings: what a plugin reads beside the main configuration."""

from pathlib import Path
from typing import TypeVar

from noctule.config.checking import Checker
from noctule.config.documents import Document, read_toml
from noctule.config.problems import ConfigError, Positions

_Group = TypeVar("_Group")


def read_table_file(path: Path, group: type[_Group]) -> tuple[_Group, Positions]:
    """The file as an instance of a dataclass, and where everything in it was said.

    ConfigError, with every problem there is, where the file cannot be read or is not that.
    """
    document = Document()
    read_toml(path, document)
    checker = Checker(document.positions)
    value = checker.group(document.values, group, ())
    problems = document.problems + checker.problems + checker.not_yet
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.place.source, problem.place.line)))
    return value, document.positions
