"""A server for tests that speaks Ollama's API as its docs/api.md has it: tags, ps, show, pull, chat, embed."""

import asyncio
import hashlib
import json
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

CONTEXT_LENGTH = 131_072
LOADED_CONTEXT_LENGTH = 4_096
CREATED_AT = "2025-10-26T17:15:24.097767Z"
SIZE = 1_321_098_329
NDJSON = "application/x-ndjson"
CAPABILITIES = {"embed": ["embedding"], "see": ["completion", "vision"]}


class OllamaServer:
    """`async with OllamaServer() as server:`; `active` is how many answers are being given.

    `models` can be pulled into and taken from; the first is loaded. `thinks` puts a thought before each answer.
    """

    def __init__(self, *, thinks: bool = False) -> None:
        self.active = 0
        self.thinks = thinks
        self.models = list(MODELS)
        self.shows = 0
        self.http = HttpServer(self._handle)

    @property
    def url(self) -> str:
        return self.http.url

    async def __aenter__(self) -> "OllamaServer":
        await self.http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.__aexit__()

    async def _handle(self, exchange: Exchange) -> None:
        handlers = {
            ("GET", "/api/tags"): self._tags,
            ("GET", "/api/ps"): self._ps,
            ("POST", "/api/show"): self._show,
            ("POST", "/api/pull"): self._pull,
            ("POST", "/api/chat"): self._chat,
            ("POST", "/api/embed"): self._embed,
        }
        handler = handlers.get((exchange.request.method, exchange.request.path))
        if handler is None:
            await exchange.answer(404, b"404 page not found")
        else:
            await handler(exchange)

    async def _tags(self, exchange: Exchange) -> None:
        await exchange.answer(200, {"models": [_tag(name) for name in self.models]})

    async def _ps(self, exchange: Exchange) -> None:
        running = {**_tag(self.models[0]), "size_vram": SIZE, "context_length": LOADED_CONTEXT_LENGTH}
        await exchange.answer(200, {"models": [running]})

    async def _show(self, exchange: Exchange) -> None:
        self.shows += 1
        name = exchange.request.json()["model"]
        if name not in self.models:
            return await exchange.answer(404, {"error": f"model '{name}' not found"})
        info = {"general.architecture": "llama", "llama.context_length": CONTEXT_LENGTH, "llama.block_count": 16}
        capabilities = CAPABILITIES.get(name, ["completion", "tools"])
        show = {"details": _tag(name)["details"], "model_info": info, "capabilities": capabilities}
        return await exchange.answer(200, show)

    async def _pull(self, exchange: Exchange) -> None:
        name = exchange.request.json()["model"]
        digest = _digest(name)
        await exchange.begin(NDJSON)
        await exchange.send(_line({"status": "pulling manifest"}))
        if name.startswith("unknown"):
            await exchange.send(_line({"error": "pull model manifest: file does not exist"}))
            return await exchange.end()
        for completed in (None, 660_549_164, SIZE):
            layer = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": SIZE}
            await exchange.send(_line(layer if completed is None else {**layer, "completed": completed}))
        if name.startswith("cut"):
            return exchange.cut()
        if name.startswith("full"):
            await exchange.send(_line({"error": "write /root/.ollama/models/blobs/x: no space left on device"}))
            return await exchange.end()
        for status in ("verifying sha256 digest", "writing manifest", "removing any unused layers", "success"):
            await exchange.send(_line({"status": status}))
        self.models.append(name)
        return await exchange.end()

    async def _embed(self, exchange: Exchange) -> None:
        asked = exchange.request.json()
        words = [len(text.split()) for text in asked["input"]]
        if asked["model"] != EMBEDDER:
            return await exchange.answer(400, {"error": f'"{asked["model"]}" does not support embeddings'})
        if max(words) > INPUT_WORDS_MAX and asked.get("truncate", True) is False:
            return await exchange.answer(400, {"error": "the input length exceeds the context length"})
        vectors = [vector_of(text, asked.get("dimensions", DIMENSIONS)) for text in asked["input"]]
        answer = {"model": EMBEDDER, "embeddings": vectors, "total_duration": 14_143_917, "load_duration": 1_019_500}
        return await exchange.answer(200, {**answer, "prompt_eval_count": sum(words)})

    async def _chat(self, exchange: Exchange) -> None:
        asked = exchange.request.json()
        model = asked["model"]
        if (status := REFUSALS.get(model)) is not None:
            said = "server busy, please try again" if status == 429 else f"told to answer {status}"
            return await exchange.answer(status, {"error": said}, {"retry-after": "7"})
        self.active += 1
        try:
            if asked.get("stream", True):
                await self._streamed(exchange, asked)
            else:
                await self._plain(exchange, asked)
        finally:
            self.active -= 1

    async def _plain(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        script, final = _answer(asked)
        words, calls = [], []
        for step in script:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Cut):
                return exchange.cut()
            elif isinstance(step, Error):
                return await exchange.answer(500, {"error": "told to fail"})
            elif isinstance(step, Call):
                calls.append(_call(step))
            else:
                words.append(step)
        message = {"role": "assistant", "content": "".join(words), **({"thinking": "Hm."} if self.thinks else {})}
        if calls:
            message["tool_calls"] = calls
        return await exchange.answer(200, {**final, "message": message, **_logprobs(asked, words)})

    async def _streamed(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        script, final = _answer(asked)
        await exchange.begin(NDJSON)
        if self.thinks:
            await exchange.send(_piece(asked, "", thinking="Hm."))
        for step in script:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Cut):
                return exchange.cut()
            elif isinstance(step, Error):
                await exchange.send(_line({"error": "an error was encountered while running the model"}))
                return await exchange.end()
            elif isinstance(step, Call):
                await exchange.send(_piece(asked, "", tool_calls=[_call(step)]))
            else:
                await exchange.send(_piece(asked, step))
        await exchange.send(_line({**final, "message": {"role": "assistant", "content": ""}}))
        return await exchange.end()


def _answer(asked: dict[str, Any]):
    script, finish, count = steps(_asked(asked))
    counts = {
        "total_duration": 4_883_583_458,
        "load_duration": 1_334_875,
        "prompt_eval_count": sum(len(message["content"].split()) for message in asked["messages"]),
        "prompt_eval_duration": 342_546_000,
        "eval_count": count,
        "eval_duration": 4_535_599_000,
    }
    # Ollama has no reason of its own for an answer that ends with calls.
    reason = "stop" if finish == "tool_calls" else finish
    return script, {"model": asked["model"], "created_at": CREATED_AT, "done": True, "done_reason": reason, **counts}


def _asked(body: dict[str, Any]) -> Asked:
    options, messages = body.get("options", {}), body["messages"]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    for message in messages:
        assert all(isinstance(call["function"]["arguments"], dict) for call in message.get("tool_calls", ()))
        assert message["role"] != "tool" or message["tool_name"]
    return Asked(
        model=body["model"],
        prompt=messages[-1]["content"],
        stop=options.get("stop", ()),
        max_tokens=options.get("num_predict", -1),
        results=results if messages[-1]["role"] == "tool" else (),
        tools=body.get("tools", ()),
        schema=body["format"] if isinstance(body.get("format"), dict) else None,
        media_types=[media_type_of(data) for message in messages for data in message.get("images", ())],
    )


def _call(call: Call) -> dict[str, Any]:
    return {"function": {"name": call.name, "arguments": dict(call.arguments)}}


def _logprobs(asked: dict[str, Any], words: list[str]) -> dict[str, Any]:
    return {"logprobs": logprobs_of(words, asked.get("top_logprobs", 0))} if asked.get("logprobs") and words else {}


def _piece(asked: dict[str, Any], text: str, **more: object) -> bytes:
    message = {"role": "assistant", "content": text, **more}
    logprobs = _logprobs(asked, [text] if text else [])
    return _line({"model": asked["model"], "created_at": CREATED_AT, "message": message, "done": False, **logprobs})


def _line(content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _tag(name: str) -> dict[str, Any]:
    details = {
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "1.2B",
        "quantization_level": "Q8_0",
    }
    dates = {"modified_at": "2025-05-04T17:37:44.706015396-07:00"}
    return {"name": name, "model": name, "size": SIZE, "digest": _digest(name), "details": details, **dates}
