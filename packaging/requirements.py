"""Prints requirements that pyproject.toml names, one a line: those of the build, or those of one extra.

requirements.py build-system | test | lint
"""

import sys
import tomllib
from pathlib import Path


def requirements(name: str) -> list[str]:
    """Return the build's requirements for ``build-system``, else those of the extra called so."""
    pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[str] = (
        pyproject["build-system"]["requires"]
        if name == "build-system"
        else pyproject["project"]["optional-dependencies"][name]
    )
    return found


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1])))
