"""How long the fuzzers run: ``short``, the default, is the same every time; ``long`` (NOCTULE_FUZZ=long) is new."""

import logging
import os
from collections.abc import Generator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings

_CHECKS = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

#: For each run of the tests: the same examples every time, so that nobody is failed by what somebody else wrote.
settings.register_profile(
    "short", derandomize=True, database=None, deadline=None, max_examples=200, suppress_health_check=_CHECKS
)

#: For hours when nobody waits: new examples in each run; what fails is kept in .hypothesis and comes first next time.
settings.register_profile(
    "long",
    deadline=timedelta(seconds=10),
    max_examples=20_000,
    stateful_step_count=80,
    suppress_health_check=_CHECKS,
    print_blob=True,
)

#: Under a sanitizer: the examples of `short`, fewer of them, and a failure is not made smaller.
settings.register_profile(
    "sanitizer", settings.get_profile("short"), max_examples=60, phases=(Phase.explicit, Phase.generate)
)

PROFILE = os.environ.get("NOCTULE_FUZZ", "short")
settings.load_profile(PROFILE)


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Generator[None]:
    """Thousands of broken packets are meant here: the log says nothing of them."""
    logger = logging.getLogger("noctule")
    logger.disabled = True
    yield
    logger.disabled = False
