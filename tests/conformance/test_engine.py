"""What every engine does, over all of them: scripted ones, and llama.cpp with a real model."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiservice.core.errors import EngineBusy, EngineError, EngineRefused, EngineTimeout, EngineUnreachable
from aiservice.core.types import (
    Chunk,
)
from aiservice.engines import EstimatedTokens
from aiservice.engines.llamacpp import SMOLLM2_NAME
from tests.conformance.engines import (
    DEADLINE,
    LlamaCppServer,
    Subject,
    active_of,
    ask,
    chunks_of,
    embedded_engine,
    hear,
    scripted_engine,
    scripted_subject,
    text_of,
    wait_until,
)


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
