"""For every test: a skip is never silent, with STRICT=1 it is a failure, and logging is left as it was found."""

import logging
import os
from collections.abc import Iterator

import pytest
from _pytest.terminal import TerminalReporter

from tests.servers.fixtures import (
    mariadb_server,
    postgres,
    postgres_migrated,
    postgres_server,
    postgres_settings,
    postgres_template,
    postgres_urls,
    redis_binary,
    redis_cluster,
    redis_cluster_url,
    redis_sentinel,
    redis_server,
    redis_url,
)

__all__ = [
    "mariadb_server",
    "postgres",
    "postgres_migrated",
    "postgres_server",
    "postgres_settings",
    "postgres_template",
    "postgres_urls",
    "redis_binary",
    "redis_cluster",
    "redis_cluster_url",
    "redis_sentinel",
    "redis_server",
    "redis_url",
]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test that starts a process's logging in this one must not decide what the next test sees of it."""
    loggers = (logging.getLogger(), logging.getLogger("aiservice"))
    before = [(logger, logger.level, tuple(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        for handler in logger.handlers[:]:
            if handler not in handlers and type(handler) is logging.StreamHandler:
                logger.removeHandler(handler)


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
