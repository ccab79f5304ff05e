"""What every engine does, over all of them: scripted ones, and llama.cpp with a real model."""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiservice.core.errors import EngineBusy, EngineError, EngineRefused, EngineTimeout, EngineUnreachable
from aiservice.core.types import Chunk, Deadline, Generation, Message
from aiservice.engines import Engine, EngineSpec, EstimatedTokens
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


@pytest.fixture(scope="module")
def llamacpp_server() -> Iterator[LlamaCppServer]:
    model = embedded_model_path("smollm2")
    assert model is not None, "the model's package is not installed"
    with tempfile.TemporaryDirectory(prefix="ai") as folder:
        socket = f"{folder}/llamacpp.sock"
        command = [sys.executable, str(SERVER), str(model), socket]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield LlamaCppServer(process.stdout.readline().strip(), socket)
            finally:
                process.kill()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(params=SCRIPTED)
async def scripted(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Subject:
    return await scripted_subject(request.param, stack)


@pytest.fixture(params=[*SCRIPTED, *REAL])
async def subject(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Subject:
    if request.param in SCRIPTED:
        return await scripted_subject(request.param, stack)
    server = request.getfixturevalue("llamacpp_server")
    if request.param == "llamacpp":
        engine: Engine = embedded_engine(server.socket)
    else:
        engine = OpenAICompatEngine(EngineSpec("openai", "openai_compat", server.url))
    stack.push_async_callback(engine.aclose)
    names = dict.fromkeys(("ordinary", "long", "slow", "slow_first", "slow_between"), SMOLLM2_NAME)
    # As the registry does at the start: the engine learns what kind of server it has.
    await engine.models()
    limits = {"first_token_s": 0.001, "between_tokens_s": 0.0005, "total_s": 0.15}
    # A slot is freed at the next token, and a token may take long while all cores are at work on other tests.
    return Subject(engine, server.count_active, **names, **limits, patience_s=1.0, slot_free_s=1.0)


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


async def hear(heard: list[Chunk], chunks: AsyncIterator[Chunk]) -> None:
    """Keeps what came before an error."""
    async for chunk in chunks:
        heard.append(chunk)


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def active_of(subject: Subject) -> int:
    count = subject.count_active()
    return count if isinstance(count, int) else await count


async def test_models(subject: Subject):
    models = await subject.engine.models()

    model = next(model for model in models if model.name == subject.ordinary)
    assert model.id == f"{subject.engine.name}/{model.name}"
    assert model.is_loaded
    assert "chat" in model.capabilities
    assert model.context_length is not None
    assert model.context_length >= 2_048
    assert model.digest
    assert [again.digest for again in await subject.engine.models()] == [model.digest for model in models]


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
async def test_the_last_chunk_alone_has_the_facts(subject: Subject, is_streamed: bool):
    *pieces, last = await chunks_of(subject.engine, subject.ordinary, ask(stream=is_streamed))

    assert text_of([*pieces, last])
    assert last.finish_reason is not None
    assert last.tokens is not None
    assert not isinstance(last.tokens, EstimatedTokens)
    assert last.tokens.prompt > 0
    assert last.tokens.completion > 0
    assert all(piece.finish_reason is None and piece.tokens is None and piece.text for piece in pieces)


async def test_streamed_equals_plain(subject: Subject):
    plain = await chunks_of(subject.engine, subject.ordinary, ask(stream=False))
    streamed = await chunks_of(subject.engine, subject.ordinary, ask(stream=True))

    assert text_of(streamed) == text_of(plain)
    assert len(streamed) > 2
    assert (streamed[-1].finish_reason, streamed[-1].tokens) == (plain[-1].finish_reason, plain[-1].tokens)


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
async def test_max_tokens_ends_with_length(subject: Subject, is_streamed: bool):
    last = (await chunks_of(subject.engine, subject.long, ask("Count to 100.", max_tokens=4, stream=is_streamed)))[-1]

    assert last.finish_reason == "length"
    assert last.tokens is not None
    assert last.tokens.completion == 4


async def test_a_stop_text_ends_with_stop_and_is_left_out(subject: Subject):
    whole = text_of(await chunks_of(subject.engine, subject.ordinary, ask()))
    word = whole.split()[2]

    chunks = await chunks_of(subject.engine, subject.ordinary, ask(stop=(word,), stream=True))

    assert text_of(chunks).rstrip() == whole[: whole.index(word)].rstrip()
    assert chunks[-1].finish_reason == "stop"


async def test_several_at_once(subject: Subject):
    asked = [chunks_of(subject.engine, subject.ordinary, ask(stream=True, max_tokens=4)) for _ in range(4)]

    answers = await asyncio.gather(*asked)

    assert all(text_of(chunks) and chunks[-1].tokens is not None for chunks in answers)


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
async def test_a_cancelled_call_frees_its_slot(subject: Subject, is_streamed: bool):
    generation = ask("Tell a long story.", max_tokens=1_000, stream=is_streamed)
    task = asyncio.create_task(chunks_of(subject.engine, subject.slow, generation))
    await wait_until(subject, active=1, within_s=5.0)

    task.cancel()

    await wait_until(subject, active=0, within_s=subject.slot_free_s)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_closed_iterator_frees_its_slot(subject: Subject):
    generation = ask("Tell a long story.", max_tokens=1_000, stream=True)
    chunks = subject.engine.generate(subject.slow, generation, DEADLINE)
    await anext(chunks)
    assert await active_of(subject) == 1

    await chunks.aclose()

    await wait_until(subject, active=0, within_s=subject.slot_free_s)


async def test_first_token_too_late(subject: Subject):
    deadline = replace(DEADLINE, first_token_s=subject.first_token_s)

    with pytest.raises(EngineTimeout, match="did not begin"):
        await chunks_of(subject.engine, subject.slow_first, ask(stream=True), deadline)
    await wait_until(subject, active=0, within_s=subject.slot_free_s)


async def test_next_token_too_late(subject: Subject):
    deadline = replace(DEADLINE, between_tokens_s=subject.between_tokens_s)
    heard: list[Chunk] = []

    with pytest.raises(EngineTimeout, match="fell silent"):
        await hear(heard, subject.engine.generate(subject.slow_between, ask(stream=True), deadline))
    assert heard
    await wait_until(subject, active=0, within_s=subject.slot_free_s)


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
async def test_whole_answer_too_late(subject: Subject, is_streamed: bool):
    deadline = replace(DEADLINE, total_s=subject.total_s)
    generation = ask("Tell a long story.", max_tokens=1_000, stream=is_streamed)

    with pytest.raises(EngineTimeout, match="did not finish"):
        await chunks_of(subject.engine, subject.slow, generation, deadline)
    await wait_until(subject, active=0, within_s=subject.slot_free_s)


async def test_a_slow_listener_is_not_the_engines_fault(subject: Subject):
    deadline = replace(DEADLINE, between_tokens_s=subject.patience_s)
    heard: list[Chunk] = []

    async for chunk in subject.engine.generate(subject.ordinary, ask(stream=True, max_tokens=3), deadline):
        heard.append(chunk)
        if len(heard) == 1:
            await asyncio.sleep(1.1 * subject.patience_s)

    assert heard[-1].tokens is not None


@pytest.mark.parametrize("kind", ["openai_compat", "ollama"])
async def test_refused_connection(kind: str):
    engine = scripted_engine(kind, "http://127.0.0.1:9")

    with pytest.raises(EngineUnreachable) as caught:
        await chunks_of(engine, "echo", ask())
    with pytest.raises(EngineUnreachable):
        await engine.models()
    assert "127.0.0.1" not in caught.value.public
    await engine.aclose()


async def test_the_embedded_engine_is_starting_while_its_socket_is_missing(tmp_path: Path):
    engine = embedded_engine(f"{tmp_path}/none.sock")

    with pytest.raises(EngineBusy) as caught:
        await chunks_of(engine, SMOLLM2_NAME, ask())
    assert caught.value.retry_after_s
    assert str(tmp_path) not in caught.value.public
    assert [model.is_loaded for model in await engine.models()] == [False]
    await engine.aclose()


async def test_an_answer_that_is_cut_is_an_error(scripted: Subject):
    heard: list[Chunk] = []

    with pytest.raises(EngineError, match="broke off") as caught:
        await hear(heard, scripted.engine.generate("cut", ask(stream=True), DEADLINE))
    assert text_of(heard) == "one two "
    assert caught.type is EngineError


async def test_a_plain_answer_that_is_cut_is_an_error(scripted: Subject):
    with pytest.raises(EngineError):
        await chunks_of(scripted.engine, "cut", ask())


async def test_an_error_in_mid_stream(scripted: Subject):
    heard: list[Chunk] = []

    with pytest.raises(EngineError, match="in the middle") as caught:
        await hear(heard, scripted.engine.generate("fail-mid", ask(stream=True), DEADLINE))
    assert text_of(heard) == "one two "
    assert caught.type is EngineError
    assert scripted.count_active() == 0


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(("model", "kind"), [("refuse", EngineRefused), ("busy", EngineBusy), ("fail", EngineError)])
async def test_refusals(scripted: Subject, model: str, kind: type[EngineError], is_streamed: bool):
    with pytest.raises(kind) as caught:
        await chunks_of(scripted.engine, model, ask(stream=is_streamed))

    assert caught.type is kind
    assert "http://" not in caught.value.public
    assert bool(caught.value.retry_after_s) == (kind is EngineBusy)


@pytest.mark.parametrize("kind", ["openai_compat", "ollama"])
@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("missing", EngineRefused, "told to answer 404"),
        ("too-long", EngineRefused, "told to answer 422"),
        ("busy", EngineBusy, "no free slot now; try again in 7 s"),
        ("loading", EngineBusy, "try again in 7 s"),
        ("locked", EngineError, "credentials"),
    ],
)
async def test_statuses(kind: str, model: str, error: type[EngineError], words: str, stack: AsyncExitStack):
    subject = await scripted_subject(kind, stack)

    with pytest.raises(error, match=words) as caught:
        await chunks_of(subject.engine, model, ask(stream=True))
    assert caught.type is error


@pytest.mark.parametrize("kind", ["fake", "ollama"])
async def test_pull_where_an_engine_can(kind: str, stack: AsyncExitStack):
    subject = await scripted_subject(kind, stack)

    steps = [step async for step in subject.engine.pull("llama3.2:1b")]

    assert steps[-1].status == "success"
    assert any(step.completed_bytes is not None and step.completed_bytes == step.total_bytes for step in steps)


async def test_pull_where_an_engine_cannot():
    for engine in (scripted_engine("openai_compat", "http://127.0.0.1:9"), embedded_engine("/none.sock")):
        with pytest.raises(EngineRefused):
            await anext(engine.pull("llama3.2:1b"))


@pytest.mark.real
async def test_a_prompt_above_the_context_is_refused(llamacpp_server: LlamaCppServer):
    engine = embedded_engine(llamacpp_server.socket)

    with pytest.raises(EngineRefused, match="context"):
        await chunks_of(engine, SMOLLM2_NAME, ask("word " * 3_000))
    await engine.aclose()


@pytest.mark.real
async def test_a_json_schema_is_kept(llamacpp_server: LlamaCppServer):
    engine = embedded_engine(llamacpp_server.socket)
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    response_format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}

    chunks = await chunks_of(engine, SMOLLM2_NAME, ask(response_format=response_format, max_tokens=40))

    assert isinstance(json.loads(text_of(chunks))["ok"], bool)
    await engine.aclose()


async def wait_until(subject: Subject, *, active: int, within_s: float) -> None:
    end = time.monotonic() + within_s
    while (now_active := await active_of(subject)) != active:
        assert time.monotonic() < end, f"{now_active} active after {within_s} s"
        await asyncio.sleep(0.005)
