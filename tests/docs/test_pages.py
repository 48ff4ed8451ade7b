"""Every command, configuration and program in the documentation is run, as it stands there but for ports and folders.

How a page says what is to be done with a block (its language is the word behind the fence):

- ``toml``, ``conf``: a configuration of ours, or a mosquitto.conf; the loader has to take it. If its first line is a
  comment with a file's name, the file is there for the commands that follow.
- ``sh``: commands, one after the other. ``console``: commands after ``$``, and what they print; ``...`` stands for
  anything. A command that goes on (a broker, a subscriber) gets a terminal of its own, and what it is to print is
  waited for at the end of the page.
- ``python``: a program, with a broker running. ``yaml``, ``json``: read.
- ``text``, or no word: output or a picture; nothing is done. Messages are checked in ``test_messages.py``.

A comment in the line above changes that: ``<!-- not run: why -->``, ``<!-- figures vary -->`` (numbers in what is
printed are not compared), ``<!-- exit code 3 -->`` (of the whole block), ``<!-- of: PROGRAM -->``
(settings of another program), ``<!-- in the log -->`` (lines that the broker has logged by then).
"""

import json
import re

import pytest
import tomli
from docs.pages import PAGES, Block, blocks_of, has_tests_elsewhere, text_of
from docs.settings_of_others import read_settings
from docs.terminal import Machine
from docs.yaml_blocks import read_yaml
from noctule.config.loading import load
from noctule.config.problems import ConfigError
from noctule.hooks.loading import authenticates, config_of_plugin

#: README is run by tests/packaging/test_newcomer.py too, with what it installs; here as it stands, without that.
RUN_HERE = [page for page in PAGES if not has_tests_elsewhere(page)]

#: What a block may be without a mark.
LANGUAGES = {"toml", "conf", "sh", "console", "python", "yaml", "json", "text", ""}

#: In README alone: what installs it.
_INSTALLING = re.compile(r"^(?:pip install|make|git clone|cd) ")

#: What a file of access rules has at its top, and a configuration has not.
RULES = {"users", "groups", "roles", "everybody", "anonymous"}

_SECRET_FILE = re.compile(r'_file = "(\w[\w./-]*)"')


def test_every_page_has_a_test() -> None:
    assert {"README.md", "docs/quick-start.md", "docs/security.md", "docs/operations.md"} <= set(RUN_HERE)


@pytest.mark.parametrize("page", RUN_HERE)
def test_every_block_says_what_it_is(page: str) -> None:
    for block in blocks_of(page):
        assert block.language in LANGUAGES or block.mark, f"{block}: what is to be done with {block.language!r}?"
        assert block.mark != "not run" or len(block.said) > 10, f"{block}: say why it is not run"


@pytest.mark.parametrize("page", [page for page in RUN_HERE if page != "README.md"])
def test_nothing_is_hidden_in_an_indented_block(page: str) -> None:
    """Four blanks make a code block too, which nobody would run here."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"\n\n    \S.*", prose) == []


def take_configuration(machine: Machine, block: Block) -> None:
    """Write the file that is shown; a configuration has to be what the loader takes, with every plugin's own options.

    A file of rules, which a plugin reads, is checked where a command uses it.
    """
    is_mosquitto = block.language == "conf"
    path = machine.write(block.file_name or ("mosquitto.conf" if is_mosquitto else "block.toml"), block.text)
    if not is_mosquitto and RULES & tomli.loads(block.text).keys():
        return
    for secret in _SECRET_FILE.findall(block.text):
        if not (path.parent / secret).exists():
            (path.parent / secret).write_text("secret\n", encoding="utf-8")
            (path.parent / secret).chmod(0o600)
    try:
        load(path, environment={}, config_of_plugin=config_of_plugin, authenticates=authenticates)
    except ConfigError as error:
        pytest.fail(f"{block}: " + "\n".join(problem.line("error") for problem in error.problems))


@pytest.mark.parametrize("page", RUN_HERE)
def test_page(page: str, machine: Machine) -> None:
    """From its first block to its last, on one machine."""
    machine.prepare(page)
    for block in blocks_of(page):
        if block.mark == "not run":
            continue
        if block.mark == "of":
            read_settings(block)  # test_programs.py plays the program
            continue
        match block.language:
            case "toml" | "conf":
                take_configuration(machine, block)
            case "sh":
                if page == "README.md":
                    block = without_installing(block)
                machine.run_script(block)
            case "console":
                machine.run_console(block)
            case "python":
                machine.run_program(block)
            case "text" if block.mark == "in the log":
                machine.log_has(block)
            case "yaml":
                read_yaml(block.text)
            case "json":
                json.loads(block.text)
            case _:
                if block.file_name:
                    machine.write(block.file_name, block.text)
    machine.finish()


def without_installing(block: Block) -> Block:
    lines = [line for line in block.text.splitlines(keepends=True) if not _INSTALLING.match(line)]
    return Block(block.page, block.line, block.language, "".join(lines), block.mark, block.said)
