"""The commands of plugins: ``noctule -c noctule.toml COMMAND ...``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from noctule.cli.config_file import EXIT_BAD_CONFIG, counted, print_problems
from noctule.config.loading import load
from noctule.config.problems import ConfigError
from noctule.hooks.answers import PluginError
from noctule.hooks.loading import config_of_plugin, load_plugins
from noctule.hooks.table import make_table


def add_plugin_commands(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", arguments: Sequence[str]
) -> int | None:
    """Add what the plugins of the configuration at the front of ``arguments`` offer; None, or the exit code where
    they cannot be had, which has been said on stderr then."""
    path = _config_at_front(arguments)
    if path is None:
        return None  # the parser says what is missing
    try:
        hooks = make_table(load_plugins(load(path, config_of_plugin=config_of_plugin).settings.plugins))
    except ConfigError as error:
        print_problems(error.problems, "error")
        print(f"noctule: {counted(len(error.problems), 'error')} in the configuration", file=sys.stderr)
        return EXIT_BAD_CONFIG
    except PluginError as error:
        print(f"noctule: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    for hook in hooks.add_commands:
        try:
            hook.call(subparsers)
        except Exception as error:
            print(f"noctule: plugin {hook.plugin}: add_commands has failed: {error!r}", file=sys.stderr)
            return EXIT_BAD_CONFIG
    return None


def _config_at_front(arguments: Sequence[str]) -> Path | None:
    first = arguments[0]
    if first in ("-c", "--config"):
        return Path(arguments[1]) if len(arguments) > 1 else None
    for prefix in ("--config=", "-c"):
        if first.startswith(prefix):
            return Path(first.removeprefix(prefix))
    return None
