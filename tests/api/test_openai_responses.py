"""POST /v1/responses and what is stored of it, as OpenAI's clients see them."""

import asyncio
import json
from typing import Any

from tests.api.asgi_client import Client, Response
from tests.api.conftest import Service
from tests.api.rows import rows_of

PATH = "/v1/responses"
TOOL = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
NO_STORE = {"cache-control": "no-store"}


def events(response: Response) -> list[Any]:
    parts = [part.split("\ndata: ") for part in response.body.decode().split("\n\n") if part]
    parsed = [(name.removeprefix("event: "), json.loads(data)) for name, data in parts]
    assert [name for name, _ in parsed] == [data["type"] for _, data in parsed]
    return [data for _, data in parsed]


def text(response: Any) -> str:
    return "".join(part["text"] for item in response["output"] for part in item.get("content", ()))


async def created(client: Client, **body: Any) -> Any:
    response = await client.post(PATH, {"input": "hello"} | body)
    assert response.status == 200, response.body
    return response.json


async def stored(client: Client, **body: Any) -> Any:
    return await created(client, store=True, **body)


async def ended(client: Client, id: str) -> Any:
    async with asyncio.timeout(10):
        while (found := (await client.get(f"{PATH}/{id}")).json)["status"] in {"queued", "in_progress"}:
            await asyncio.sleep(0.02)
    return found


async def test_an_answer_and_its_headers(client: Client):
    response = await client.post(PATH, {"input": "hello"})

    answer = response.json
    assert text(answer) == "echo: hello"
    assert (answer["object"], answer["status"], answer["store"], answer["model"]) == (
        "response",
        "completed",
        False,
        "echo",
    )
    assert answer["usage"]["total_tokens"] == 3
    assert response.header("x-cache") == "MISS"
    assert response.header("x-ratelimit-remaining-requests") == "99"


async def test_a_stream_and_the_same_answers_from_the_cache(client: Client):
    body = {"input": "hello", "stream": True}

    fresh, cached = [await client.post(PATH, body) for _ in range(2)]

    assert fresh.header("content-type") == "text/event-stream; charset=utf-8"
    assert (fresh.header("x-cache"), cached.header("x-cache")) == ("MISS", "HIT")
    for response in (fresh, cached):
        *_, last = events(response)
        assert last["type"] == "response.completed"
        assert text(last["response"]) == "echo: hello"

    twin = await client.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]})
    assert twin.header("x-cache") == "HIT"


async def test_an_answer_that_is_cut_and_one_of_a_schema(client: Client):
    answer = await created(client, model="words-10", max_output_tokens=3)

    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert answer["output"][0]["status"] == "incomplete"

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    format = {"type": "json_schema", "name": "n", "schema": schema}

    answer = await created(client, model="json", input="take 5", text={"format": format})

    assert json.loads(text(answer)) == {"a": 5}
    assert answer["text"] == {"format": format}


async def test_tools_are_called_and_told_what_came_of_it(client: Client):
    asked = await stored(client, model="tools", input="weather in Paris", tools=[TOOL])
    (call,) = asked["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}

    told = await created(client, model="tools", input=[result], previous_response_id=asked["id"], tools=[TOOL])

    assert (call["type"], call["name"], json.loads(call["arguments"])) == (
        "function_call",
        "weather",
        {"city": "Paris"},
    )
    assert text(told) == "result: sunny"


async def test_only_what_is_asked_to_be_stored_is_read_again(client: Client):
    answer = await created(client)

    unknown = await client.get(f"{PATH}/{answer['id']}")

    assert (unknown.status, unknown.code) == (404, "not_found")
    assert "store: true" in unknown.json["error"]["message"]

    answer = await stored(client, metadata={"a": "b"}, instructions="be kind")

    assert (await client.get(f"{PATH}/{answer['id']}")).json == answer


async def test_a_stored_stream_is_read_and_followed_again(client: Client):
    streamed = await client.post(PATH, {"input": "hi", "model": "words-10", "store": True, "stream": True})
    last = events(streamed)[-1]["response"]
    path = f"{PATH}/{last['id']}"

    assert (await client.get(path)).json == last
    again = await client.get(f"{path}?stream=true")
    assert again.header("content-type") == "text/event-stream; charset=utf-8"
    assert again.body == streamed.body
    assert events(await client.get(f"{path}?stream=true&starting_after=7")) == events(streamed)[8:]


async def test_a_conversation_goes_on_without_its_instructions(client: Client):
    first = await stored(client, instructions="one two three")
    second = await stored(client, input="and now", previous_response_id=first["id"])

    assert first["usage"]["input_tokens"] == 4
    assert second["usage"]["input_tokens"] == 1 + 2 + 2
    assert second["previous_response_id"] == first["id"]
    await client.request("DELETE", f"{PATH}/{first['id']}")
    third = await created(client, input="more", previous_response_id=second["id"])
    assert third["usage"]["input_tokens"] == 5 + 3 + 1


async def test_input_items_are_paged(client: Client):
    first = await stored(client)
    picture = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    said = [{"role": "user", "content": [{"type": "input_text", "text": "look"}, picture]}]
    second = await stored(client, model="see", input=said, previous_response_id=first["id"])
    path = f"{PATH}/{second['id']}/input_items"

    page = (await client.get(f"{path}?order=asc&include[]=message.input_image.image_url")).json

    assert [(item["type"], item["role"]) for item in page["data"]] == [
        ("message", "user"),
        ("message", "assistant"),
        ("message", "user"),
    ]
    assert page["data"][2]["content"][1] == picture | {"detail": "auto"}
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][2]["id"])
    assert page["has_more"] is False
    newest = (await client.get(f"{path}?limit=2")).json
    assert newest["data"] == page["data"][:0:-1]
    assert newest["has_more"] is True
    assert (await client.get(f"{path}?after={newest['last_id']}")).json["data"] == page["data"][:1]
    assert (await client.get(f"{path}?after={page['first_id']}")).json["data"] == []
    assert (await client.get(f"{path}?after=nothing")).status == 400
    assert (await client.get(f"{path}?limit=0")).status == 400


async def test_what_is_deleted_or_expired_is_gone(client: Client, service: Service):
    one, two = await stored(client), await stored(client)

    deleted = await client.request("DELETE", f"{PATH}/{one['id']}")
    service.clock.advance_s(30 * 86_400)

    assert deleted.json == {"id": one["id"], "object": "response", "deleted": True}
    for answer in (one, two):
        assert (await client.get(f"{PATH}/{answer['id']}")).status == 404
        assert (await client.request("DELETE", f"{PATH}/{answer['id']}")).status == 404
        assert (await client.get(f"{PATH}/{answer['id']}/input_items")).status == 404
        assert (await client.post(f"{PATH}/{answer['id']}/cancel")).status == 404


async def test_no_tenant_and_no_key_without_the_scope_reads_another_s(client: Client, service: Service):
    answer = await stored(client)
    other = await service.with_key(tenant_id="other")
    colleague = await service.with_key(user_id="bob")

    assert (await other.get(f"{PATH}/{answer['id']}")).status == 404
    assert (await other.request("DELETE", f"{PATH}/{answer['id']}")).status == 404
    refused = await other.post(PATH, {"input": "hi", "previous_response_id": answer["id"]})
    assert (refused.status, refused.code) == (400, "previous_response_not_found")
    assert (await colleague.get(f"{PATH}/{answer['id']}")).json == answer

    answer = await stored(client)
    reader = await service.with_key(scopes=["usage:read"])

    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        assert (await reader.request(method, f"{PATH}/{answer['id']}{path}")).status == 403
    assert (await reader.post(PATH, {"input": "hi"})).status == 403
    assert (await service.client().get(f"{PATH}/{answer['id']}")).status == 401


async def test_404_unknown_id(client: Client):
    for id in ("resp_" + "0" * 32, "resp_", "nothing", "resp_" + "A" * 32, "%00"):
        unknown = await client.get(f"{PATH}/{id}")
        assert (unknown.status, unknown.code) == (404, "not_found")


async def test_400_what_is_not_supported_and_too_long_a_conversation(client: Client):
    bodies = [
        {"conversation": "c"},
        {"truncation": "auto"},
        {"tools": [{"type": "web_search"}]},
        {"background": True},
        {"previous_response_id": "resp_1"},
        {"temperature": 3},
    ]
    for body in bodies:
        refused = await client.post(PATH, {"input": "hi"} | body)
        assert refused.status == 400, body
        assert refused.json["error"]["type"] == "invalid_request_error"
        assert refused.json["error"]["param"] in {*body, "tools[0].type"}

    first = await stored(client, input="x" * 90_000)

    refused = await client.post(PATH, {"input": "x" * 90_000, "previous_response_id": first["id"]})

    assert refused.status == 400
    assert "characters" in refused.json["error"]["message"]


async def test_errors_of_the_engine_before_and_within_a_stream(client: Client):
    assert (await client.post(PATH, {"input": "hi", "model": "busy"})).status == 503
    broken = events(await client.post(PATH, {"input": "hi", "model": "fail-mid", "stream": True, "store": True}))

    error, failed = broken[-2:]
    assert error["type"] == "error"
    assert error["error"]["message"] == error["message"]
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"]["code"] == "server_error"
    assert text(failed["response"]) == "one two "
    assert [event["sequence_number"] for event in broken] == list(range(len(broken)))
    assert (await client.get(f"{PATH}/{failed['response']['id']}")).status == 404


async def test_a_background_response_runs_on_when_its_client_leaves(client: Client, service: Service):
    queued = await stored(client, model="slow-20", background=True)
    assert (queued["status"], queued["output"], queued["usage"]) == ("queued", [], None)
    assert (await client.get(f"{PATH}/{queued['id']}")).json["status"] == "in_progress"
    refused = await client.post(PATH, {"input": "hi", "previous_response_id": queued["id"]})
    assert refused.status == 400
    assert "in_progress" in refused.json["error"]["message"]

    whole = await ended(client, queued["id"])

    assert (whole["status"], whole["background"]) == ("completed", True)
    assert text(whole).startswith("word0 word1")
    assert (await client.post(f"{PATH}/{queued['id']}/cancel")).json == whole
    row = next(row for row in await rows_of(service, client, count=2) if row["model_used"] == "slow-20")
    assert (row["endpoint"], row["status_code"], row["completion_tokens"]) == (PATH, 200, 20)


async def test_a_background_stream_is_left_and_taken_up_again(client: Client):
    body = {"input": "hi", "model": "slow-20", "background": True, "store": True, "stream": True}

    left = await client.post(PATH, body, leave_after_chunks=4)
    seen = events(left)
    id, number = seen[0]["response"]["id"], seen[-1]["sequence_number"]
    rest = events(await client.get(f"{PATH}/{id}?stream=true&starting_after={number}"))

    assert [event["type"] for event in seen[:3]] == ["response.created", "response.queued", "response.in_progress"]
    numbers = [event["sequence_number"] for event in seen + rest]
    assert numbers == list(range(len(numbers)))
    assert rest[-1]["type"] == "response.completed"
    assert rest[-1]["response"] == await ended(client, id)
    assert events(await client.get(f"{PATH}/{id}?stream=true")) == seen + rest


async def test_a_background_response_is_cancelled(client: Client, service: Service):
    queued = await stored(client, model="slow-first", background=True)
    path = f"{PATH}/{queued['id']}"

    cancelled = await client.post(f"{path}/cancel")

    assert cancelled.json == queued | {"status": "cancelled"}
    assert (await client.get(path)).json == cancelled.json
    assert [event["type"] for event in events(await client.get(f"{path}?stream=true"))][-1] == "response.in_progress"
    (row,) = await rows_of(service, client, count=1)
    assert row["status_code"] == 499
    refused = await client.post(PATH, {"input": "hi", "previous_response_id": queued["id"]})
    assert refused.status == 400


async def test_what_was_made_of_a_cancelled_one_is_in_the_ledger(client: Client, service: Service):
    queued = await stored(client, model="slow-50", background=True)
    await asyncio.sleep(0.1)
    await client.post(f"{PATH}/{queued['id']}/cancel")

    (row,) = await rows_of(service, client, count=1)
    assert row["status_code"] == 499
    assert row["prompt_tokens"] > 0
    assert 1 <= row["completion_tokens"] < 20


async def test_a_deleted_one_ends_its_followers_and_an_idempotent_one_is_made_once(client: Client):
    queued = await stored(client, model="slow-first", background=True)
    path = f"{PATH}/{queued['id']}"
    following = asyncio.create_task(client.get(f"{path}?stream=true"))
    await asyncio.sleep(0.02)

    await client.request("DELETE", path)

    assert events(await asyncio.wait_for(following, 5))[-1]["type"] == "response.in_progress"

    body = {"input": "hi", "model": "slow-20", "background": True, "store": True}

    first, second = [await client.post(PATH, body, headers={"idempotency-key": "k"}) for _ in range(2)]

    assert second.header("idempotent-replayed") == "true"
    assert second.json == first.json
    assert (await ended(client, first.json["id"]))["status"] == "completed"


async def test_no_others_are_cancelled_and_what_fails_at_once_is_refused(client: Client):
    answer = await stored(client)

    refused = await client.post(f"{PATH}/{answer['id']}/cancel")

    assert refused.status == 400
    assert "background" in refused.json["error"]["message"]

    for model, status in (("busy", 503), ("nothing", 404), ("fail", 502)):
        refused = await client.post(PATH, {"input": "hi", "model": model, "background": True, "store": True})
        assert refused.status == status
