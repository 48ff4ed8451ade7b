"""docs/command-line.md has every command, every option of ``run``, and every scenario of ``bench``."""

import re

from docs.pages import text_of
from docs.terminal import Machine

PAGE = text_of("docs/command-line.md")

#: Makes files for shells: docs/install.md.
OF_PACKAGES = {"completion"}


def test_every_command_is_in_the_table(machine: Machine) -> None:
    shown = machine.type("noctule --help").partition("commands:")[2]
    commands = set(re.findall(r"^    ([a-z]+) ", shown, re.MULTILINE)) - OF_PACKAGES
    assert len(commands) >= 12
    assert commands <= set(re.findall(r"^\| \[`noctule ([a-z]+)`\]", PAGE, re.MULTILINE))


def test_every_option_of_run_is_in_its_table(machine: Machine) -> None:
    section = PAGE.partition("\n## run\n")[2].partition("\n## ")[0]
    options = set(re.findall(r"--[a-z-]+", machine.type("noctule run --help"))) - {"--help"}
    assert options >= {"--config", "--listen"}
    assert options <= set(re.findall(r"--[a-z-]+", section))


def test_every_scenario_of_bench_is_in_its_table(machine: Machine) -> None:
    shown = machine.type("noctule bench --help").partition("scenarios:")[2].partition("\n\n")[0]
    scenarios = set(re.findall(r"^  ([a-z-]+) ", shown, re.MULTILINE))
    assert len(scenarios) >= 9
    assert scenarios == set(re.findall(r"^\| `([a-z-]+)` \|", PAGE.partition("\n## bench\n")[2], re.MULTILINE))
