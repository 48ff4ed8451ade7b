"""The pages of the documentation, and the code blocks in them with what is to be done with each."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

#: Every page there is, by its path from the root.
PAGES: Final = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))

_FENCE: Final = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK: Final = re.compile(r"<!-- (not run|figures vary|exit code|in the log|of)(?:: ?| )?(.*?) ?-->\n\Z")

#: A file that the block shows: its first line is its name as a comment.
_FILE: Final = re.compile(r"^# ([\w./-]+\.(?:toml|conf|acl|yaml|passwd))\n")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str

    #: The word of the comment in the line above ("not run"), and what it says; both empty where there is none.
    mark: str
    said: str

    @property
    def file_name(self) -> str:
        """The file whose content the block is; empty where it is none."""
        named = _FILE.match(self.text)
        return named[1] if named is not None else ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    """A page as it stands in the tree."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    text = text_of(page)
    found = []
    for fence in _FENCE.finditer(text):
        mark = _MARK.search(text, 0, fence.start())
        line = text.count("\n", 0, fence.start()) + 1
        word, said = (mark[1], mark[2]) if mark is not None else ("", "")
        found.append(Block(page, line, fence[1], fence[2], word, said))
    return found


def without_blocks(text: str) -> str:
    """The prose of a page: what is in fences or in code spans is no link and no heading."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


#: Pages that are taken apart beside the code that they are about, and by which tests.
BESIDE_THE_CODE: Final = {
    "docs/container.md": "packaging/test_documents.py",
    "docs/http-api.md": "services/test_docs.py",
    "docs/install.md": "packaging/test_documents.py",
    "docs/logging.md": "services/test_docs.py",
    "docs/monitoring.md": "services/test_docs.py",
    "docs/systemd.md": "packaging/test_documents.py",
}


def has_tests_elsewhere(page: str) -> bool:
    """Whether a test beside the code takes the page apart: it is known to, or names the file."""
    if page in BESIDE_THE_CODE:
        return True
    name = f'"{Path(page).name}"'
    here = Path(__file__).parent
    return page != "README.md" and any(
        name in path.read_text(encoding="utf-8") for path in here.parent.rglob("test_*.py") if here not in path.parents
    )
