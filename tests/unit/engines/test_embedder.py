"""The client of the embedded engine's server for embeddings, over a scripted one on a socket."""

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from aiservice.core.errors import EngineBusy, EngineError, EngineRefused, EngineTimeout
from aiservice.core.types import Chunk, Deadline, Embedding, Tokens
from aiservice.engines.embedder import BATCH_INPUTS, Embedder
from aiservice.engines.minilm import EmbeddingModel
from tests.servers.http_server import Exchange, Handler, HttpServer

DEADLINE = Deadline(connect_s=2.0, first_token_s=5.0, between_tokens_s=5.0, total_s=5.0)
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two", "##s"]


@dataclass
class SocketServer(HttpServer):
    """On a unix socket; gives each input the vector (its length, 0), after `pause_s`."""

    handler: Handler = field(init=False)
    socket: Path = Path()
    pause_s: float = 0.0
    failure: str | None = None
    asked: list[list[object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.handler = self.answer

    async def __aenter__(self) -> "SocketServer":
        self._server = await asyncio.start_unix_server(self._connected, self.socket)
        self.url = f"unix:{self.socket}"
        return self

    async def answer(self, exchange: Exchange) -> None:
        if exchange.request.path == "/v1/models":
            return await exchange.answer(200, {"data": [{"id": "m", "meta": {"n_ctx": 2_048}}]})
        inputs = exchange.request.json()["input"]
        self.asked.append(inputs)
        await asyncio.sleep(self.pause_s)
        if self.failure is not None:
            return await exchange.answer(500, {"error": {"message": self.failure, "code": 500}})
        rows = [{"index": row, "embedding": [len(text), 0]} for row, text in enumerate(inputs)]
        usage = {"prompt_tokens": sum(map(len, inputs)), "total_tokens": 0}
        return await exchange.answer(200, {"data": rows, "usage": usage})


@pytest.fixture
async def server() -> AsyncIterator[SocketServer]:
    with TemporaryDirectory(prefix="ai") as folder:
        async with SocketServer(socket=Path(folder) / "embed.sock") as server:
            yield server


def own_model(folder: Path, tokens_max: int = 8) -> EmbeddingModel:
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "model.safetensors").write_bytes(b"weights")
    return EmbeddingModel("m", folder / "models" / "m.gguf", folder, tokens_max)


def file_model(folder: Path) -> EmbeddingModel:
    (folder / "m.gguf").write_bytes(b"GGUF")
    return EmbeddingModel("m", folder / "m.gguf", None, 2_048)


async def ask(embedder: Embedder, *texts: str, deadline: Deadline = DEADLINE) -> Chunk:
    try:
        return await embedder.embed(Embedding("m", texts), deadline)
    finally:
        await embedder.aclose()


def lengths(chunk: Chunk) -> list[int]:
    return [int(struct.unpack("<2f", vector)[0]) for vector in chunk.vectors]


async def test_the_model_s_own_tokens_are_sent(server: SocketServer, tmp_path: Path):
    chunk = await ask(Embedder(server.url, own_model(tmp_path)), "One twos", "")

    assert server.asked == [[[2, 5, 6, 7, 3], [2, 3]]]
    assert (lengths(chunk), chunk.tokens, chunk.finish_reason) == ([5, 2], Tokens(7, 0), "stop")


async def test_the_texts_are_sent_for_a_file_of_the_operator_s(server: SocketServer, tmp_path: Path):
    await ask(Embedder(server.url, file_model(tmp_path)), "One twos", "Café")

    assert server.asked == [["One twos", "Café"]]


async def test_a_long_list_becomes_several_calls(server: SocketServer, tmp_path: Path):
    texts = [f"{'one ' * (row % 5)}" for row in range(2 * BATCH_INPUTS + 1)]

    chunk = await ask(Embedder(server.url, own_model(tmp_path)), *texts)

    assert [len(inputs) for inputs in server.asked] == [BATCH_INPUTS, BATCH_INPUTS, 1]
    assert lengths(chunk) == [2 + row % 5 for row in range(len(texts))]
    assert chunk.tokens == Tokens(sum(lengths(chunk)), 0)


async def test_long_texts_share_no_call(server: SocketServer, tmp_path: Path):
    await ask(Embedder(server.url, file_model(tmp_path)), "a" * 5_000, "b" * 5_000, "c" * 100, "d" * 20_000, "e")

    assert [[text[:1] for text in inputs] for inputs in server.asked] == [["a"], ["b", "c"], ["d"], ["e"]]


@pytest.mark.parametrize("long", ["one " * 7, "one " * 5_000])
async def test_a_text_that_is_too_long_is_refused_before_the_engine_is_asked(server, tmp_path: Path, long: str):
    with pytest.raises(EngineRefused, match="more than the 8 tokens that m takes; cut it into shorter ones"):
        await ask(Embedder(server.url, own_model(tmp_path)), "one", long)

    assert server.asked == []


async def test_what_llamacpp_calls_too_large_is_a_refusal(server: SocketServer, tmp_path: Path):
    server.failure = "input (3000 tokens) is too large to process. increase it (current batch size: 2048)"

    with pytest.raises(EngineRefused, match="3000 tokens, and the model takes 2048 at most"):
        await ask(Embedder(server.url, file_model(tmp_path)), "long")


async def test_another_failure_stays_one(server: SocketServer, tmp_path: Path):
    server.failure = "out of memory"

    with pytest.raises(EngineError) as caught:
        await ask(Embedder(server.url, file_model(tmp_path)), "text")
    assert caught.type is EngineError


async def test_all_calls_of_a_list_share_its_time(server: SocketServer, tmp_path: Path):
    server.pause_s = 0.05
    texts = ["one"] * (5 * BATCH_INPUTS)

    with pytest.raises(EngineTimeout, match=r"within 0\.12 s; send fewer inputs"):
        await ask(Embedder(server.url, own_model(tmp_path)), *texts, deadline=Deadline(1, 1, 1, 0.12))
    assert len(server.asked) < 5


async def test_a_list_that_is_left_is_not_worked_through(server: SocketServer, tmp_path: Path):
    server.pause_s = 0.02
    task = asyncio.create_task(ask(Embedder(server.url, own_model(tmp_path)), *["one"] * (5 * BATCH_INPUTS)))
    while not server.asked:
        await asyncio.sleep(0.001)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.05)

    assert len(server.asked) == 1


async def test_it_is_starting_while_its_socket_is_missing(tmp_path: Path):
    embedder = Embedder(f"unix:{tmp_path}/none.sock", own_model(tmp_path))

    model = await embedder.described("llamacpp")
    with pytest.raises(EngineBusy) as caught:
        await ask(embedder, "one")

    assert (model.id, model.is_loaded, model.size_bytes, model.context_length) == ("llamacpp/m", False, None, 8)
    assert caught.value.retry_after_s


async def test_its_facts(server: SocketServer, tmp_path: Path):
    embedder = Embedder(server.url, own_model(tmp_path))
    before = await embedder.described("llamacpp")
    embedder.model.file.parent.mkdir()
    embedder.model.file.write_bytes(b"GGUF")

    model = await embedder.described("llamacpp")
    await embedder.aclose()

    assert (model.is_loaded, model.size_bytes, model.context_length, model.capabilities) == (True, 4, 8, ("embed",))
    assert model.digest == before.digest
