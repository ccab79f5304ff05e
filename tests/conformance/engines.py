"""What the conformance tests of engines ask, and whom."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiservice.core.types import (
    Chunk,
    Deadline,
    Embedding,
    Generation,
    Message,
)
from aiservice.engines import Engine, EngineSpec
from aiservice.engines.fake import FakeEngine
from aiservice.engines.http import HttpClient
from aiservice.engines.llamacpp import SMOLLM2_NAME, LlamaCppEngine, embedded_model_path
from aiservice.engines.ollama import OllamaEngine
from aiservice.engines.openai_compat import OpenAICompatEngine
from tests.servers.ollama_server import OllamaServer
from tests.servers.openai_server import OpenAIServer

SERVER = Path(__file__).resolve().parents[1] / "servers" / "llamacpp_server.py"
DEADLINE = Deadline(connect_s=2.0, first_token_s=20.0, between_tokens_s=10.0, total_s=30.0)
SCRIPTED = ("fake", "openai_compat", "ollama")
REAL = tuple(pytest.param(name, marks=pytest.mark.real) for name in ("llamacpp", "openai_compat_llamacpp"))


@dataclass
class Subject:
    """An engine, the names of its models for an ordinary, a short, a long and a never beginning answer."""

    engine: Engine
    count_active: Callable[[], int]
    ordinary: str = "echo"
    long: str = "words-1000"
    slow: str = "slow-50"
    slow_first: str = "slow-first"
    slow_between: str = "slow-between"
    schema: str = "json"
    tools: str = "tools"
    # Limits that such a model is sure to pass.
    first_token_s: float = 0.1
    between_tokens_s: float = 0.1
    total_s: float = 0.15
    # Between two tokens it is never so slow by itself.
    patience_s: float = 0.2
    slot_free_s: float = 0.2


@dataclass
class LlamaCppServer:
    url: str
    socket: str

    async def count_active(self) -> int:
        client = HttpClient(self.url)
        try:
            slots = json.loads(await client.get("/slots", timeout_s=5))
        finally:
            await client.aclose()
        return sum(slot["is_processing"] for slot in slots)


async def scripted_subject(kind: str, stack: AsyncExitStack) -> Subject:
    if kind == "fake":
        fake = FakeEngine()
        return Subject(fake, lambda: fake.active)
    server = await stack.enter_async_context(OllamaServer() if kind == "ollama" else OpenAIServer())
    engine = scripted_engine(kind, server.url)
    stack.push_async_callback(engine.aclose)
    return Subject(engine, lambda: server.active)


def scripted_engine(kind: str, url: str) -> Engine:
    if kind == "ollama":
        return OllamaEngine(EngineSpec("ollama", "ollama", url))
    return OpenAICompatEngine(EngineSpec("openai", "openai_compat", url))


def embedded_engine(socket: str) -> LlamaCppEngine:
    path = embedded_model_path("smollm2")
    assert path is not None
    spec = EngineSpec("llamacpp", "llamacpp", f"unix:{socket}")
    return LlamaCppEngine(spec, model_name=SMOLLM2_NAME, model_path=path, context_length=2_048)


def ask(text: str = "Say hello to the world.", **fields: object) -> Generation:
    generation = Generation("any", (Message("user", text),), temperature=0.0, max_tokens=12, seed=7)
    return replace(generation, **fields)


async def chunks_of(engine: Engine, model: str, generation: Generation, deadline: Deadline = DEADLINE) -> list[Chunk]:
    async with aclosing(engine.generate(model, generation, deadline)) as chunks:
        return [chunk async for chunk in chunks]


async def embed(engine: Engine, model: str, *texts: str, dimensions: int | None = None) -> list[Chunk]:
    return [chunk async for chunk in engine.embed(model, Embedding(model, texts, dimensions), DEADLINE)]


async def hear(heard: list[Chunk], chunks: AsyncIterator[Chunk]) -> None:
    """Keeps what came before an error."""
    async for chunk in chunks:
        heard.append(chunk)


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def active_of(subject: Subject) -> int:
    count = subject.count_active()
    return count if isinstance(count, int) else await count


async def wait_until(subject: Subject, *, active: int, within_s: float) -> None:
    end = time.monotonic() + within_s
    while (now_active := await active_of(subject)) != active:
        assert time.monotonic() < end, f"{now_active} active after {within_s} s"
        await asyncio.sleep(0.005)
