"""Standard tests that do not pass are named with their reason: exactly those may fail or skip."""

from collections.abc import Mapping

import pytest


def hold_to(report: pytest.TestReport, name: str, named: Mapping[str, str]) -> None:
    """Turns a named test's failure or skip into a pass, and its pass, or a skip that is not named, into a failure."""
    if name in named:
        if not report.passed:
            report.outcome, report.longrepr = "passed", None
        elif report.when == "call":
            report.outcome = "failed"
            report.longrepr = f"{name} passes, but NOT_PASSED says: {named[name]}"
    elif report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{name} was skipped and NOT_PASSED does not name it: {report.longrepr}"
