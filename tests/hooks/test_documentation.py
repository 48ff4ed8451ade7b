"""Every hook has a test and stands in docs/plugins.md with its exact signature; what the page shows is the example."""

import re
from pathlib import Path

import pytest
from hooks.signatures import SIGNATURES
from noctule import api
from noctule.hooks import specs

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")

#: Specified, and called by nothing yet; a test of one of them is reason to take it out of here.
NOT_CALLED_YET: set[str] = set()


def names_of_tests() -> str:
    return "\n".join(
        name
        for path in sorted(Path(__file__).parent.glob("test_*.py"))
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("hook", SIGNATURES)
def test_every_hook_has_a_test_that_is_named_after_it(hook: str) -> None:
    found = re.search(rf"^test_(?:\w+_and_)*{hook}(?:_|$)", names_of_tests(), re.MULTILINE)
    assert (found is not None) == (hook not in NOT_CALLED_YET)


@pytest.mark.parametrize(("hook", "signature"), SIGNATURES.items())
def test_every_hook_is_documented_with_its_exact_signature(hook: str, signature: str) -> None:
    assert f"\n{signature}\n" in PAGE


def test_nothing_else_is_documented_as_a_hook() -> None:
    section = PAGE.partition("## Every hook")[2].partition("\n## ")[0]
    shown = re.findall(r"^(?:async )?def (\w+)\(", section, re.MULTILINE)
    assert sorted(shown) == sorted(SIGNATURES)


def test_every_hook_says_what_it_is_for() -> None:
    for hook in SIGNATURES:
        assert getattr(specs, hook).__doc__


@pytest.mark.parametrize("name", [name for name in api.__all__ if not name.startswith(("Put", "Drop"))])
def test_what_a_plugin_may_import_stands_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE or re.search(rf"\b{name}\b", PAGE)


EXCERPTS = re.findall(r"<!-- from (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("path", "excerpt"), EXCERPTS, ids=[path for path, _ in EXCERPTS])
def test_what_the_page_shows_is_what_the_example_has(path: str, excerpt: str) -> None:
    assert excerpt in (ROOT / path).read_text(encoding="utf-8")


def test_the_page_shows_each_plugin_of_the_example() -> None:
    shown = {Path(path).name for path, _ in EXCERPTS}
    assert shown >= {"users.py", "rooms.py", "log_store.py", "example.toml", "pyproject.toml"}
