"""What Schemathesis draws, mended now and then so that a route has something to do, and who asks it how."""

import itertools
import random
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation, BaseSchema

from tests.clients.services import ADMIN_KEY, Service

Asking = Literal["good", "without", "wrong", "narrow"]
ASKING: Sequence[Asking] = ("good",) * 12 + ("without", "wrong", "narrow")
CHATTING = ("echo", "words-10", "tools", "json", "see")
EMBEDDING = ("embed",)
THINGS = 12
CACHE_CONTROLS = (None, None, None, "no-store", "no-cache", "max-age=60", "only-if-cached")
# Fields that ask the same in several ways, of which a request has one. Beside `input`, `prompt` is something else.
QUESTIONS = ("messages", "input", "prompt")
FIELDS_MAX = 3
FORMS = frozenset({"response_format", "format", "text", "output_format", "output_config", "tools"})
WRONG_KEY = "vpn_" + "0" * 43
SAID: Mapping[str, object] = {
    "messages": [{"role": "user", "content": "Hello"}],
    "input": "Hello",
    "prompt": "Hello",
    "max_tokens": 16,
    "query": "SELECT name FROM person",
    "schema": "person(id, name)",
}


@dataclass(frozen=True)
class Question:
    """A case and what goes with it."""

    case: Case
    asking: Asking
    headers: Mapping[str, str]

    @property
    def asks_for_a_form(self) -> bool:
        """Whether the answer shall be JSON of a schema, or call a tool with such."""
        body = self.case.body
        return isinstance(body, dict) and not FORMS.isdisjoint(name for name, value in body.items() if value)


class Questioner:
    """Draws questions, the same for the same seed; `known` are ids of things that are there, by field."""

    def __init__(self, service: Service, schema: BaseSchema, *, seed: int) -> None:
        self._document: Mapping[str, Any] = schema.raw_schema
        self._source = random.Random(seed)
        self._seed = seed
        self._key = service.new_key(scopes=["generate", "sql", "usage:read", "keys:write"])
        self._narrow_key = service.new_key(scopes=["nexus:read"])
        self._known = _things(service, self._key)
        self.operations = [result.ok() for result in schema.get_all_operations()]

    def draw(self, count: int, ask: Callable[[Question], None]) -> None:
        """Asks up to so many random questions of each operation, half of them good and half of them not."""
        for operation in self.operations:
            for mode in _modes(operation):
                self._draw(operation, mode, max(1, count // 2), ask)

    def _draw(self, operation: APIOperation, mode: GenerationMode, count: int, ask: Callable[[Question], None]) -> None:
        """The first good one is such that the route can do it."""
        is_good = mode is GenerationMode.POSITIVE
        numbers = itertools.count()

        @seed(self._seed)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            operation.as_strategy(generation_mode=mode),
            st.sampled_from(ASKING),
            st.sampled_from(CACHE_CONTROLS),
            st.booleans(),
        )
        def drawn(case: Case, asking: Asking, cache_control: str | None, is_mended: bool) -> None:
            if is_good and next(numbers) == 0:
                asking, cache_control = "good", None
                self._mend(case, fields_max=0)
            elif is_good and is_mended:
                self._mend(case, fields_max=FIELDS_MAX)
            ask(self._question(case, asking, cache_control))

        drawn()

    def systematic(self, schema: BaseSchema) -> list[Question]:
        """Every bound, type, missing field and wrong method of every operation, in random order."""
        modes = list(GenerationMode)
        generation = schema.config.generation
        found = itertools.chain.from_iterable(
            schema.iter_coverage_cases(operation, generation_modes=modes, generation_config=generation)
            for operation in self.operations
        )
        questions = [self._question(case, "good", None) for case in found]
        self._source.shuffle(questions)
        return questions

    def _question(self, case: Case, asking: Asking, cache_control: str | None) -> Question:
        headers = self._credentials(case.operation, asking)
        if cache_control is not None:
            headers["cache-control"] = cache_control
        return Question(case, asking, headers)

    def _credentials(self, operation: APIOperation, asking: Asking) -> dict[str, str]:
        ways = [name for way in operation.definition.raw["security"] for name in way]
        if asking == "without" or not ways:
            return {}
        # One with a key is of another tenant than what is known, or has a scope too little for some routes.
        if self._source.choice(ways) == "admin" or (asking == "good" and "admin" in ways):
            return {"x-admin-key": ADMIN_KEY if asking == "good" else WRONG_KEY}
        keys = {"good": self._key, "narrow": self._narrow_key, "wrong": WRONG_KEY}
        return {"x-api-key": keys[asking]}

    def _mend(self, case: Case, *, fields_max: int) -> None:
        """Leaves so many of the optional fields, and puts what is there in the place of what is not."""
        source = self._source
        for name in case.path_parameters:
            case.path_parameters[name] = source.choice(self._of(name, case.path))
        case.query.clear()
        if "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = uuid.UUID(int=source.getrandbits(128)).hex
        if isinstance(case.body, dict):
            schema = self._request_schema(case.operation)
            required = schema.get("required", [])
            optional = sorted(name for name in case.body if name not in required)
            kept = {*required, *source.sample(optional, min(len(optional), fields_max))}
            case.body = self._mended(case.body, kept, schema, path=case.path)

    def _mended(
        self, body: Mapping[str, Any], kept: Collection[str], schema: Mapping[str, Any], *, path: str
    ) -> dict[str, Any]:
        properties, required = schema["properties"], schema.get("required", [])
        mended = {name: value for name, value in body.items() if name in kept}
        questions = [name for name in QUESTIONS if name in properties]
        if questions:
            asked = "input" if "input" in questions else self._source.choice(questions)
            mended = {name: value for name, value in mended.items() if name not in QUESTIONS or name in required}
            mended[asked] = SAID[asked]
        for name in properties:
            if name in SAID and name in mended:
                mended[name] = SAID[name]
            elif (known := self._of(name, path)) and (name in mended or name == "model"):
                mended[name] = self._source.choice(known)
        return mended

    def _of(self, name: str, path: str) -> Sequence[str]:
        """What is there under this name for this path."""
        return self._known.get(f"{name} {path}") or self._known.get(name, ())

    def _request_schema(self, operation: APIOperation) -> Mapping[str, Any]:
        schema = operation.definition.raw["requestBody"]["content"]["application/json"]["schema"]
        while "properties" not in schema:
            named = next(part for part in (schema, *schema.get("anyOf", ())) if "$ref" in part)
            schema = self._document["components"]["schemas"][named["$ref"].rpartition("/")[2]]
        return dict(schema)


def _modes(operation: APIOperation) -> Iterator[GenerationMode]:
    """Where nothing is sent nothing can be wrong."""
    yield GenerationMode.POSITIVE
    raw = operation.definition.raw
    if raw.get("parameters") or "requestBody" in raw:
        yield GenerationMode.NEGATIVE


def _things(service: Service, key: str) -> dict[str, Sequence[str]]:
    """Keys, responses and models that a route may be asked for."""
    keys = [service.made_key(tenant_id="known")["key_id"] for _ in range(THINGS)]
    return {
        "model": CHATTING,
        "model /api/embed": EMBEDDING,
        "model /api/embeddings": EMBEDDING,
        "model /v1/embeddings": EMBEDDING,
        "model_id": CHATTING,
        "key_id": keys,
        "response_id": [_response(service, key) for _ in range(THINGS)],
        "response_id /v1/responses/{response_id}/cancel": [_response(service, key, background=True)],
        "previous_response_id": [_response(service, key)],
    }


def _response(service: Service, key: str, **more: bool) -> str:
    body = {"model": "echo", "input": "Hello", "store": True, **more}
    answer = httpx.post(f"{service.url}/v1/responses", json=body, headers={"x-api-key": key}, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])
