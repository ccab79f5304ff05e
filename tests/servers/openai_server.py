"""An OpenAI-compatible server for tests; a model's name picks what happens (see scripts.py)."""

import asyncio
import json

from tests.servers.http_server import Exchange, HttpServer
from tests.servers.scripts import MODELS, REFUSALS, Cut, Error, Pause, steps

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

    async def _plain(self, exchange: Exchange) -> None:
        script, finish, usage = _answer(exchange)
        text = ""
        for step in script:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Cut):
                return exchange.cut()
            elif isinstance(step, Error):
                return await exchange.answer(500, {"error": {"message": "told to fail"}})
            else:
                text += step
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]}
        return await exchange.answer(200, {**answer, **({"usage": usage} if self.has_usage else {})})

    async def _streamed(self, exchange: Exchange) -> None:
        script, finish, usage = _answer(exchange)
        await exchange.begin("text/event-stream")
        await exchange.send(_event({"role": "assistant", "content": None}))
        for step in script:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Cut):
                return exchange.cut()
            elif isinstance(step, Error):
                await exchange.send(_data({"error": {"message": "told to fail", "code": 500}}))
                return await exchange.end()
            else:
                await exchange.send(_event({"content": step}))
        await exchange.send(_event({}, finish))
        if self.has_usage:
            assert exchange.request.json()["stream_options"] == {"include_usage": True}
            await exchange.send(_data({"choices": [], "usage": usage}))
        if self.has_done:
            await exchange.send(b"data: [DONE]\n\n")
        return await exchange.end()


def _answer(exchange: Exchange):
    asked = exchange.request.json()
    prompt = asked["messages"][-1]["content"]
    script, finish, count = steps(asked["model"], prompt, stop=asked.get("stop", []), max_tokens=asked["max_tokens"])
    words = sum(len(message["content"].split()) for message in asked["messages"])
    return script, finish, {"prompt_tokens": words, "completion_tokens": count, "total_tokens": words + count}


def _event(delta: dict[str, object], finish: str | None = None) -> bytes:
    return _data({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _data(content: object) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"
