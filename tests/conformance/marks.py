"""The marks of conformance tests: which statement a test proves, and what broker it wants."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])


def statement(*ids: str, version: int) -> pytest.MarkDecorator:
    """The test proves these statements of MQTT 5.0 (``version=5``) or 3.1.1 (``version=4``).

    Ids are written as in the specification, "MQTT-3.1.2-4"; rules without a number have ids of our own. The
    statements become part of the test's id. Marks add up, on the function and on a ``pytest.param`` alike.
    """
    mark: pytest.MarkDecorator = pytest.mark.statement(*ids, version=version)
    return mark


def row(test_id: str, *values: Any, about: str | tuple[str, ...], version: int) -> Any:
    """One row of a table of bytes: what it is called, its values, and the statement or statements that it proves."""
    ids = (about,) if isinstance(about, str) else about
    return pytest.param(*values, id=f"{'+'.join(ids)} {test_id}", marks=statement(*ids, version=version))


def limits(**values: Any) -> pytest.MarkDecorator:
    """The broker of the test has these limits (fields of ``noctule.config.settings.Limits``)."""
    mark: pytest.MarkDecorator = pytest.mark.limits(**values)
    return mark


def settings(**values: Any) -> pytest.MarkDecorator:
    """The broker of the test has these settings (fields of ``noctule.config.settings.Settings``)."""
    mark: pytest.MarkDecorator = pytest.mark.settings(**values)
    return mark


def broker(**values: Any) -> pytest.MarkDecorator:
    """The broker of the test is made with these arguments (of ``noctule.app.Broker``) beside its settings."""
    mark: pytest.MarkDecorator = pytest.mark.broker(**values)
    return mark


#: The test runs over streams in memory and over sockets on both carriers.
over_sockets = pytest.mark.over_sockets
