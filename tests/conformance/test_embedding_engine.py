"""What every engine that makes vectors does: scripted ones, and the embedded engine's own process with real models."""

import asyncio
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from aiservice.core.clock import SystemClock
from aiservice.core.errors import EngineRefused, EngineTimeout
from aiservice.core.settings import Settings, load
from aiservice.core.types import Chunk, Deadline, Embedding, Tokens
from aiservice.engines import Engine, EstimatedTokens
from aiservice.engines.embedder import BATCH_INPUTS
from aiservice.engines.llamacpp import SMOLLM2_NAME
from aiservice.engines.minilm import MINILM_NAME, embedding_model
from aiservice.engines.registry import CONSTRUCTORS, specs
from aiservice.server.engine import engine_child
from tests.conformance.engines import ask, chunks_of, scripted_subject, text_of
from tests.conformance.minilm import MiniLm
from tests.conformance.texts import TEXTS

KINDS = ("fake", "ollama", "openai_compat", pytest.param("llamacpp", marks=pytest.mark.real))
DEADLINE = Deadline(connect_s=2.0, first_token_s=20.0, between_tokens_s=10.0, total_s=90.0)
SIMILARITY_MIN = 0.999
START_S = 60.0


@dataclass(frozen=True)
class Subject:
    """An engine, its model for embeddings, one for chat, and a text that is too long for the first."""

    engine: Engine
    embedder: str = "embed"
    chat: str = "echo"
    too_long: str = "word " * 9_000


@pytest.fixture(scope="module")
def embedded() -> Iterator[Settings]:
    """The settings of the embedded engine's process, started as the supervisor does on a machine's first start."""
    with tempfile.TemporaryDirectory(prefix="ai") as folder:
        environ = {
            "ENVIRONMENT": "development",
            "DATA_DIR": folder,
            "EMBEDDED_CONTEXT": "2048",
            "EMBEDDED_THREADS": "1",
        }
        settings = load(environ)
        (Path(folder) / "run").mkdir()
        with engine_child(settings, SystemClock()) as child:
            assert child is not None
            child.start()
            try:
                _wait_until_served(Path(folder) / "log" / "llamacpp.log")
                yield settings
            finally:
                child.stop()


def _wait_until_served(log: Path) -> None:
    end_s = time.monotonic() + START_S
    while log.read_text().count("listening on") < 2:
        assert time.monotonic() < end_s, log.read_text()
        time.sleep(0.05)


@pytest.fixture(params=KINDS)
async def subject(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Subject:
    if request.param != "llamacpp":
        return Subject((await scripted_subject(request.param, stack)).engine)
    settings: Settings = request.getfixturevalue("embedded")
    engine = CONSTRUCTORS["llamacpp"](specs(settings)[0], settings)
    stack.push_async_callback(engine.aclose)
    return Subject(engine, MINILM_NAME, SMOLLM2_NAME, too_long="word " * 511)


@pytest.fixture
async def real(embedded: Settings, stack: AsyncExitStack) -> Engine:
    engine = CONSTRUCTORS["llamacpp"](specs(embedded)[0], embedded)
    stack.push_async_callback(engine.aclose)
    return engine


async def embed(engine: Engine, model: str, *texts: str, deadline: Deadline = DEADLINE, **fields: int) -> Chunk:
    (chunk,) = [chunk async for chunk in engine.embed(model, Embedding("any", texts, **fields), deadline)]
    return chunk


def numbers(vector: bytes) -> np.ndarray:
    return np.frombuffer(vector, "<f4")


async def test_the_model_is_listed_as_one_for_embeddings(subject: Subject):
    models = await subject.engine.models()

    model = next(model for model in models if model.name == subject.embedder)
    assert "embed" in model.capabilities
    assert model.digest
    assert (await subject.engine.models())[models.index(model)].digest == model.digest


async def test_one_chunk_with_a_vector_of_length_1_for_each_text(subject: Subject):
    chunk = await embed(subject.engine, subject.embedder, "One text.", "And another one.", "One text.")

    first, second, third = [numbers(vector) for vector in chunk.vectors]
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert first @ third == pytest.approx(1, abs=1e-5)
    assert first @ second < 0.999
    assert (chunk.text, chunk.finish_reason, chunk.tool_calls) == ("", "stop", ())


async def test_the_tokens_are_those_of_all_texts(subject: Subject):
    texts = ("One.", "Two words.", "And three words.")

    together = (await embed(subject.engine, subject.embedder, *texts)).tokens
    alone = [(await embed(subject.engine, subject.embedder, text)).tokens for text in texts]

    assert together is not None
    assert not isinstance(together, EstimatedTokens)
    assert together == Tokens(sum(tokens.prompt for tokens in alone if tokens is not None), 0)


async def test_many_texts_keep_their_order(subject: Subject):
    texts = [f"Text number {number} of {'many ' * (number % 7)}" for number in range(2 * BATCH_INPUTS + 3)]

    vectors = (await embed(subject.engine, subject.embedder, *texts)).vectors

    assert len(vectors) == len(texts)
    for row in (0, BATCH_INPUTS - 1, BATCH_INPUTS, len(texts) - 1):
        alone = (await embed(subject.engine, subject.embedder, texts[row])).vectors[0]
        likeness = [float(numbers(vector) @ numbers(alone)) for vector in vectors]
        assert likeness.index(max(likeness)) == row


async def test_several_at_once(subject: Subject):
    texts = [f"The text of caller {number}." for number in range(6)]

    chunks = await asyncio.gather(*(embed(subject.engine, subject.embedder, text, "shared") for text in texts))

    for text, chunk in zip(texts, chunks, strict=True):
        alone = await embed(subject.engine, subject.embedder, text)
        assert numbers(alone.vectors[0]) @ numbers(chunk.vectors[0]) == pytest.approx(1, abs=1e-4)


async def test_a_model_that_makes_no_vectors_refuses(subject: Subject):
    with pytest.raises(EngineRefused):
        await embed(subject.engine, subject.chat, "One.")


async def test_a_text_that_is_too_long_is_refused(subject: Subject):
    with pytest.raises(EngineRefused):
        await embed(subject.engine, subject.embedder, "short", subject.too_long)


@pytest.mark.real
async def test_the_vectors_are_those_of_the_reference(real: Engine, embedded: Settings):
    model = embedding_model(embedded.engines.embedded_embedding_model, embedded.server.data_dir)
    assert model is not None
    assert model.source is not None
    reference = MiniLm(model.source)
    chunk = await embed(real, MINILM_NAME, *TEXTS.values())

    likeness = {
        name: float(numbers(vector) @ reference.vector(text))
        for (name, text), vector in zip(TEXTS.items(), chunk.vectors, strict=True)
    }

    assert len(TEXTS) >= 40
    assert {name: value for name, value in likeness.items() if value < SIMILARITY_MIN} == {}
    assert chunk.tokens == Tokens(sum(len(reference.tokens_of(text)) for text in TEXTS.values()), 0)


@pytest.mark.real
async def test_the_facts_of_the_real_model(real: Engine):
    chat, model = await real.models()

    assert (chat.name, chat.is_loaded) == (SMOLLM2_NAME, True)
    assert (model.name, model.is_loaded, model.context_length) == (MINILM_NAME, True, 512)
    assert model.capabilities == ("embed",)
    assert model.size_bytes is not None
    assert 40_000_000 < model.size_bytes < 50_000_000
    (vector,) = (await embed(real, MINILM_NAME, "One.", dimensions=384)).vectors
    assert len(struct.unpack("<384f", vector)) == 384
    assert (await embed(real, MINILM_NAME, "word " * 510)).tokens == Tokens(512, 0)


@pytest.mark.real
async def test_what_the_real_model_refuses_is_said(real: Engine):
    with pytest.raises(EngineRefused, match="more than the 512 tokens that all-minilm:l6-v2 takes"):
        await embed(real, MINILM_NAME, "short", "word " * 511)
    with pytest.raises(EngineRefused, match=r"vectors of 384 numbers and none of 100; leave `dimensions` out"):
        await embed(real, MINILM_NAME, "short", dimensions=100)
    with pytest.raises(EngineRefused, match=f"{SMOLLM2_NAME} makes no embeddings; name {MINILM_NAME}"):
        await embed(real, SMOLLM2_NAME, "short")
    with pytest.raises(EngineRefused, match=f"{MINILM_NAME} makes embeddings only; name {SMOLLM2_NAME}"):
        await chunks_of(real, MINILM_NAME, ask())


@pytest.mark.real
async def test_chat_goes_on_beside_a_long_list(real: Engine):
    listed = asyncio.create_task(embed(real, MINILM_NAME, *["A text like many others."] * 200))

    chunks = await chunks_of(real, SMOLLM2_NAME, ask(max_tokens=4))

    assert text_of(chunks)
    assert len((await listed).vectors) == 200


@pytest.mark.real
async def test_a_long_list_that_is_left_holds_nobody_up(real: Engine):
    left = asyncio.create_task(embed(real, MINILM_NAME, *["word " * 400] * 400))
    await asyncio.sleep(0.5)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    began_s = time.monotonic()

    await embed(real, MINILM_NAME, "One.")

    # All of it takes more than a minute, what was begun of it two seconds; a busy machine gets ten times that.
    assert time.monotonic() - began_s < 20


@pytest.mark.real
async def test_a_list_that_takes_too_long(real: Engine):
    with pytest.raises(EngineTimeout, match=r"did not finish its answer within 0\.2 s; send fewer inputs"):
        await embed(real, MINILM_NAME, *["word " * 400] * 40, deadline=replace(DEADLINE, total_s=0.2))
