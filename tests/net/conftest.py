"""Certificates, made once: by reference they are cheap, and a test that changes one makes its own."""

from pathlib import Path

import pytest
from net.secured import Authority, make_authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def own_authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)
