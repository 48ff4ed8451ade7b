"""Whatever a file says, it is read or refused with lines: there is no third way."""

from pathlib import Path
from typing import Any

import pytest
from config.reading import config_of_plugin, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from noctule.config.loading import Examined, examine
from noctule.config.mosquitto_directives import DIRECTIVES
from noctule.config.options import fields_of, is_group, item_of_list
from noctule.config.settings import Settings
from noctule.config.toml_text import document_text, effective_text, toml_value


def keys_of(group: type) -> set[str]:
    found = set()
    for field in fields_of(group):
        found.add(field.key)
        for kind in (field.type, item_of_list(field.type)):
            if is_group(kind):
                found |= keys_of(kind)  # type: ignore[arg-type]
    return found


KEYS = st.sampled_from(sorted(keys_of(Settings) | {"plugins", "include", "tls", "typo"}))
WORDS = st.sampled_from(
    ["memory", "disk", "2MB", "10s", "1h", "*", "::1", "127.0.0.1", "stderr", "", "\0", "websocket", "5"]
)
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 70_000), st.floats(), WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
LINES = st.tuples(
    st.sampled_from(sorted(DIRECTIVES)), st.sampled_from(["true", "0", "5", "/x", "a b", "1883 ::1", "#", "none", "-1"])
)
MANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examined(path: Path, environment: dict[str, str] | None = None) -> Examined:
    result = examine(path, environment=environment or {}, config_of_plugin=config_of_plugin)
    for problem in (*result.problems, *result.not_yet, *result.warnings, *result.document.notes):
        line = problem.line("error")
        assert line.isprintable(), line
        assert len(line) < 2_000
    assert (result.settings is None) == bool(result.problems)
    if result.settings is not None:
        effective_text(result.settings, result.document.positions)
    return result


@MANY
@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_toml(folder: Path, document: dict[str, Any]) -> None:
    text = "\n".join(f"{key} = {toml_value(value)}" for key, value in document.items())
    examined(written(folder, text))


@MANY
@given(st.lists(LINES, max_size=8))
def test_any_directives(folder: Path, lines: list[tuple[str, str]]) -> None:
    """And what comes of them is TOML, with the same settings where there are any."""
    text = "".join(f"{name} {value}\n" for name, value in lines)
    result = examined(written(folder, text, "mosquitto.conf"))
    again = examined(written(folder, document_text(result.document)))
    if result.settings is not None:
        assert again.settings == result.settings


@MANY
@given(st.binary(max_size=200), st.sampled_from(["noctule.toml", "mosquitto.conf", "config"]))
def test_any_bytes(folder: Path, content: bytes, name: str) -> None:
    examined(written(folder, content, name))


@MANY
@given(st.lists(KEYS | st.sampled_from(["0", "1", "7", "x", ""]), min_size=1, max_size=4), WORDS | st.text(max_size=9))
def test_any_variable(folder: Path, keys: list[str], value: str) -> None:
    path = written(folder, "[[listeners]]\nport = 1\n[limits]\nreceive_maximum = 1\n")
    examined(path, {"NOCTULE__" + "__".join(keys).upper(): value})
