"""docs/configuration.md is what the types of the configuration say, and has every option of them."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from docs.pages import ROOT, text_of
from noctule.config.mosquitto_directives import DIRECTIVES
from noctule.config.options import fields_of
from noctule.config.settings import Limits, Settings
from noctule.config.toml_text import example_text


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    """``packaging/configuration_reference.py``, which belongs to no package."""
    name = "configuration_reference"
    found = importlib.util.spec_from_file_location(name, ROOT / "packaging" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    yield module
    del sys.modules[name]


def test_the_page_is_what_the_types_say(generator: ModuleType) -> None:
    assert text_of("docs/configuration.md") == generator.page(), "run python packaging/configuration_reference.py"


def test_it_does_not_depend_on_who_makes_it(generator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert text_of("docs/configuration.md") == generator.page()


def test_every_option_of_the_example_is_there() -> None:
    keys = set(re.findall(r"^#?([a-z_0-9]+) = ", example_text(), re.MULTILINE))
    assert len(keys) > 80
    rows = set(re.findall(r"^\| `([a-z_0-9]+)` \|", text_of("docs/configuration.md"), re.MULTILINE))
    assert keys <= rows


def test_every_directive_is_there() -> None:
    section = text_of("docs/configuration.md").partition("## mosquitto.conf, directive by directive")[2]
    assert set(re.findall(r"`([\w.]+)`", section)) >= DIRECTIVES.keys()


def test_a_row_says_all_there_is(generator: ModuleType) -> None:
    """Kind with bounds, default with unit, meaning, reload, Mosquitto's name."""
    names = generator.directives_by_key()
    field = next(field for field in fields_of(Limits) if field.key == "max_queued_bytes")
    assert generator._row(field, ("limits", "max_queued_bytes"), names) == (
        '| `max_queued_bytes` | size, 1KiB to 1000GB | `"16MiB"` | The same in bytes: topic, properties and payload. '
        "| yes | `max_queued_bytes` |"
    )
    field = next(field for field in fields_of(Settings) if field.key == "durability")
    assert generator._row(field, ("durability",), names).endswith("| restart | `persistence` |")


def test_names_of_mosquitto_are_what_its_reader_makes_of_them(generator: ModuleType) -> None:
    names = generator.directives_by_key()
    assert names["listeners", "tls", "key_file"] == ["keyfile"]
    assert names["listeners", "port"] == ["listener", "port", "bind_address"]
    assert names["plugins", "access_file", "path"] == ["acl_file"]
    assert names["allow_anonymous",] == ["allow_anonymous"]


def test_every_sample_is_of_a_directive(generator: ModuleType) -> None:
    assert generator.SAMPLES.keys() | generator.STRUCTURE.keys() <= DIRECTIVES.keys()
