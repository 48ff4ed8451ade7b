"""docs/bridges.md: its examples are configurations that say the same, and no option is missing."""

import re
from pathlib import Path

import pytest
from config.reading import loaded, written
from noctule.bridges.remote import BridgeError, prepare
from noctule.config.bridges import BridgeSettings
from noctule.config.options import fields_of, is_group, item_of_list
from noctule.config.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "bridges.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
(OF_MOSQUITTO,) = re.findall(r"```mosquitto\n(.*?)```", PAGE, re.DOTALL)


def read(text: str, folder: Path, name: str = "noctule.toml") -> Settings:
    (folder / "cloud.password").write_text("secret\n")
    return loaded(written(folder, text, name)).settings


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example(number: int, tmp_path: Path) -> None:
    (bridge,) = read(EXAMPLES[number], tmp_path).bridges
    try:
        assert prepare(bridge).routes
    except BridgeError as error:
        assert "No such file" in str(error)  # noqa: PT017 the certificates of the example


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    (ours,) = read(EXAMPLES[0], tmp_path).bridges
    (theirs,) = read(OF_MOSQUITTO, tmp_path, "mosquitto.conf").bridges
    assert ours.topics == theirs.topics
    assert ours.remote_password == theirs.remote_password
    assert [str(one.address) for one in prepare(ours).routes] == [str(one.address) for one in prepare(theirs).routes]


def test_no_option_is_missing() -> None:
    def look(group: type) -> None:
        for field in fields_of(group):
            inner = type(field.default) if is_group(type(field.default)) else item_of_list(field.type)
            if is_group(inner):
                assert isinstance(inner, type)
                look(inner)
            else:
                assert re.search(rf"\b{re.escape(field.key)}\b", PAGE), field.key

    look(BridgeSettings)
