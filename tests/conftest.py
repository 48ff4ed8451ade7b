"""Rules for every test: in CI a test that is skipped has failed, and so has a module that is skipped whole."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

#: The same examples every time, however long a busy machine takes for one; tests/fuzz has profiles of its own.
settings.register_profile("tests", derandomize=True, database=None, deadline=None)
settings.load_profile("tests")

IN_CI = bool(os.environ.get("CI"))

#: What no script can install: a right that the machine does not give. Another test covers the same without it.
MAY_BE_LACKING = ("a small file system cannot be mounted here", "namespaces cannot be made here")


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a skip a failure that says so; an expected failure is reported as skipped too, and stays one."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if any(right in str(reason) for right in MAY_BE_LACKING):
            return
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: nothing may be skipped in CI ({reason})"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_skipped(report)
    return report
