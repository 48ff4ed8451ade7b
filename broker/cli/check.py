"""``noctule check``: whether a configuration can be used, what it comes to, and what of it is not safe."""

import argparse
import sys
import time

from noctule.cli.config_file import EXIT_BAD_CONFIG, add_config_option, counted, print_problems
from noctule.config.limits import CERTIFICATE_WARNING_DAYS
from noctule.config.loading import load
from noctule.config.problems import ConfigError, KeyPath, Positions, Problem
from noctule.config.settings import Settings
from noctule.config.toml_text import effective_text
from noctule.hooks.answers import PluginError
from noctule.hooks.loading import authenticates, config_of_plugin, load_plugins
from noctule.hooks.table import make_table
from noctule.net.tls_contexts import TlsError, TlsServer


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the sub-command."""
    parser = subparsers.add_parser(
        "check",
        help="check a configuration",
        description="Read a configuration as `noctule run` would, say everything that is wrong with it or not safe, "
        "and print what is in effect, with where each value comes from. Without -c: the defaults and the environment.",
    )
    add_config_option(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print only what is wrong or not safe")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check. 0: it can be used, there may be warnings; 3: it cannot."""
    try:
        loaded = load(arguments.config, config_of_plugin=config_of_plugin, authenticates=authenticates)
    except ConfigError as error:
        print_problems(error.warnings, "warning")
        print_problems(error.problems, "error")
        print(f"noctule: {counted(len(error.problems), 'error')} in the configuration", file=sys.stderr)
        return EXIT_BAD_CONFIG
    ending, unusable = _certificates(loaded.settings, loaded.positions)
    print_problems((*loaded.warnings, *ending), "warning")
    if unusable:
        print_problems(unusable, "error")
        print(f"noctule: {counted(len(unusable), 'error')} in the configuration", file=sys.stderr)
        return EXIT_BAD_CONFIG
    try:
        make_table(load_plugins(loaded.settings.plugins))
    except PluginError as error:
        print(f"noctule: error: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    if not arguments.quiet:
        print(effective_text(loaded.settings, loaded.positions), end="")
    return 0


def _certificates(settings: Settings, positions: Positions) -> tuple[list[Problem], list[Problem]]:
    """What is to be said of the listeners' certificates, keys and authorities: what ends soon or has ended, and what
    keeps the broker from starting."""
    ending: list[Problem] = []
    unusable: list[Problem] = []
    for index, listener in enumerate(settings.listeners):
        if listener.tls is None:
            continue
        path: KeyPath = ("listeners", index, "tls")
        try:
            certificates = TlsServer(listener.tls, alpn="mqtt").certificates
        except TlsError as error:
            unusable.append(positions.problem((*path, *error.key), error.problem))
            continue
        for number, certificate in enumerate(certificates):
            days = certificate.days_left(time.time())
            if days > CERTIFICATE_WARNING_DAYS:
                continue
            key: KeyPath = () if number == 0 else ("certificates", number - 1)
            text = f"has ended {-days:.0f} days ago: clients will refuse it" if days < 0 else f"ends in {days:.0f} days"
            said = (*path, *key, "certificate_file")
            ending.append(positions.problem(said, f"{certificate.path}: it {text}"))
    return ending, unusable
