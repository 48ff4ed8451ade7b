"""A TOML file that is one table of settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from config.reading import written
from noctule.config.options import Option
from noctule.config.problems import ConfigError
from noctule.config.table_files import read_table_file


@dataclass(frozen=True, slots=True)
class Wing:
    span: Annotated[int, Option(minimum=1)]
    later: Annotated[int, Option(later="A third wing")] = 0


@dataclass(frozen=True, slots=True)
class Bat:
    wings: Mapping[str, Wing] = field(default_factory=dict)


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read_table_file(path, Bat)
    return [problem.line("error").replace(f"{path.parent}/", "") for problem in refused.value.problems]


def test_a_table_and_its_places(tmp_path: Path) -> None:
    bat, positions = read_table_file(written(tmp_path, "\n[wings.left]\nspan = 3\n", "bat.toml"), Bat)
    assert bat == Bat({"left": Wing(3)})
    assert positions.place(("wings", "left", "span")).line == 3


def test_included_files(tmp_path: Path) -> None:
    path = written(tmp_path, 'include = "more"\n[wings.left]\nspan = 3\n', "bat.toml")
    written(tmp_path, "[wings.right]\n\nspan = 4\n", "more/one.toml")
    bat, positions = read_table_file(path, Bat)
    assert bat == Bat({"left": Wing(3), "right": Wing(4)})
    assert str(positions.place(("wings", "right", "span"))) == f"{tmp_path}/more/one.toml:3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[wings.left]\nspan = 0\nlater = 1\n[wings.right]\nspam = 1\n[wing]\n",
            [
                "bat.toml:2: error: wings.left.span: expected a whole number, at least 1; got 0",
                "bat.toml:3: error: wings.left.later: A third wing: not available in this version yet",
                'bat.toml:4: error: wings.right: "span" is missing: expected a whole number, at least 1',
                'bat.toml:5: error: wings.right.spam: unknown key; did you mean "span"?',
                'bat.toml:6: error: wing: unknown key; did you mean "wings"?',
            ],
        ),
        ("wings = \n", ["bat.toml:1: error: not TOML: Invalid value (column 9)"]),
        ("\n\xff", ["bat.toml:2: error: byte 0xFF is not UTF-8 text"]),
    ],
)
def test_every_problem_at_once(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert problems(written(tmp_path, text.encode("latin-1"), "bat.toml")) == expected


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert problems(tmp_path / "bat.toml") == ["bat.toml: error: cannot be read: No such file or directory"]
