"""For every test: a skip is never silent, and with STRICT=1 it is a failure."""

import os

import pytest
from _pytest.terminal import TerminalReporter


def skipped(config: pytest.Config) -> list[tuple[str, str]]:
    """Every skipped test or file with its reason, also those that were expected to fail and did."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    assert isinstance(reporter, TerminalReporter)
    reports = [*reporter.stats.get("skipped", ()), *reporter.stats.get("xfailed", ())]
    return [(report.nodeid, _reason(report)) for report in reports]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and os.environ.get("STRICT") == "1" and skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    rows = skipped(config)
    if not rows:
        return
    is_strict = os.environ.get("STRICT") == "1"
    title = f"{len(rows)} SKIPPED" + (" (a failure, for STRICT=1 is set)" if is_strict else "")
    terminalreporter.section(title, sep="!", red=is_strict, yellow=not is_strict)
    for node_id, reason in rows:
        terminalreporter.line(f"{node_id}: {reason}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(getattr(report, "wasxfail", "")) or "no reason given"
