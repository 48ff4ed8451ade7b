"""What the pages tell other programs, read in the language of each."""

import json
from collections.abc import Callable
from typing import Any, Final

import tomli
from docs.pages import Block
from docs.yaml_blocks import read_yaml

_READERS: Final[dict[str, Callable[[str], Any]]] = {"yaml": read_yaml, "json": json.loads, "toml": tomli.loads}


def read_settings(block: Block) -> Any:
    """The settings in a block; an error of the language's where it is none of its."""
    return _READERS[block.language](block.text)
