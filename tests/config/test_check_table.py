"""``check_table``: what a plugin's options are checked with, for every type that they may have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated

from config.reading import written
from noctule.config.checking import check_table
from noctule.config.loading import load
from noctule.config.options import Duration, Option, Secret, Size
from noctule.config.problems import ConfigError
from noctule.config.toml_text import effective_text


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Config:
    """Options of a plugin."""

    path: Path
    secret: Secret | None = None
    cache: Duration = 300.0
    size: Size = 1_000
    colour: Colour = Colour.RED
    count: Annotated[int, Option("How many.", minimum=1, maximum=9, unsafe_above=5)] = 3
    names: tuple[str, ...] = ()
    inner: Inner | None = None
    rules: tuple[Inner, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    limit: Size | None = None
    either: bool | int = False

    def __post_init__(self) -> None:
        if self.size < self.count:
            raise ValueError('"size" is less than "count"')


def read(tmp_path: Path, text: str, **environment: str) -> Config | list[str]:
    """The options of [plugins.mine], through load and through ``check_table``, which agree."""
    path = written(tmp_path, text)
    try:
        loaded = load(path, environment=environment, config_of_plugin=lambda _: Config)
    except ConfigError as error:
        return [problem.line("error").replace(f"{tmp_path}/", "") for problem in error.problems]
    plugin = loaded.settings.plugins[0]
    again = check_table(plugin.options, Config, plugin.positions)
    assert isinstance(again, Config)
    assert plugin.config == again
    return again


def test_all_types(tmp_path: Path) -> None:
    written(tmp_path, "pst\n", "secret.txt")
    config = read(
        tmp_path,
        """
        [plugins.mine]
        path = "a/b"
        secret_file = "secret.txt"
        cache = "5m"
        size = "2kB"
        colour = "blue"
        count = 9
        names = ["x", "y"]
        inner = { name = "n", weight = 2 }
        headers = { "Content-Type" = "text" }
        limit = "1MiB"
        either = 3
        [[plugins.mine.rules]]
        name = "first"
        [[plugins.mine.rules]]
        name = "second"
        weight = 0.5
        """,
    )
    assert config == Config(
        path=tmp_path / "a/b",
        secret=Secret("pst"),
        cache=300.0,
        size=2_000,
        colour=Colour.BLUE,
        count=9,
        names=("x", "y"),
        inner=Inner("n", 2.0),
        rules=(Inner("first"), Inner("second", 0.5)),
        headers={"Content-Type": "text"},
        limit=1_048_576,
        either=3,
    )


def test_all_errors(tmp_path: Path) -> None:
    text = """
[plugins.mine]
secret = 5
cache = "x"
colour = "rad"
count = 10
names = "x"
inner = { weight = "heavy" }
headers = { a = 1 }
limit = "lots"
either = "both"
pth = "a"
[[plugins.mine.rules]]
nme = "first"
"""
    assert read(tmp_path, text) == [
        'noctule.toml:2: error: plugins.mine: "path" is missing: expected a path in quotes',
        "noctule.toml:3: error: plugins.mine.secret: expected a text in quotes",
        'noctule.toml:4: error: plugins.mine.cache: expected a time such as "500ms", "30s" or "7d"; got "x"',
        'noctule.toml:5: error: plugins.mine.colour: expected one of "red", "blue"; did you mean "red"; got "rad"',
        "noctule.toml:6: error: plugins.mine.count: expected a whole number from 1 to 9; got 10",
        'noctule.toml:7: error: plugins.mine.names: expected an array; got "x"',
        'noctule.toml:8: error: plugins.mine.inner: "name" is missing: expected a text in quotes',
        'noctule.toml:8: error: plugins.mine.inner.weight: expected a number; got "heavy"',
        "noctule.toml:9: error: plugins.mine.headers.a: expected a text in quotes; got 1",
        'noctule.toml:10: error: plugins.mine.limit: expected a size such as "2MB" or "64KiB"; got "lots"',
        'noctule.toml:11: error: plugins.mine.either: expected true or false or a whole number; got "both"',
        'noctule.toml:12: error: plugins.mine.pth: unknown key; did you mean "path"?',
        'noctule.toml:13: error: plugins.mine.rules[0]: "name" is missing: expected a text in quotes',
        'noctule.toml:14: error: plugins.mine.rules[0].nme: unknown key; did you mean "name"?',
    ]


def test_what_fields_say_together(tmp_path: Path) -> None:
    assert read(tmp_path, "[plugins.mine]\npath = 'a'\nsize = 2") == [
        'noctule.toml:1: error: plugins.mine: "size" is less than "count"'
    ]


def test_secrets(tmp_path: Path) -> None:
    empty = written(tmp_path, "\n", "empty.txt")
    table = "[plugins.mine]\npath = 'a'\n"
    prefix = "noctule.toml:3: error: plugins.mine.secret_file: "
    assert read(tmp_path, f"{table}secret_file = 'none.txt'") == [
        f"{prefix}cannot read none.txt: No such file or directory"
    ]
    assert read(tmp_path, f"{table}secret_file = 'empty.txt'") == [f"{prefix}empty.txt is empty"]
    assert read(tmp_path, f"{table}secret_file = 5") == [f"{prefix}expected a path in quotes"]
    assert read(tmp_path, f"{table}secret_file = 'empty.txt'\nsecret = 's'") == [
        f'{prefix}"secret" is given as well: one of the two'
    ]
    empty.write_bytes(b"\xff\n")
    assert read(tmp_path, f"{table}secret_file = 'empty.txt'") == [f"{prefix}empty.txt is not UTF-8 text"]
    assert read(tmp_path, table, NOCTULE__PLUGINS__MINE__SECRET="5") == Config(tmp_path / "a", Secret("5"))
    written(tmp_path, "from a file", "s.txt")
    assert read(tmp_path, table, NOCTULE__PLUGINS__MINE__SECRET_FILE=str(tmp_path / "s.txt")) == Config(
        tmp_path / "a", Secret("from a file")
    )


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path, "[plugins.mine]\npath = 'a'\nsecret = 'pst'\ncount = 6")
    loaded = load(path, environment={}, config_of_plugin=lambda _: Config)
    assert "pst" not in effective_text(loaded.settings, loaded.positions)
    assert "pst" not in repr(loaded.settings)
    assert f"count = 6  # {path}:4" in effective_text(loaded.settings, loaded.positions)
    without_type = load(path, environment={}, config_of_plugin=lambda _: None)
    assert "pst" not in effective_text(without_type.settings, without_type.positions)
    path.chmod(0o644)
    warnings = [
        warning.line("warning") for warning in load(path, environment={}, config_of_plugin=lambda _: Config).warnings
    ]
    assert warnings == [
        f"{path}: warning: the file has secrets in it and can be read by everybody (mode 0644): chmod 600 it, or 640 "
        "with the broker's group",
        f"{path}:4: warning: plugins.mine.count: 6 is a lot: up to 5 is reasonable",
    ]
