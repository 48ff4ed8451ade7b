"""Where the store in SQLite is: what the command line, the settings and the plugin's own options say of it."""

from pathlib import Path

import pytest
from noctule.api import PluginError
from noctule.cli.main import main
from noctule.config.loading import load
from noctule.hooks.loading import authenticates, config_of_plugin, store_directory, with_store


def directory_of(folder: Path, text: str) -> Path | None:
    path = folder / "noctule.toml"
    path.write_text(text, encoding="utf-8")
    loaded = load(path, environment={}, config_of_plugin=config_of_plugin, authenticates=authenticates)
    return store_directory(with_store(loaded.settings))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data_directory = '/x'", "/x"),
        ("data_directory = '/x'\n[plugins.sqlite_store]\non_corrupt = 'quarantine'", "/x"),
        ("[plugins.sqlite_store]\npath = '/y'", "/y"),
        ("data_directory = '/y'\n[plugins.sqlite_store]\npath = '/y'", "/y"),
        ("durability = 'memory'", None),
        ("[plugins.memory_store]", None),
    ],
)
def test_the_directory(tmp_path: Path, text: str, expected: str | None) -> None:
    assert directory_of(tmp_path, text) == (None if expected is None else Path(expected))


def test_two_directories_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"its path is /y, and data_directory .* is /x: say one of the two"):
        directory_of(tmp_path, "data_directory = '/x'\n[plugins.sqlite_store]\npath = '/y'")


def test_check_prints_rules_of_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables within tables of a plugin are written in a line."""
    path = tmp_path / "noctule.toml"
    path.write_text(
        "[plugins.access_file.users.ann]\nrules = [{topic = 'a/#', allow = ['publish']}]\n", encoding="utf-8"
    )
    path.chmod(0o600)
    assert main(["check", "-c", str(path)]) == 0
    assert 'users = { ann = { rules = [{ topic = "a/#", allow = ["publish"] }] } }' in capsys.readouterr().out
