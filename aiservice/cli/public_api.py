"""The service's own public API (and whether an Ollama is there), asked as any client would.

This is a caller of the service, not an engine, and a small one: the standard library's client will do.
"""

import json
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from aiservice.core.errors import EngineError

GENERATE = "/ai/generate"
MODELS = "/ai/models"
LIVE = "/health/live"


class NoAnswer(EngineError):
    """The service, which to this client is an engine, did not answer or not as it should."""


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the model said to one question."""

    model: str
    engine: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    time_ms: int

    @property
    def tokens_per_s(self) -> float:
        return self.completion_tokens * 1000 / max(1, self.time_ms)


class PublicApi:
    """One running service on this machine; never goes through a proxy."""

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        if api_key is not None:
            self._headers["X-API-Key"] = api_key
        self._opener = build_opener(ProxyHandler({}))

    def is_live(self, timeout_s: float = 1.0) -> bool:
        """Whether this service, and not some other program, answers there."""
        try:
            return bool(self._ask(LIVE, timeout_s).get("status") == "ok")
        except NoAnswer:
            return False

    def answers(self, path: str, timeout_s: float = 1.0) -> bool:
        """Whether a JSON object comes from there."""
        try:
            self._ask(path, timeout_s)
        except NoAnswer:
            return False
        return True

    def loaded_models(self, timeout_s: float = 2.0) -> dict[str, bool]:
        """Every model's id and whether it is loaded; raises `NoAnswer`."""
        return {model["id"]: model["loaded"] for model in self._ask(MODELS, timeout_s)["models"]}

    def generate(self, prompt: str, *, max_tokens: int, timeout_s: float) -> FirstAnswer:
        """One answer, never from the cache; raises `NoAnswer`."""
        question = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
        answer = self._ask(GENERATE, timeout_s, question)
        usage = answer["usage"]
        return FirstAnswer(
            model=answer["model"],
            engine=answer["engine"],
            text=answer["response"].strip(),
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            time_ms=answer["response_time_ms"],
        )

    def _ask(self, path: str, timeout_s: float, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data=data, headers=self._headers)  # noqa: S310  # our own address
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                found = json.load(answer)
        except HTTPError as error:
            raise NoAnswer(_message(error)) from error
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {timeout_s:.1f} s") from error
        except (OSError, HTTPException, ValueError) as error:
            raise NoAnswer(str(error)) from error
        if not isinstance(found, dict):
            raise NoAnswer("the answer is no JSON object")
        return found


def _message(error: HTTPError) -> str:
    """What an error body says; its status where it is none of ours."""
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"status {error.code}"
