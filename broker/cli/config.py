"""``noctule config``: what can be configured, as an example and as a schema."""

import argparse
import json

from noctule.config.schema import schema
from noctule.config.toml_text import example_text


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the sub-command and its own."""
    parser = subparsers.add_parser(
        "config",
        help="show what can be configured",
        description="Show every option there is: as a file to begin with, or as a JSON schema for editors.",
    )
    shown = parser.add_subparsers(title="what to show", metavar="WHAT", required=True)
    example = shown.add_parser(
        "example",
        help="a configuration with every option, its default and what it is for",
        description="Print a configuration with every option, its default and what it is for: "
        "noctule config example > noctule.toml",
    )
    example.set_defaults(run=run_example)
    described = shown.add_parser(
        "schema",
        help="a JSON schema, for editors",
        description="Print the JSON schema of the configuration, with which editors complete and check: "
        "noctule config schema > noctule.schema.json, and as the first line of the configuration "
        "#:schema ./noctule.schema.json",
    )
    described.set_defaults(run=run_schema)


def run_example(_arguments: argparse.Namespace) -> int:
    """Print the example; always 0."""
    print(example_text(), end="")
    return 0


def run_schema(_arguments: argparse.Namespace) -> int:
    """Print the schema; always 0."""
    print(json.dumps(schema(), indent=2))
    return 0
