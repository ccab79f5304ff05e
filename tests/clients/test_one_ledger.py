"""One prompt through every door: the same tokens in the ledger, and one answer in the cache for all of them."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.clients.conftest import Place

pytestmark = pytest.mark.clients

SYSTEM, PROMPT, LIMIT = "Be short.", "Name three colours.", 16
TURNS = [{"role": "user", "content": PROMPT}]
SAMPLING = {"temperature": 0, "top_p": 0.9}
# The same request in each door's words.
DOORS: Mapping[str, dict[str, Any]] = {
    "/ai/generate": {"system": SYSTEM, "prompt": PROMPT, "max_tokens": LIMIT, **SAMPLING},
    "/v1/chat/completions": {
        "messages": [{"role": "system", "content": SYSTEM}, *TURNS],
        "max_tokens": LIMIT,
        **SAMPLING,
    },
    "/v1/responses": {"instructions": SYSTEM, "input": PROMPT, "max_output_tokens": LIMIT, **SAMPLING},
    "/v1/messages": {"system": SYSTEM, "messages": TURNS, "max_tokens": LIMIT, **SAMPLING},
    "/api/chat": {
        "messages": [{"role": "system", "content": SYSTEM}, *TURNS],
        "options": {"num_predict": LIMIT, **SAMPLING},
        "stream": False,
    },
}


def ask(place: Place, key: str, path: str, **headers: str) -> httpx.Response:
    body = {"model": place.model, **DOORS[path]}
    sent = {"x-api-key": key, "anthropic-version": "2026-10-21", **headers}
    answer = httpx.post(place.url + path, json=body, headers=sent, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def text_of(path: str, answer: dict[str, Any]) -> str:
    said: str = {
        "/ai/generate": lambda: answer["response"],
        "/v1/chat/completions": lambda: answer["choices"][0]["message"]["content"],
        "/v1/responses": lambda: answer["output"][0]["content"][0]["text"],
        "/v1/messages": lambda: answer["content"][0]["text"],
        "/api/chat": lambda: answer["message"]["content"],
    }[path]()
    return said


def test_equal_tokens(place: Place):
    key = place.service.new_key()
    answers = [ask(place, key, path, **{"cache-control": "no-store"}) for path in DOORS]
    rows = place.service.logs(key, len(DOORS))

    assert {answer.headers["x-cache"] for answer in answers} == {"BYPASS"}
    assert {row["endpoint"] for row in rows} == set(DOORS)
    assert {row["model_used"] for row in rows} == {rows[0]["model_used"]}
    assert len({row["prompt_tokens"] for row in rows}) == 1
    assert len({row["completion_tokens"] for row in rows}) == 1
    assert all(row["total_tokens"] == row["prompt_tokens"] + row["completion_tokens"] > 0 for row in rows)


def test_one_miss_and_four_hits(place: Place):
    key = place.service.new_key()
    answers = {path: ask(place, key, path) for path in DOORS}
    rows = {row["endpoint"]: row for row in place.service.logs(key, len(DOORS))}

    assert [answer.headers["x-cache"] for answer in answers.values()] == ["MISS", "HIT", "HIT", "HIT", "HIT"]
    assert len({text_of(path, answer.json()) for path, answer in answers.items()}) == 1
    assert [rows[path]["response_cached"] for path in DOORS] == [False, True, True, True, True]
    assert [rows[path]["total_tokens"] > 0 for path in DOORS] == [True, False, False, False, False]
