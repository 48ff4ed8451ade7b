"""``noctule store``: look after what a broker keeps, and bring in what another has left."""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from noctule.storage import json_lines, mosquitto_state
from noctule.storage.json_lines import LineError
from noctule.storage.mosquitto_state import Imported, MosquittoStateError
from noctule.storage.operations import Operation
from noctule.storage.store import Store, StoreError, StoreReader

#: As many operations as an import commits at a time.
_BATCH: Final = 5_000


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the sub-command and its own."""
    parser = subparsers.add_parser(
        "store",
        help="check, copy, export and import what a broker keeps",
        description="Look after the store of a broker. Only import needs that the broker does not run.",
    )
    commands = parser.add_subparsers(title="what to do", metavar="WHAT", required=True)
    for name, run, text in (
        ("check", _check, "look for damage: every row, every reference"),
        ("stats", _stats, "say how much there is of what"),
        ("backup", _back_up, "copy it, while the broker runs or not"),
        ("export", _export, "write it as JSON lines"),
        ("import", _import, "fill an empty store from an export, or from what Mosquitto has left"),
    ):
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("directory", metavar="DIRECTORY", type=Path, help="where the store is")
        command.add_argument("--store", metavar="PLUGIN", default="sqlite_store", help="the plugin that keeps it")
        command.set_defaults(run=run)
        if name == "stats":
            command.add_argument("--json", action="store_true", help="as JSON")
        elif name == "backup":
            command.add_argument("target", metavar="FILE", type=Path, help="a new file")
        elif name == "export":
            command.add_argument("-o", "--output", metavar="FILE", type=Path, help="write there, not to stdout")
        elif name == "import":
            command.add_argument(
                "file",
                metavar="FILE",
                type=Path,
                help="an export, the output of mosquitto_db_dump --json, or the file of Mosquitto's persist-sqlite",
            )


def _plugin(name: str) -> Any:
    """The module of a plugin that keeps state: with ``read_store`` and ``make_store``. StoreError where none has it."""
    try:
        module = importlib.import_module(f"noctule.plugins.{name}")
    except ImportError as error:
        raise StoreError(f"there is no plugin {name!r}: {error}") from None
    if not hasattr(module, "read_store"):
        raise StoreError(f"the plugin {name!r} has no store that can be read")
    return module


@contextmanager
def _reader(arguments: argparse.Namespace) -> Iterator[StoreReader]:
    reader: StoreReader = _plugin(arguments.store).read_store(arguments.directory)
    try:
        yield reader
    finally:
        reader.close()


def _telling(action: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Make what can go wrong one line on stderr and the exit code 1."""

    def run(arguments: argparse.Namespace) -> int:
        try:
            return action(arguments)
        except (StoreError, LineError, MosquittoStateError) as error:
            print(f"noctule: {error}", file=sys.stderr)
        except OSError as error:
            print(f"noctule: {error.filename or arguments.directory}: {error.strerror}", file=sys.stderr)
        return 1

    return run


@_telling
def _check(arguments: argparse.Namespace) -> int:
    """0: all is well; 1: something is not."""
    with _reader(arguments) as reader:
        faults = reader.check()
    for fault in faults:
        print(fault)
    if not faults:
        print("nothing is wrong")
    return 1 if faults else 0


@_telling
def _stats(arguments: argparse.Namespace) -> int:
    with _reader(arguments) as reader:
        sizes = reader.sizes()
    if arguments.json:
        print(json.dumps(dict(sizes)))
    else:
        for name, figure in sizes.items():
            print(f"{name:<24}{figure:>16,}")
    return 0


@_telling
def _back_up(arguments: argparse.Namespace) -> int:
    with _reader(arguments) as reader:
        reader.back_up(arguments.target)
    print(f"copied to {arguments.target}: {arguments.target.stat().st_size:,} bytes")
    return 0


@_telling
def _export(arguments: argparse.Namespace) -> int:
    with _reader(arguments) as reader:
        if arguments.output is None:
            json_lines.write(reader.rows(), sys.stdout)
        else:
            count = _written(reader, arguments.output)
            print(f"{count:,} lines in {arguments.output}")
    return 0


def _written(reader: StoreReader, output: Path) -> int:
    """Write all rows to a new file; how many lines it has. StoreError where it cannot be written: it is not there
    then."""
    with output.open("x", encoding="utf-8") as file:
        try:
            count = json_lines.write(reader.rows(), file)
            file.flush()
        except OSError as error:
            output.unlink()
            raise StoreError(f"{output} cannot be written: {error.strerror}") from None
    return count


@_telling
def _import(arguments: argparse.Namespace) -> int:
    """The file is read to its end before anything is changed."""
    imported = _read(arguments.file)
    for remark in imported.remarks:
        print(f"noctule: {remark}", file=sys.stderr)
    store: Store = _plugin(arguments.store).make_store(arguments.directory)
    store.open()
    try:
        if next(iter(store.restore()), None) is not None:
            raise StoreError(f"{arguments.directory} has a store that is not empty: import into a new one")
        for batch in _batches(imported.operations):
            store.commit(batch, sync=True)
    finally:
        store.close()
        for line in store.findings():
            print(f"noctule: {line}", file=sys.stderr)
    counted = ", ".join(f"{count:,} {name}" for name, count in mosquitto_state.kinds_of(imported.operations))
    print(f"imported {counted or 'nothing'}")
    return 0


def _read(path: Path) -> Imported:
    """Whatever the file is: its first bytes say it."""
    if mosquitto_state.is_sqlite(path):
        return mosquitto_state.read_database(path, time.time())
    try:
        with path.open(encoding="utf-8") as file:
            if json_lines.FORMAT_KEY in file.readline(200):
                file.seek(0)
                return Imported(list(json_lines.read(file)))
    except UnicodeDecodeError:
        raise LineError(f"{path} is neither JSON nor a database") from None
    return mosquitto_state.read_dump(path, time.time())


def _batches(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    rest = iter(operations)
    while batch := list(islice(rest, _BATCH)):
        yield batch
