"""A server for tests that speaks Ollama's API as its docs/api.md has it: tags, ps, show, pull, chat."""

import asyncio
import hashlib
import json
from typing import Any

from tests.servers.http_server import Exchange, HttpServer
from tests.servers.scripts import MODELS, REFUSALS, Cut, Error, Pause, steps

CONTEXT_LENGTH = 131_072
LOADED_CONTEXT_LENGTH = 4_096
CREATED_AT = "2025-10-26T17:15:24.097767Z"
SIZE = 1_321_098_329
NDJSON = "application/x-ndjson"


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
        show = {"details": _tag(name)["details"], "model_info": info, "capabilities": ["completion", "tools"]}
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
        text = ""
        for step in script:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Cut):
                return exchange.cut()
            elif isinstance(step, Error):
                return await exchange.answer(500, {"error": "told to fail"})
            else:
                text += step
        message = {"role": "assistant", "content": text, **({"thinking": "Hm."} if self.thinks else {})}
        return await exchange.answer(200, {**final, "message": message})

    async def _streamed(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        script, final = _answer(asked)
        await exchange.begin(NDJSON)
        if self.thinks:
            await exchange.send(_piece(asked["model"], "", thinking="Hm."))
        for step in script:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Cut):
                return exchange.cut()
            elif isinstance(step, Error):
                await exchange.send(_line({"error": "an error was encountered while running the model"}))
                return await exchange.end()
            else:
                await exchange.send(_piece(asked["model"], step))
        await exchange.send(_line({**final, "message": {"role": "assistant", "content": ""}}))
        return await exchange.end()


def _answer(asked: dict[str, Any]):
    options = asked.get("options", {})
    prompt = asked["messages"][-1]["content"]
    script, finish, count = steps(
        asked["model"], prompt, stop=options.get("stop", []), max_tokens=options.get("num_predict", -1)
    )
    counts = {
        "total_duration": 4_883_583_458,
        "load_duration": 1_334_875,
        "prompt_eval_count": sum(len(message["content"].split()) for message in asked["messages"]),
        "prompt_eval_duration": 342_546_000,
        "eval_count": count,
        "eval_duration": 4_535_599_000,
    }
    return script, {"model": asked["model"], "created_at": CREATED_AT, "done": True, "done_reason": finish, **counts}


def _piece(model: str, text: str, **more: str) -> bytes:
    message = {"role": "assistant", "content": text, **more}
    return _line({"model": model, "created_at": CREATED_AT, "message": message, "done": False})


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
