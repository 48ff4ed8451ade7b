"""The examples of docs/authentication-web.md are what the plugins take, and its JSON is what they read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomli
from config.reading import written
from noctule.config.loading import load
from noctule.config.options import fields_of
from noctule.config.toml_text import effective_text
from noctule.plugins.anonymous import Anonymous
from noctule.plugins.http import Http
from noctule.plugins.jwt import Jwt
from noctule.plugins.web.client import WebAnswer
from noctule.plugins.web.decision import AnswerForm, Outcome, read_decision
from noctule.plugins.web.json_rules import read_rules
from plugin_support.served import checked

PAGE = (Path(__file__).parents[2] / "docs" / "authentication-web.md").read_text()
PLUGINS: dict[str, Any] = {"anonymous": Anonymous, "http": Http, "jwt": Jwt}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("toml"))
def test_configurations(text: str) -> None:
    for name, table in tomli.loads(text)["plugins"].items():
        plugin = PLUGINS[name]
        config = checked(table, plugin.Config)
        assert isinstance(config, plugin.Config), config
        plugin(config)


def test_what_is_in_effect_can_be_shown_without_secrets(tmp_path: Path) -> None:
    for number, text in enumerate(blocks("toml")):
        path = written(tmp_path, text, f"{number}.toml")
        settings = load(path, environment={}, config_of_plugin=lambda name: PLUGINS[name].Config)
        shown = effective_text(settings.settings, settings.positions)
        assert "[plugins." in shown
        assert "0123456789abcdef" not in shown
        assert "change-me" not in shown


def test_there_are_configurations_of_all() -> None:
    assert {name for text in blocks("toml") for name in tomli.loads(text)["plugins"]} == PLUGINS.keys()


@pytest.mark.parametrize("text", blocks("json"))
def test_json(text: str) -> None:
    members = json.loads(text)
    if "mqtt" in members:
        assert read_rules(members["mqtt"], "mqtt")
        return
    decision = read_decision(WebAnswer(200, "application/json", text.encode()), AnswerForm.AUTO)
    assert decision.outcome is Outcome.ALLOW
    assert decision.rules is not None


def test_there_is_json_of_both() -> None:
    assert {"mqtt" in json.loads(text) for text in blocks("json")} == {True, False}


def test_options_that_the_page_names_exist() -> None:
    known = {field.key for plugin in PLUGINS.values() for field in fields_of(plugin.Config)}
    named = set(re.findall(r"`([a-z_]+)` \(\d", PAGE))
    assert named
    assert named <= known, named - known
