"""``noctule convert``: a mosquitto.conf as TOML, and what is different or not safe."""

import argparse
import sys
from pathlib import Path
from typing import Any

from noctule.cli.config_file import counted, print_problems
from noctule.config.loading import Examined, examine, is_mosquitto
from noctule.config.mosquitto_directives import OTHER_DEFAULTS
from noctule.config.options import fields_of
from noctule.config.problems import KeyPath, key_text
from noctule.config.settings import Settings
from noctule.config.toml_text import document_text, field_text
from noctule.hooks.loading import config_of_plugin


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the sub-command."""
    parser = subparsers.add_parser(
        "convert",
        help="write a mosquitto.conf as TOML",
        description="Write what a mosquitto.conf says as TOML, each value with the line that said it, and report what "
        "is different here, what could not be converted, and what was not safe.",
    )
    parser.add_argument("file", metavar="MOSQUITTO_CONF", type=Path)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write there in place of stdout; a new file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert. 0: all of it; 1: some of it could not be, as the report says, or the file could not be written."""
    path: Path = arguments.file
    if path.exists() and not is_mosquitto(path):
        print(f"noctule: {path} is no mosquitto.conf", file=sys.stderr)
        return 1
    examined = examine(path, environment={}, config_of_plugin=config_of_plugin)
    if examined.document.sources:
        text = f"# Written by `noctule convert` from {path}.\n\n{document_text(examined.document)}"
        if arguments.output is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            try:
                with arguments.output.open("x", encoding="utf-8") as file:
                    file.write(text)
            except OSError as error:
                print(f"noctule: cannot write {arguments.output}: {error.strerror or error}", file=sys.stderr)
                return 1
    _report(examined)
    return 1 if examined.problems else 0


def _report(examined: Examined) -> None:
    """Everything that is not as it was, on stderr, the worst first."""
    print_problems(examined.problems, "not converted")
    print_problems(examined.not_yet, "not yet")
    print_problems(examined.warnings, "warning")
    print_problems(examined.document.notes, "differs")
    if not examined.document.sources:
        return
    for directive, theirs, path in OTHER_DEFAULTS:
        if examined.document.positions.find(path) is None:
            ours = _default_text(path)
            print(
                f"differs: {directive} is not set: {theirs} in Mosquitto, {ours} here ({key_text(path)})",
                file=sys.stderr,
            )
    if examined.problems:
        print(f"noctule: {counted(len(examined.problems), 'line')} could not be converted", file=sys.stderr)


def _default_text(path: KeyPath) -> str:
    """Our default for a key, as TOML."""
    group: Any = Settings()
    for key in path:
        field = next(field for field in fields_of(type(group)) if field.key == key)
        group = getattr(group, field.name)
    return field_text(field, group)
