"""Every link in the documentation leads somewhere, every page is reached from the index, and so is every section."""

import re
from pathlib import Path

import pytest
from docs.pages import PAGES, ROOT, text_of, without_blocks

INDEX = "docs/README.md"

#: Pages beside these that have links to them.
OTHERS = ("CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")

#: Pages that are about to come with what they describe.
COMING = {"bridges.md", "performance.md"}


def links_of(page: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", without_blocks(text_of(page)))


def anchors_of(path: Path) -> set[str]:
    """The names under which headings are reached, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.*?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_links_lead_somewhere(page: str) -> None:
    for link in links_of(page):
        if re.match(r"(?:https?|mailto):", link):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        if path.name in COMING and not path.exists():
            continue
        assert path.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors_of(path), f"{page}: {link}"


def test_the_index_has_every_page() -> None:
    named = {f"docs/{link.partition('#')[0]}" for link in links_of(INDEX)}
    assert named >= {page for page in PAGES if page.startswith("docs/")} - {INDEX}


def test_the_readme_leads_to_the_index() -> None:
    assert "docs/README.md" in links_of("README.md")
