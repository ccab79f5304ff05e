"""Texts for vectors, and vectors as numbers or as they came."""

import base64
import struct
from typing import Any

import pytest

from aiservice.api.openai.embeddings import EmbeddingDoor
from aiservice.core.types import Chunk, Embedding, Tokens
from tests.unit.api.openai.doors import asked, refused, whole

ASKED: dict[str, Any] = {"model": "m", "input": ["one", "two"]}
VECTORS = (struct.pack("<3f", 0.1, -0.25, 1.0), struct.pack("<3f", 0.5, 0.0, -1.0))
CHUNK = Chunk("", "stop", Tokens(5, 0), vectors=VECTORS)


def test_texts_are_the_corridors() -> None:
    assert asked(EmbeddingDoor, ASKED) == Embedding("m", ("one", "two"))
    assert asked(EmbeddingDoor, ASKED | {"input": "one", "user": "ann"}) == Embedding("m", ("one",))
    assert asked(EmbeddingDoor, ASKED | {"dimensions": 2, "encoding_format": "base64"}) == Embedding(
        "m", ("one", "two"), 2
    )
    assert asked(EmbeddingDoor, ASKED | {"input": ["x"] * 2_048}) == Embedding("m", ("x",) * 2_048)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"input": []}, "input", "1"),
        ({"input": ["x"] * 2_049}, "input", "2048"),
        ({"input": ""}, "input", "1"),
        ({"input": ["a", ""]}, "input[1]", "1"),
        ({"input": None}, "input", "null"),
        ({"input": [1, 2]}, "input", "check_embedding_ctx_length=False"),
        ({"input": [[1, 2], [3]]}, "input", "token ids"),
        ({"input": ["a", 3]}, "input", "token ids"),
        ({"input": ["a", "b\0"]}, "input", "U+0000"),
        ({"input": ["x" * 200_001]}, "input", "200001 characters"),
        ({"encoding_format": "int8"}, "encoding_format", "int8"),
        ({"dimensions": 0}, "dimensions", "1"),
        ({"model": None}, "model", "null"),
    ],
)
def test_what_is_not_taken_is_named(fields: dict[str, Any], param: str, words: str) -> None:
    error = refused(EmbeddingDoor, ASKED | fields)
    assert error.param == param
    assert words in error.public


@pytest.mark.parametrize("encoding", [None, "float"])
def test_vectors_as_numbers(encoding: str | None) -> None:
    answer = whole(EmbeddingDoor, ASKED | {"encoding_format": encoding}, CHUNK)
    numbers = [list(struct.unpack("<3f", vector)) for vector in VECTORS]
    assert answer == {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(numbers)],
        "model": "echo",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }


def test_vectors_as_they_came() -> None:
    rows = whole(EmbeddingDoor, ASKED | {"encoding_format": "base64"}, CHUNK)["data"]
    assert tuple(base64.b64decode(row["embedding"], validate=True) for row in rows) == VECTORS
