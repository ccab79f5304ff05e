"""POST /ai/generate: what a caller gets."""

import asyncio

import pytest

from aiservice.app import create_app, prepare
from aiservice.core.clock import ManualClock
from aiservice.core.settings import load
from tests.api.asgi_client import Client, running
from tests.api.conftest import Service
from tests.api.rows import rows_of

PATH = "/ai/generate"
DOCKER = {"prompt": "What is Docker?"}


async def test_200_plain_answer_has_every_field(client: Client) -> None:
    response = await client.post(PATH, DOCKER)
    assert response.status == 200
    answer = response.json
    assert answer["response"] == "echo: What is Docker?"
    assert (answer["model"], answer["engine"], answer["finish_reason"]) == ("echo", "fake", "stop")
    assert answer["cached"] is False
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert answer["response_time_ms"] >= 0
    assert response.header("x-request-id") == answer["id"]
    assert response.header("content-type") == "application/json"


async def test_200_headers_tell_the_limit(client: Client) -> None:
    response = await client.post(PATH, DOCKER)
    assert response.header("x-cache") == "MISS"
    assert response.header("x-ratelimit-limit") == "100"
    assert response.header("x-ratelimit-remaining") == "99"
    assert int(response.header("x-ratelimit-reset") or 0) > 1_700_000_000
    assert response.header("x-ratelimit-remaining-requests") == "99"


async def test_200_stream_gives_the_same_text_then_usage_then_done(client: Client) -> None:
    response = await client.post(PATH, DOCKER | {"stream": True})
    assert response.status == 200
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    *deltas, end, done = response.events
    assert "".join(event["delta"] for event in deltas) == "echo: What is Docker?"
    assert len(deltas) == 4
    assert end["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert (end["finish_reason"], end["cached"]) == ("stop", False)
    assert done == "[DONE]"
    assert {event["id"] for event in [*deltas, end]} == {response.header("x-request-id")}


async def test_200_messages_and_system_reach_the_engine(client: Client) -> None:
    turns = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "3"},
    ]
    response = await client.post(PATH, {"messages": turns, "system": "Be brief."})
    assert response.json["response"] == "echo: 3"
    assert response.json["usage"]["prompt_tokens"] == 5


async def test_200_every_documented_field_is_taken(client: Client) -> None:
    body = DOCKER | {
        "model": "fake/echo",
        "system": "Be brief.",
        "temperature": 0,
        "top_p": 0.9,
        "max_tokens": 2,
        "seed": 7,
        "stop": ["END"],
        "stream": False,
        "response_format": {"type": "text"},
    }
    response = await client.post(PATH, body)
    assert response.status == 200
    assert response.json["finish_reason"] == "length"
    assert response.json["usage"]["completion_tokens"] == 2


async def test_200_callers_request_id_is_kept(client: Client) -> None:
    response = await client.post(PATH, DOCKER, headers={"x-request-id": "job-7_a.b"})
    assert response.header("x-request-id") == "job-7_a.b"


@pytest.mark.parametrize("sent", ["a\tb", "x" * 65, "a b", "ü", ""])
async def test_200_request_id_of_another_form_is_replaced(client: Client, sent: str) -> None:
    response = await client.post(PATH, DOCKER, headers={"x-request-id": sent})
    assert response.header("x-request-id") == response.json["id"]


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "authorization"])
async def test_200_key_is_taken_from_each_header(service: Service, header: str) -> None:
    key = (await service.new_key())["api_key"]
    value = f"Bearer {key}" if header == "authorization" else key
    assert (await service.client().post(PATH, DOCKER, headers={header: value})).status == 200


async def test_ledger_has_one_row_per_answer(service: Service, client: Client) -> None:
    await client.post(PATH, DOCKER)
    await client.post(PATH, DOCKER | {"stream": True, "model": "words-10"})
    rows = await rows_of(service, client, count=2)
    by_model = {row["model_used"]: row for row in rows}
    assert by_model["echo"]["total_tokens"] == 7
    assert by_model["words-10"]["completion_tokens"] == 10
    assert {row["status_code"] for row in rows} == {200}
    assert {row["endpoint"] for row in rows} == {PATH}


async def test_502_engine_that_fails_before_its_first_word_gives_the_request_back(
    service: Service, client: Client
) -> None:
    response = await client.post(PATH, DOCKER | {"model": "fail"})
    assert (response.status, response.code) == (502, "engines.failed")
    assert response.header("x-ratelimit-remaining") == "100"
    (row,) = await rows_of(service, client, count=1)
    assert (row["status_code"], row["error_message"], row["total_tokens"]) == (502, "engines.failed", 0)


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("down", 502, "engines.unreachable"),
        ("busy", 503, "engines.busy"),
        ("refuse", 400, "engines.refused"),
        ("cut", 502, "engines.failed"),
        ("fail-mid", 502, "engines.failed"),
    ],
)
async def test_engine_failure_has_its_own_status(client: Client, model: str, status: int, code: str) -> None:
    response = await client.post(PATH, DOCKER | {"model": model})
    assert (response.status, response.code) == (status, code)
    assert response.header("x-ratelimit-limit") == "100"
    if model == "busy":
        assert response.header("retry-after") == "1"


@pytest.mark.parametrize("model", ["cut", "fail-mid"])
async def test_stream_that_breaks_says_so_and_has_no_done(service: Service, client: Client, model: str) -> None:
    response = await client.post(PATH, DOCKER | {"model": model, "stream": True})
    assert response.status == 200
    *deltas, error = response.events
    assert "".join(event["delta"] for event in deltas) == "one two "
    assert error["error"]["code"] == "engines.failed"
    assert set(error["error"]) == {"message", "type", "param", "code"}
    (row,) = await rows_of(service, client, count=1)
    assert (row["status_code"], row["completion_tokens"]) == (502, 2)


async def test_client_that_leaves_a_stream_is_recorded_with_its_tokens(service: Service, client: Client) -> None:
    await client.post(PATH, DOCKER | {"model": "slow-50", "stream": True}, leave_after_chunks=3)
    (row,) = await rows_of(service, client, count=1)
    assert (row["status_code"], row["error_message"]) == (499, "client_gone")
    assert 3 <= row["completion_tokens"] < 20


async def test_client_that_leaves_a_plain_call_ends_it(service: Service, client: Client) -> None:
    async with asyncio.timeout(2):
        await client.post(PATH, DOCKER | {"model": "slow-first"}, leave_after_s=0.1)
    (row,) = await rows_of(service, client, count=1)
    assert (row["status_code"], row["total_tokens"]) == (499, 0)


@pytest.mark.parametrize(
    ("model", "limit"),
    [("slow-first", "ENGINE_FIRST_TOKEN_TIMEOUT"), ("slow-between", "ENGINE_TOKEN_TIMEOUT")],
)
async def test_504_engine_too_slow(environ: dict[str, str], model: str, limit: str) -> None:
    settings = load(environ | {limit: "0.1", "ENGINE_TOTAL_TIMEOUT": "0.3"})
    prepare(settings)
    async with running(create_app(settings)) as app:
        service = Service(app, settings, ManualClock())
        client = await service.with_key()
        plain = await client.post(PATH, DOCKER | {"model": model})
        assert (plain.status, plain.code) == (504, "engines.timeout")
        stream = await client.post(PATH, DOCKER | {"model": model, "stream": True})
        if model == "slow-first":
            assert (stream.status, stream.code) == (504, "engines.timeout")
        else:
            assert stream.status == 200
            assert stream.events[-1]["error"]["code"] == "engines.timeout"
        rows = await rows_of(service, client, count=2)
        assert {row["status_code"] for row in rows} == {504}
