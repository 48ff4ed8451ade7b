"""Finding plugins by name, entry point and file; making them; and what is said of those that cannot be had."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
from noctule.config.loading import load
from noctule.config.problems import ConfigError, Positions
from noctule.config.settings import PluginSettings
from noctule.hooks.answers import PluginError
from noctule.hooks.loading import BUILT_IN, config_of_plugin, load_plugins

DISTRIBUTION = """\
Metadata-Version: 2.1
Name: {name}
Version: 1.2
"""

AUTH = '''\
"""A plugin of a test."""

from dataclasses import dataclass
from noctule.api import Allow, PluginError, hookimpl


@dataclass(frozen=True)
class Config:
    users: int
    greeting: str = "hello"


class Gate:
    Config = Config

    def __init__(self, config):
        if config.users == 13:
            raise PluginError("thirteen users are too many")
        if config.users == 14:
            raise RuntimeError("boom")
        self.config = config

    @hookimpl
    async def authenticate(self, client):
        return Allow()


class Bare:
    pass


class Odd:
    Config = 7
'''


def wanted(name: str, plugin: str = "", config: object = None) -> PluginSettings:
    return PluginSettings(name, plugin or name, {}, Positions({}), config)


def refusal_of(plugin: str, config: object = None) -> str:
    with pytest.raises(PluginError) as caught:
        load_plugins([wanted("mine", plugin, config)])
    return str(caught.value)


@dataclass
class Installed:
    """A folder on ``sys.path`` with distributions that are not really there."""

    folder: Path
    modules: list[str] = field(default_factory=list)

    def distribution(self, name: str, module: str, source: str, *entries: str) -> None:
        info = self.folder / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(DISTRIBUTION.format(name=name), encoding="utf-8")
        (info / "entry_points.txt").write_text("[noctule.plugins]\n" + "\n".join(entries) + "\n", encoding="utf-8")
        (self.folder / f"{module}.py").write_text(source, encoding="utf-8")
        self.modules.append(module)
        importlib.invalidate_caches()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    found = Installed(folder)
    yield found
    for module in found.modules:
        sys.modules.pop(module, None)


# --- entry points ---


def test_an_entry_point(installed: Installed) -> None:
    installed.distribution("acme-gate", "acme_gate", AUTH, "gate = acme_gate:Gate", "bare = acme_gate:Bare")
    config_type = config_of_plugin("gate")
    (gate,) = load_plugins([wanted("front", "gate", config_type(users=2))])
    assert (gate.name, gate.origin) == ("front", "acme-gate 1.2")
    assert gate.implementation.config == config_type(2, "hello")  # type: ignore[attr-defined]
    assert gate.config == config_type(2, "hello")
    (bare,) = load_plugins([wanted("bare")])
    assert bare.config is None


def test_only_what_is_named_is_imported(installed: Installed) -> None:
    installed.distribution("acme-gate", "acme_gate", AUTH, "gate = acme_gate:Gate")
    installed.distribution("acme-bomb", "acme_bomb", "raise RuntimeError", "bomb = acme_bomb:Bomb")
    config_of_plugin("gate")
    assert "acme_bomb" not in sys.modules


def test_one_plugin_under_two_names(installed: Installed) -> None:
    installed.distribution("acme-gate", "acme_gate", AUTH, "gate = acme_gate:Gate")
    config_type = config_of_plugin("gate")
    both = load_plugins([wanted("a", "gate", config_type(1)), wanted("b", "gate", config_type(2))])
    assert [(one.name, one.implementation.config.users) for one in both] == [("a", 1), ("b", 2)]  # type: ignore[attr-defined]


def test_two_distributions_with_one_name(installed: Installed) -> None:
    installed.distribution("acme-gate", "acme_gate", AUTH, "gate = acme_gate:Gate")
    installed.distribution("best-gate", "best_gate", AUTH, "gate = best_gate:Gate")
    text = refusal_of("gate")
    assert text.startswith("plugin mine: several distributions offer a plugin gate: ")
    assert "acme-gate 1.2" in text
    assert "best-gate 1.2" in text


def test_an_entry_point_that_cannot_be_imported(installed: Installed) -> None:
    installed.distribution("acme-gate", "acme_gate", "import nothing_like_this", "gate = acme_gate:Gate")
    assert refusal_of("gate") == (
        "plugin mine: acme-gate 1.2 cannot be imported: ModuleNotFoundError(\"No module named 'nothing_like_this'\")"
    )


def test_an_entry_point_to_what_is_not_there(installed: Installed) -> None:
    installed.distribution("acme-gate", "acme_gate", AUTH, "gate = acme_gate:Gaet")
    text = refusal_of("gate")
    assert text.startswith("plugin mine: acme-gate 1.2 cannot be imported: AttributeError(")
    assert "Gaet" in text


def test_a_name_that_nobody_has(installed: Installed) -> None:
    installed.distribution("acme-gate", "acme_gate", AUTH, "gate = acme_gate:Gate")
    assert refusal_of("gatee") == "plugin mine: no plugin of the name gatee is installed; did you mean gate?"
    assert refusal_of("password-file").endswith("did you mean password_file?")
    there_are = ", ".join(sorted([*BUILT_IN, "gate"]))
    assert refusal_of("xyzzy") == (
        f"plugin mine: no plugin of the name xyzzy is installed; there are {there_are}, and files that end in .py"
    )


# --- built-in plugins ---


def test_a_built_in_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("noctule.plugins.anonymous")
    module.Anonymous = type("Anonymous", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "noctule.plugins.anonymous", module)
    (plugin,) = load_plugins([wanted("anonymous")])
    assert (plugin.origin, type(plugin.implementation)) == ("built in", module.Anonymous)


@pytest.mark.parametrize("name", ["jwt", "http"])
def test_a_built_in_plugin_without_what_it_needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"noctule.plugins.{name}", None)
    text = refusal_of(name)
    assert text.startswith(f"plugin mine: the plugin {name} cannot be imported: ")
    assert text.endswith(f"; install it with: pip install 'noctule[{name}]'")


def test_the_names_of_built_in_plugins_are_those_of_their_modules() -> None:
    assert all(place.partition(":")[0] == name for name, place in BUILT_IN.items())


# --- files ---


def test_a_file_with_a_class_of_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "gate.py"
    path.write_text(AUTH, encoding="utf-8")
    config_type = config_of_plugin(f"{path}:Gate")
    (plugin,) = load_plugins([wanted("mine", f"{path}:Gate", config_type(3))])
    assert plugin.implementation.config.users == 3  # type: ignore[attr-defined]
    assert plugin.origin == str(path)


def test_a_file_is_run_once(tmp_path: Path) -> None:
    """Otherwise the options would be of another class after a reload, and equal to none of before."""
    path = tmp_path / "gate.py"
    path.write_text(AUTH, encoding="utf-8")
    assert config_of_plugin(f"{path}:Gate") is config_of_plugin(f"{tmp_path}/./gate.py:Gate")
    (plugin,) = load_plugins([wanted("mine", f"{path}:Gate", config_of_plugin(f"{path}:Gate")(3))])
    assert plugin.implementation.config == config_of_plugin(f"{path}:Gate")(3)  # type: ignore[attr-defined]


def test_two_files_of_one_name_are_two(tmp_path: Path) -> None:
    found = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "one.py"
        path.write_text(f"class Plugin:\n    where = {folder!r}\n", encoding="utf-8")
        found += load_plugins([wanted(folder, str(path))])
    assert [one.implementation.where for one in found] == ["a", "b"]  # type: ignore[attr-defined]


def test_the_class_plugin_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text("class Plugin:\n    pass\n", encoding="utf-8")
    (plugin,) = load_plugins([wanted("one", str(path))])
    assert type(plugin.implementation).__name__ == "Plugin"


def test_a_file_without_classes_is_a_plugin_itself(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(
        "from noctule.api import hookimpl\n\n@hookimpl\ndef client_connected(client):\n    pass\n", encoding="utf-8"
    )
    (plugin,) = load_plugins([wanted("one", str(path))])
    assert isinstance(plugin.implementation, ModuleType)


def test_a_module_has_nowhere_to_get_options_from(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text("class Config:\n    pass\n", encoding="utf-8")
    assert refusal_of(str(path)) == (
        f"plugin mine: {path} has a Config, and nowhere to get it: a plugin with options is a class"
    )


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        (None, "none.py", "plugin mine: there is no file {folder}/none.py"),
        ("1 / 0", "bad.py", "plugin mine: {folder}/bad.py cannot be imported: ZeroDivisionError('division by zero')"),
        ("x = 1", "few.py:Gate", "plugin mine: {folder}/few.py has no Gate"),
        (AUTH, "odd.py:Odd", "plugin mine: {folder}/odd.py: its Config is no dataclass"),
    ],
    ids=["missing", "raises", "no class", "config"],
)
def test_files_that_cannot_be_used(source: str | None, name: str, expected: str, tmp_path: Path) -> None:
    if source is not None:
        (tmp_path / name.partition(":")[0]).write_text(source, encoding="utf-8")
    assert refusal_of(f"{tmp_path}/{name}") == expected.format(folder=tmp_path)


def test_a_file_that_failed_can_be_mended(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text("1 / 0\n", encoding="utf-8")
    refusal_of(str(path))
    path.write_text("class Plugin:\n    is_mended = True\n", encoding="utf-8")
    (plugin,) = load_plugins([wanted("one", str(path))])
    assert plugin.implementation.is_mended  # type: ignore[attr-defined]


# --- making them ---


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        (13, "plugin mine ({path}): thirteen users are too many"),
        (14, "plugin mine ({path}): cannot be made: RuntimeError('boom')"),
    ],
)
def test_a_plugin_that_refuses_its_options(users: int, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "gate.py"
    path.write_text(AUTH, encoding="utf-8")
    config = config_of_plugin(f"{path}:Gate")(users)
    assert refusal_of(f"{path}:Gate", config) == expected.format(path=path)


# --- through a configuration ---


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environment={}, config_of_plugin=config_of_plugin)
    return [f"{Path(problem.place.source).name}:{problem.place.line}: {problem}" for problem in caught.value.problems]


def test_options_are_typed_and_the_path_is_meant_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text(AUTH, encoding="utf-8")
    path = tmp_path / "noctule.toml"
    path.write_text("[plugins.gate]\nplugin = 'gate.py:Gate'\nusers = 5\n", encoding="utf-8")
    (plugin,) = load_plugins(load(path, environment={}, config_of_plugin=config_of_plugin).settings.plugins)
    assert plugin.implementation.config.users == 5  # type: ignore[attr-defined]


def test_options_are_checked_as_our_own(tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text(AUTH, encoding="utf-8")
    path = tmp_path / "noctule.toml"
    path.write_text("[plugins.gate]\nplugin = 'gate.py:Gate'\nusers = 'x'\ngreting = 'y'\n", encoding="utf-8")
    first, second = problems_of(path)
    assert first.startswith("noctule.toml:3: plugins.gate.users: ")
    assert second.startswith("noctule.toml:4: plugins.gate.greting: ")
    assert "greeting" in second


def test_options_of_a_type_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text(AUTH.replace("users: int", "users: list[int]"), encoding="utf-8")
    path = tmp_path / "noctule.toml"
    path.write_text("[plugins.gate]\nplugin = 'gate.py:Gate'\nusers = [1]\n", encoding="utf-8")
    (problem,) = problems_of(path)
    assert "no option may have the type list[int]" in problem
    assert "its author's fault" in problem


def test_options_of_a_plugin_without_any_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text(AUTH, encoding="utf-8")
    path = tmp_path / "noctule.toml"
    path.write_text("[plugins.bare]\nplugin = 'gate.py:Bare'\npasword = 'x'\n", encoding="utf-8")
    (problem,) = problems_of(path)
    assert problem.startswith("noctule.toml:3: plugins.bare.pasword: unknown key")
