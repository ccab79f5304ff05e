import base64
import json
import struct

import pytest
from msgspec.structs import replace

from aiservice.core.errors import EngineError, EngineRefused
from aiservice.core.types import Embedding, Tokens
from aiservice.engines import EstimatedTokens
from aiservice.engines.embeddings import embeddings_body, embeddings_chunk, refused_as_too_long

TWO = Embedding("e", ("abcdefgh", "x"))
ONE, OTHER = [0.25, -1.0], [0.5, 2.0]


def packed(vector: list[float]) -> bytes:
    return struct.pack(f"<{len(vector)}f", *vector)


def read(*rows: object, **more: object):
    return embeddings_chunk(json.dumps({"data": rows, **more}).encode(), TWO)


def row(vector: object, index: int | None = None) -> dict[str, object]:
    return {"object": "embedding", "embedding": vector, **({} if index is None else {"index": index})}


def test_the_request():
    assert json.loads(embeddings_body("m", TWO)) == {
        "model": "m",
        "input": ["abcdefgh", "x"],
        "encoding_format": "base64",
    }
    assert json.loads(embeddings_body("m", Embedding("e", ("x",), 3)))["dimensions"] == 3


def test_vectors_are_float32_in_the_order_of_the_inputs():
    chunk = read(row(OTHER, 1), row(ONE, 0), usage={"prompt_tokens": 7, "total_tokens": 7})

    assert [struct.unpack("<2f", vector) for vector in chunk.vectors] == [tuple(ONE), tuple(OTHER)]
    assert (chunk.text, chunk.finish_reason, chunk.tokens) == ("", "stop", Tokens(7, 0))


def test_numbers_and_base64_are_the_same():
    as_text = [row(base64.b64encode(packed(vector)).decode()) for vector in (ONE, OTHER)]

    assert read(*as_text).vectors == read(row(ONE), row(OTHER)).vectors == (packed(ONE), packed(OTHER))


def test_tokens_that_the_engine_does_not_count_are_an_estimate():
    tokens = read(row(ONE), row(OTHER)).tokens

    assert (tokens, type(tokens)) == (EstimatedTokens(2, 0), EstimatedTokens)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(ONE)],
        [row(ONE), row([0.5])],
        [row([]), row([])],
        [row("%%%%"), row(ONE)],
        [row("AAA="), row("AAA=")],
        [row(None), row(ONE)],
        [row([1e300]), row([1e300])],
        [row(ONE, 0), row(ONE, 0)],
        [row(ONE, 0), row(ONE, 2)],
    ],
)
def test_an_answer_that_is_not_whole(rows: list[object]):
    with pytest.raises(EngineError, match="cannot be read"):
        read(*rows)


@pytest.mark.parametrize("usage", [None, {}])
def test_a_usage_without_a_count_is_an_estimate(usage: object):
    assert type(read(row(ONE), row(OTHER), usage=usage).tokens) is EstimatedTokens


def test_vectors_that_are_not_cut_are_refused():
    body = json.dumps({"data": [row(ONE), row(OTHER)]}).encode()

    assert embeddings_chunk(body, replace(TWO, dimensions=2)).vectors
    with pytest.raises(EngineRefused, match="vectors of 2 numbers and none of 1"):
        embeddings_chunk(body, replace(TWO, dimensions=1))


def test_an_input_that_llamacpp_calls_too_large_is_a_refusal():
    said = "status 500: input (600 tokens) is too large to process. increase it (current batch size: 512)"
    other = EngineError(detail="status 500: out of memory")

    error = refused_as_too_long(EngineError(detail=said))

    assert isinstance(error, EngineRefused)
    assert "600 tokens, and the model takes 512" in error.public
    assert refused_as_too_long(other) is None


def test_an_error_in_the_answer():
    with pytest.raises(EngineRefused, match="too long"):
        read(error={"message": "the input is too long", "code": 400})
