"""What the tests of configurations have in common: a file from text, and its problems as lines."""

from pathlib import Path
from typing import Any

from noctule.config.loading import Loaded, load
from noctule.config.problems import ConfigError

#: Plugins that these tests take as installed, with any options.
PLUGINS = ("password_file", "access_file")


def config_of_plugin(name: str) -> type[Any] | None:
    if name in PLUGINS:
        return None
    raise LookupError(f"no plugin of the name {name} is installed")


def written(folder: Path, text: str | bytes, name: str = "noctule.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o600)
    return path


def loaded(path: Path | None, **environment: str) -> Loaded:
    return load(path, environment=environment, config_of_plugin=config_of_plugin)


def errors(path: Path | None, **environment: str) -> list[str]:
    """The problems as they are printed, without the folder; empty where there are none."""
    try:
        loaded(path, **environment)
    except ConfigError as error:
        return [problem.line("error").replace(f"{path.parent}/" if path else "\0", "") for problem in error.problems]
    return []


def warnings(path: Path | None, **environment: str) -> list[str]:
    folder = f"{path.parent}/" if path else "\0"
    return [warning.line("warning").replace(folder, "") for warning in loaded(path, **environment).warnings]
