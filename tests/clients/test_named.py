"""How the tests that do not pass are held to their names."""

from typing import Literal

import pytest

from tests.clients.named import hold_to

pytestmark = pytest.mark.clients

NAMED = {"test_pdf_inputs": "the doors take texts and pictures"}
Outcome = Literal["passed", "failed", "skipped"]


@pytest.mark.parametrize(
    ("name", "outcome", "when", "becomes"),
    [
        ("test_pdf_inputs", "failed", "call", "passed"),
        ("test_pdf_inputs", "skipped", "call", "passed"),
        ("test_pdf_inputs", "failed", "setup", "passed"),
        ("test_pdf_inputs", "passed", "setup", "passed"),
        ("test_pdf_inputs", "passed", "call", "failed"),
        ("test_invoke", "passed", "call", "passed"),
        ("test_invoke", "failed", "call", "failed"),
        ("test_invoke", "skipped", "call", "failed"),
        ("test_invoke", "skipped", "setup", "failed"),
    ],
)
def test_exactly_the_named_may_fail(name: str, outcome: Outcome, when: Literal["setup", "call"], becomes: Outcome):
    report = pytest.TestReport(name, ("", None, name), {}, outcome, "why", when)

    hold_to(report, name, NAMED)

    assert report.outcome == becomes
