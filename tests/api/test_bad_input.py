"""Bad input to POST /ai/generate: each has its status, its code, a sentence, and costs nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.asgi_client import Client
from tests.api.conftest import Service
from tests.api.rows import rows_of

PATH = "/ai/generate"
OVER_THE_BOUND = b'{"prompt": "' + b"x" * 1_048_576 + b'"}'

CASES: dict[str, tuple[Any, int, str, str | None]] = {
    "no body": (b"", 400, "request.malformed", None),
    "not JSON": (b"prompt=hello", 400, "request.malformed", None),
    "a list": (b"[]", 400, "request.malformed", None),
    "5,000-digit integer": (b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", 422, "request.field_invalid", "seed"),
    "100,000 nested brackets": (
        b'{"prompt": "x", "response_format": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        400,
        "request.malformed",
        None,
    ),
    "lone surrogate": (b'{"prompt": "\\ud800"}', 400, "request.malformed", None),
    "raw NUL": (b'{"prompt": "a\x00b"}', 400, "request.malformed", None),
    "escaped NUL": (b'{"prompt": "a\\u0000b"}', 422, "request.field_invalid", "prompt"),
    "not UTF-8": (b'{"prompt": "\xff\xfe"}', 400, "request.malformed", None),
    "wrong type": ({"prompt": 7}, 422, "request.field_invalid", "prompt"),
    "temperature 9": ({"prompt": "x", "temperature": 9}, 422, "request.field_invalid", "temperature"),
    "temperature NaN": (b'{"prompt": "x", "temperature": NaN}', 400, "request.malformed", None),
    "top_p 1.5": ({"prompt": "x", "top_p": 1.5}, 422, "request.field_invalid", "top_p"),
    "max_tokens 0": ({"prompt": "x", "max_tokens": 0}, 422, "request.field_invalid", "max_tokens"),
    "max_tokens above the cap": ({"prompt": "x", "max_tokens": 1025}, 422, "request.field_invalid", "max_tokens"),
    "unknown model": ({"prompt": "x", "model": "gpt-nothing"}, 404, "engines.model_unknown", "model"),
    "unknown field": ({"prompt": "x", "propmt": "y"}, 422, "request.field_invalid", "propmt"),
    "prompt and messages": (
        {"prompt": "x", "messages": [{"role": "user", "content": "y"}]},
        400,
        "request.malformed",
        "prompt",
    ),
    "neither prompt nor messages": ({"model": "echo"}, 400, "request.malformed", "prompt"),
    "no messages": ({"messages": []}, 422, "request.field_invalid", "messages"),
    "empty prompt": ({"prompt": ""}, 422, "request.field_invalid", "prompt"),
    "unknown role": (
        {"messages": [{"role": "root", "content": "x"}]},
        422,
        "request.field_invalid",
        "messages[0].role",
    ),
    "long prompt": ({"prompt": "x" * 200_001}, 422, "request.field_invalid", "prompt"),
    "response_format of no known kind": (
        {"prompt": "x", "response_format": {"type": "yaml"}},
        422,
        "request.field_invalid",
        "response_format",
    ),
    "over the bound": (OVER_THE_BOUND, 413, "request.body_too_large", None),
}


@pytest.mark.parametrize("case", CASES)
async def test_refused(client: Client, case: str) -> None:
    body, status, code, param = CASES[case]
    response = await client.post(PATH, body)
    assert (response.status, response.code) == (status, code), response.body
    error = response.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert len(error["message"]) > 15
    assert response.header("x-ratelimit-remaining") == "100"
    assert response.header("x-request-id")


async def test_refusal_of_a_known_key_is_a_row_without_tokens(service: Service, client: Client) -> None:
    await client.post(PATH, {"prompt": "x", "temperature": 9})
    (row,) = await rows_of(service, client, count=1)
    assert (row["status_code"], row["error_message"], row["total_tokens"]) == (422, "request.field_invalid", 0)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_405_wrong_method(client: Client, method: str) -> None:
    response = await client.request(method, PATH)
    assert (response.status, response.code) == (405, "request.method")
    assert response.header("allow") == "POST"


async def test_405_names_the_methods_of_all_routes_of_the_path(client: Client) -> None:
    assert (await client.request("PUT", "/admin/limits")).header("allow") == "GET, POST"
    assert (await client.request("PUT", "/auth/verify-key")).header("allow") == "POST"


@pytest.mark.parametrize("path", ["/nothing", "/ai/generate/", "/ai", "/auth/create-key/x"])
async def test_404_unknown_route(client: Client, path: str) -> None:
    response = await client.get(path)
    assert (response.status, response.code) == (404, "request.route_unknown")


@pytest.mark.parametrize("path", [PATH, "/auth/create-key"])
async def test_415_compressed_body(client: Client, path: str) -> None:
    headers = {"content-encoding": "gzip", "x-admin-key": "an admin key of more than thirty-two characters"}
    response = await client.post(path, b"\x1f\x8b\x08", headers=headers)
    assert (response.status, response.code) == (415, "request.media_type")


async def test_415_other_media_type(client: Client) -> None:
    response = await client.post(PATH, b"prompt=x", headers={"content-type": "application/x-www-form-urlencoded"})
    assert (response.status, response.code) == (415, "request.media_type")


async def test_400_two_different_keys(client: Client) -> None:
    response = await client.post(PATH, {"prompt": "x"}, headers={"authorization": "Bearer vpn_other"})
    assert (response.status, response.code) == (400, "request.keys_conflict")


async def test_200_the_same_key_twice(client: Client) -> None:
    response = await client.post(PATH, {"prompt": "x"}, headers={"authorization": f"Bearer {client.key}"})
    assert response.status == 200


@pytest.mark.parametrize(
    "case", ["not JSON", "100,000 nested brackets", "lone surrogate", "not UTF-8", "over the bound"]
)
async def test_other_doors_refuse_the_same(service: Service, case: str) -> None:
    body, status, _, _ = CASES[case]
    if case == "100,000 nested brackets":
        body = b"[" * 100_000 + b"]" * 100_000
    response = await service.client().post("/auth/verify-key", body)
    assert response.status in (status, 422)
    assert 400 <= response.status < 500
    assert set(response.json["error"]) == {"message", "type", "param", "code"}


async def test_422_unknown_field_at_the_other_doors(service: Service) -> None:
    response = await service.client().post("/auth/verify-key", {"api_key": "x", "kye": 1})
    assert (response.status, response.code) == (422, "request.field_invalid")
    assert response.json["error"]["param"] == "kye"


async def test_401_is_said_before_the_body_is_read(service: Service) -> None:
    for path in (PATH, "/auth/create-key"):
        response = await service.client().post(path, OVER_THE_BOUND)
        assert (response.status, response.code) == (401, "keys.refused")


async def test_refusal_shows_no_path_key_or_stack(client: Client) -> None:
    response = await client.post(PATH, json.dumps({"prompt": "x", "model": "../../etc/passwd"}).encode())
    text = response.body.decode()
    assert "Traceback" not in text
    assert str(Path.cwd()) not in text
    assert client.key is not None
    assert client.key not in text


@pytest.mark.parametrize(
    ("method", "path", "body", "sentence"),
    [
        (
            "POST",
            "/auth/create-key",
            {"tenant_id": "a b", "user_id": "u", "name": "n"},
            "tenant_id takes 1 to 64 letters",
        ),
        ("POST", "/auth/create-key", {"tenant_id": "a", "user_id": "u", "name": "\t"}, "name has a control character"),
        ("POST", "/auth/revoke-key", {"key_id": "1"}, "key_id takes a UUID"),
        ("GET", "/admin/limits?cursor=x", None, "cursor takes next_cursor as this route gave it"),
        ("GET", "/auth/keys?cursor=x", None, "cursor takes a UUID"),
    ],
)
async def test_422_a_form_that_a_field_does_not_take(
    service: Service, method: str, path: str, body: Any, sentence: str
) -> None:
    response = await service.admin(method, path, body)
    assert (response.status, response.code) == (422, "request.field_invalid")
    assert response.json["error"]["message"].startswith(sentence)
