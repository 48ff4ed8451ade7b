"""Every example of docs/access.md is read as a user's file would be, and decides what the page says."""

import re
from pathlib import Path

import pytest
from noctule.api import Access, Client, PluginError
from noctule.config.loading import load
from noctule.plugins.access_file import AccessFile

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = [(kind, text) for kind, text in BLOCKS if kind != "text"]
ROW = re.compile(r"^\| (\S+) \| (publish|receive|subscribe) \| (.+?) \| (allowed|denied)(.*?) \|$", re.MULTILINE)

#: The example that each row of a table is about: the last one that has rules of its own before it.
ROWS = [
    (index, *row.groups())
    for row in ROW.finditer(PAGE)
    for index in [sum(PAGE.index(text) < row.start() for _, text in EXAMPLES) - 1]
]


def read(folder: Path, kind: str, text: str) -> AccessFile:
    """The plugin as the example configures it."""
    (folder / "acl.conf").write_text(text if kind == "acl" else "topic read a\n")
    if kind == "acl":
        return AccessFile(AccessFile.Config(path=folder / "acl.conf"))
    if "[plugins.access_file" not in text.replace("# access.toml; in the configuration: [plugins.access_file]", ""):
        (folder / "access.toml").write_text(text)
        return AccessFile(AccessFile.Config(path=folder / "access.toml"))
    (folder / "noctule.toml").write_text(text)
    settings = load(folder / "noctule.toml", environment={}, config_of_plugin=lambda name: AccessFile.Config).settings
    (plugin,) = settings.plugins
    assert isinstance(plugin.config, AccessFile.Config)
    return AccessFile(plugin.config)


def access_of(plugin: AccessFile, user_name: str | None) -> Access:
    coroutine = plugin.load_access(Client("lamp", user_name, "", "", "", 5))
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    answer: Access = stopped.value.value
    return answer


def test_that_the_examples_are_found() -> None:
    assert [kind for kind, _ in EXAMPLES] == ["toml", "toml", "acl", "toml"]
    assert {index for index, *_ in ROWS} == {0, 2}
    assert len(ROWS) == 20


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_every_example_is_right(tmp_path: Path, kind: str, text: str) -> None:
    read(tmp_path, kind, text)


@pytest.mark.parametrize(("index", "user", "action", "topic", "decision", "more"), ROWS)
def test_every_decision_is_so(
    tmp_path: Path, index: int, user: str, action: str, topic: str, decision: str, more: str
) -> None:
    access = access_of(read(tmp_path, *EXAMPLES[index]), None if user == "(none)" else user)
    if action == "receive":
        assert access.may_receive(topic) is (decision == "allowed")
    elif action == "subscribe":
        assert (access.subscribe_qos_max(topic, None) is not None) is (decision == "allowed")
    else:
        right = access.publish_right(topic)
        assert (right is not None) is (decision == "allowed")
        if right is not None and more:
            assert more == f", QoS {right.qos_max}, {'' if right.retain else 'not '}retained"


def test_the_errors_read_as_they_do(tmp_path: Path) -> None:
    shown = next(text for kind, text in BLOCKS if kind == "text" and "error:" in text)
    path = tmp_path / "acl.conf"
    path.write_text("# one\nuser ann\ntopic raed a\n" + "\n" * 5 + "uzer ann\n")
    with pytest.raises(PluginError) as refused:
        AccessFile(AccessFile.Config(path=path))
    assert str(refused.value).replace(f"{tmp_path}/", "") == shown.rstrip("\n")
