"""Every route names the status of every error that it may answer with, and no other."""

from typing import Any

import pytest

from aiservice.api import openapi
from aiservice.api.refusals import may_raise
from aiservice.core.errors import KeyUnknown, TooManyFailures

ANY = {"500", "503"}
KEYED = {"400", "401", "403", "429"}
BODY = {"400", "413", "415", "422"}


def operation(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = openapi.document()["paths"][path][method]
    return found


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("get", "/health/live", {"200", *ANY}),
        ("get", "/ai/models", {"200", *KEYED, *ANY}),
        ("get", "/usage", {"200", "422", *KEYED, *ANY}),
        ("get", "/admin/stats", {"200", "401", "429", *ANY}),
        ("post", "/auth/verify-key", {"200", "429", *BODY, *ANY}),
        ("post", "/auth/revoke-key", {"200", "404", "409", *BODY, *KEYED, *ANY}),
        ("post", "/ai/generate", {"200", "404", "409", "502", "504", *BODY, *KEYED, *ANY}),
        ("delete", "/v1/responses/{response_id}", {"200", "404", *KEYED, *ANY}),
    ],
)
def test_the_statuses_of_a_route_follow_from_its_shape(method: str, path: str, statuses: set[str]) -> None:
    assert set(operation(method, path)["responses"]) == statuses


def test_a_vendors_door_names_the_vendors_statuses() -> None:
    assert {"415", "422"}.isdisjoint(operation("post", "/v1/chat/completions")["responses"])
    anthropic = operation("post", "/v1/messages")["responses"]
    assert "529" in anthropic
    assert "503" not in anthropic
    # Both vendors' clients ask for the models.
    assert {"503", "529"} <= set(operation("get", "/v1/models")["responses"])


def test_no_route_leaves_its_statuses_open() -> None:
    for path, operations in openapi.document()["paths"].items():
        for method, said in operations.items():
            assert "default" not in said["responses"], (method, path)
            refusals = {status: text for status, text in said["responses"].items() if status >= "400"}
            assert all(text["description"] and text["content"] for text in refusals.values()), (method, path)


def test_a_route_that_asks_nobody_says_so() -> None:
    assert operation("post", "/auth/verify-key")["security"] == []


def test_a_route_tells_what_it_alone_raises() -> None:
    told = may_raise(KeyUnknown, TooManyFailures)
    assert told == {404: {"description": KeyUnknown.title}, 429: {"description": TooManyFailures.title}}
