"""Schemathesis asks every route of the service's own OpenAPI document, with data that is good and data that is not.

500 questions, with `LONG=1` 5,000 and more: half of them drawn at random, the others what Schemathesis holds to be
worth asking of each bound and type. The seed is printed; `SEED=n` takes another. No answer may have a status of 500 or
more, one that the route does not name, another type than the named ones, or a body that is not of its schema.
"""

import json
import os
from collections import Counter
from typing import Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks

from tests.clients.questions import Question, Questioner
from tests.clients.services import Service

IS_LONG = os.environ.get("LONG") == "1"
QUESTIONS = 5_000 if IS_LONG else 500
SEED = int(os.environ.get("SEED", "4"))
TIMEOUT_S = 30
FORM_MISSED = "The model's answer is not what was asked for"
# Whose key goes along is said by the questions.
CONFIG = {"cache": {"enabled": False}, "generation": {"with-security-parameters": False}}
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.missing_required_header,
]
# Asked by a caller who may ask: one who may not is refused for that, whatever he sends.
CHECKS_OF_WHO_MAY = [checks.negative_data_rejection]

pytestmark = pytest.mark.clients


class Wrong(AssertionError):
    """An answer that is not as it should be."""


class Asker:
    """Asks, counts, and keeps the first of each kind of wrong answer."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.asked = 0
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.wrong: dict[tuple[str, str], str] = {}
        self._document = document
        self._session = requests.Session()

    def ask(self, question: Question) -> None:
        self.asked += 1
        case = question.case
        answer = case.call(headers=dict(question.headers), session=self._session, timeout=TIMEOUT_S)
        self.statuses[case.operation.label, answer.status_code] += 1
        try:
            hold_status(question, answer)
            hold_lines(case.operation.definition.raw, self._document, answer)
            case.validate_response(answer, checks=[*CHECKS, *(CHECKS_OF_WHO_MAY if question.asking == "good" else ())])
        except FailureGroup as group:
            for failure in group.exceptions:
                self._keep(question, answer, failure)
        except Wrong as failure:
            self._keep(question, answer, failure)

    def _keep(self, question: Question, answer: Response, failure: BaseException) -> None:
        label = question.case.operation.label
        command = question.case.as_curl_command(headers=dict(question.headers))
        said = f"{failure}\n{answer.status_code} {answer.text[:500]}\n{command[:2_000]}"
        self.wrong.setdefault((label, str(failure).partition("\n")[0]), said)


def hold_status(question: Question, answer: Response) -> None:
    """No 5xx but for the two that a caller asks for, and 401 for whoever is nobody."""
    status, operation = answer.status_code, question.case.operation
    is_cached_only = status == 504 and question.headers.get("cache-control") == "only-if-cached"
    # Of a schema that the scripted model does not keep to: the answer is held back, and so that is said.
    is_form_missed = status == 502 and question.asks_for_a_form and FORM_MISSED in answer.text
    if status >= 500 and not (is_cached_only or is_form_missed):
        raise Wrong(f"status {status}")
    is_nobody = bool(operation.definition.raw["security"]) and question.asking in {"without", "wrong"}
    # A name may make another path of the route's.
    if is_nobody and status != 401 and not (status == 404 and question.case.path_parameters):
        raise Wrong(f"status {status} to nobody")


def hold_lines(operation: dict[str, Any], document: dict[str, Any], answer: Response) -> None:
    """Each line of JSON lines is of the documented schema; Schemathesis reads events, but not these."""
    if not answer.headers.get("content-type", [""])[0].startswith("application/x-ndjson"):
        return
    schema = operation["responses"][str(answer.status_code)]["content"]["application/x-ndjson"]["schema"]
    validator = jsonschema_rs.validator_for({**schema, "components": document["components"]})
    for line in answer.content.splitlines():
        error = next(validator.iter_errors(json.loads(line)), None)
        if error is not None:
            raise Wrong(f"a line is not of its schema\n{error}\n{line!r}")


@pytest.mark.timeout(1_800 if IS_LONG else 120)
def test_every_answer_is_as_documented(scripted: Service, capsys: pytest.CaptureFixture[str]) -> None:
    schema = schemathesis.openapi.from_url(
        f"{scripted.url}/openapi.json", config=SchemathesisConfig.from_dict(dict(CONFIG))
    )
    questioner = Questioner(scripted, schema, seed=SEED)
    asker = Asker(schema.raw_schema)
    questioner.draw(QUESTIONS // 2 // len(questioner.operations), asker.ask)
    drawn = asker.asked
    rest = questioner.systematic(schema)
    for question in rest if IS_LONG else rest[: QUESTIONS - drawn]:
        asker.ask(question)
    with capsys.disabled():
        print(f"\nSEED={SEED}: {asker.asked} questions to {len(questioner.operations)} operations")  # noqa: T201 - the seed
    assert not asker.wrong, "\n\n".join(f"{label}: {said}" for (label, _), said in asker.wrong.items())
    assert asker.asked >= QUESTIONS
    answered = {label for label, status in asker.statuses if status < 300}
    assert {operation.label for operation in questioner.operations} - answered == set()
