"""An OpenAI-compatible server for tests; a model's name picks what happens (see scripts.py)."""

import asyncio
import base64
import json
import struct
from collections.abc import Mapping
from typing import Any

from tests.servers.http_server import Exchange, HttpServer
from tests.servers.scripts import (
    DIMENSIONS,
    EMBEDDER,
    INPUT_WORDS_MAX,
    MODELS,
    REFUSALS,
    Asked,
    Call,
    Cut,
    Error,
    Pause,
    logprobs_of,
    media_type_of,
    steps,
    vector_of,
)

CONTEXT_LENGTH = 4_096


class OpenAIServer:
    """`async with OpenAIServer() as server:`; `active` is how many answers are being given.

    `has_usage` False leaves the token counts out, `has_done` False the final `[DONE]`; an `api_key` has to be sent.
    """

    def __init__(self, *, has_usage: bool = True, has_done: bool = True, api_key: str | None = None) -> None:
        self.active = 0
        self.has_usage = has_usage
        self.has_done = has_done
        self.api_key = api_key
        self.http = HttpServer(self._handle)

    @property
    def url(self) -> str:
        return self.http.url

    async def __aenter__(self) -> "OpenAIServer":
        await self.http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.__aexit__()

    async def _handle(self, exchange: Exchange) -> None:
        request = exchange.request
        if self.api_key is not None and request.headers.get("authorization") != f"Bearer {self.api_key}":
            await exchange.answer(401, {"error": {"message": "Incorrect API key provided: sk-abcdef123456"}})
        elif request.path == "/v1/models":
            rows = [{"id": name, "object": "model", "max_model_len": CONTEXT_LENGTH} for name in MODELS]
            await exchange.answer(200, {"object": "list", "data": rows})
        elif request.path == "/v1/chat/completions":
            self.active += 1
            try:
                await self._chat(exchange)
            finally:
                self.active -= 1
        elif request.path == "/v1/embeddings":
            await self._embed(exchange)
        else:
            await exchange.answer(404, {"error": {"message": "no such path"}})

    async def _chat(self, exchange: Exchange) -> None:
        asked = exchange.request.json()
        model = asked["model"]
        if (status := REFUSALS.get(model)) is not None:
            said = "Loading model" if model == "loading" else f"told to answer {status}, see http://10.0.0.1/help"
            await exchange.answer(status, {"error": {"message": said, "code": status}}, {"retry-after": "7"})
        elif asked["stream"]:
            await self._streamed(exchange)
        else:
            await self._plain(exchange)

    async def _embed(self, exchange: Exchange) -> None:
        asked = exchange.request.json()
        words = [len(text.split()) for text in asked["input"]]
        if asked["model"] != EMBEDDER or max(words) > INPUT_WORDS_MAX:
            said = "the input is too long" if asked["model"] == EMBEDDER else "the model makes no embeddings"
            return await exchange.answer(400, {"error": {"message": said, "code": 400}})
        is_packed = asked.get("encoding_format") == "base64"
        rows = [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if is_packed else vector}
            for index, text in enumerate(asked["input"])
            for vector in [vector_of(text, asked.get("dimensions", DIMENSIONS))]
        ]
        usage = {"usage": {"prompt_tokens": sum(words), "total_tokens": sum(words)}} if self.has_usage else {}
        return await exchange.answer(200, {"object": "list", "data": rows[::-1], "model": EMBEDDER, **usage})

    async def _plain(self, exchange: Exchange) -> None:
        script, finish, usage = _answer(exchange)
        words, calls = [], []
        for step in script:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Cut):
                return exchange.cut()
            elif isinstance(step, Error):
                return await exchange.answer(500, {"error": {"message": "told to fail"}})
            elif isinstance(step, Call):
                calls.append(_call(step, len(calls)))
            else:
                words.append(step)
        message = {"role": "assistant", "content": "".join(words) or None, **({"tool_calls": calls} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": finish, **_logprobs(exchange, words)}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]}
        return await exchange.answer(200, {**answer, **({"usage": usage} if self.has_usage else {})})

    async def _streamed(self, exchange: Exchange) -> None:
        script, finish, usage = _answer(exchange)
        await exchange.begin("text/event-stream")
        await exchange.send(_event({"role": "assistant", "content": None}))
        count = 0
        for step in script:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Cut):
                return exchange.cut()
            elif isinstance(step, Error):
                await exchange.send(_data({"error": {"message": "told to fail", "code": 500}}))
                return await exchange.end()
            elif isinstance(step, Call):
                for piece in _call_pieces(step, count):
                    await exchange.send(_event({"tool_calls": [piece]}))
                count += 1
            else:
                await exchange.send(_event({"content": step}, **_logprobs(exchange, [step])))
        await exchange.send(_event({}, finish))
        if self.has_usage:
            assert exchange.request.json()["stream_options"] == {"include_usage": True}
            await exchange.send(_data({"choices": [], "usage": usage}))
        if self.has_done:
            await exchange.send(b"data: [DONE]\n\n")
        return await exchange.end()


def _answer(exchange: Exchange):
    body = exchange.request.json()
    script, finish, count = steps(_asked(body))
    words = sum(len(_text(message).split()) for message in body["messages"])
    return script, finish, {"prompt_tokens": words, "completion_tokens": count, "total_tokens": words + count}


def _asked(body: Mapping[str, Any]) -> Asked:
    messages, choice = body["messages"], body.get("tool_choice", "auto")
    for message in messages:
        assert message["role"] != "tool" or message["tool_call_id"]
    named = choice["function"]["name"] if isinstance(choice, dict) else None
    tools = [tool for tool in body.get("tools", ()) if named in (None, tool["function"]["name"])]
    trailing = [message["content"] for message in messages if message["role"] == "tool"]
    return Asked(
        model=body["model"],
        prompt=_text(messages[-1]),
        stop=body.get("stop", ()),
        max_tokens=body["max_tokens"],
        results=trailing if messages[-1]["role"] == "tool" else (),
        tools=() if choice == "none" else tools,
        is_call_required=choice == "required" or named is not None,
        schema=body.get("response_format", {}).get("json_schema", {}).get("schema"),
        media_types=[media_type_of(url.partition(";base64,")[2]) for message in messages for url in _urls(message)],
    )


def _text(message: Mapping[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def _urls(message: Mapping[str, Any]) -> list[str]:
    content = message["content"]
    parts = content if isinstance(content, list) else ()
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def _call(call: Call, index: int) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": f"call_{index}", "type": "function", "function": function}


def _call_pieces(call: Call, index: int) -> list[dict[str, Any]]:
    whole = _call(call, index)
    arguments = whole["function"]["arguments"]
    half = len(arguments) // 2
    first = {**whole, "index": index, "function": {"name": call.name, "arguments": ""}}
    return [
        first,
        *({"index": index, "function": {"arguments": part}} for part in (arguments[:half], arguments[half:])),
    ]


def _logprobs(exchange: Exchange, words: list[str]) -> dict[str, Any]:
    body = exchange.request.json()
    return {"logprobs": {"content": logprobs_of(words, body["top_logprobs"])}} if body.get("logprobs") else {}


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _event(delta: dict[str, object], finish: str | None = None, **more: object) -> bytes:
    return _data({"choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]})


def _data(content: object) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"
