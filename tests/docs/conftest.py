"""What the tests of the documentation share: one server of commands, and a machine for each page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.terminal import CommandServer, Machine


@pytest.fixture(scope="session")
def command_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    server = CommandServer(tmp_path_factory.mktemp("commands"))
    yield server
    server.close()


@pytest.fixture
def machine(tmp_path: Path, command_server: CommandServer) -> Iterator[Machine]:
    """An empty home folder with the commands; whatever was started in it ends."""
    home = tmp_path / "home"
    home.mkdir()
    machine = Machine(home, command_server)
    yield machine
    machine.close()
