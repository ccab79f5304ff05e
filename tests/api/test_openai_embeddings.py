"""POST /v1/embeddings: what a client of OpenAI's gets."""

import base64
import math
import struct

from tests.api.asgi_client import Client
from tests.api.conftest import Service
from tests.api.rows import rows_of

PATH = "/v1/embeddings"
TEXTS = {"model": "embed", "input": ["a cat sits", "a dog"]}


async def test_200_vectors_as_numbers_and_in_base64(service: Service, client: Client) -> None:
    plain = await client.post(PATH, TEXTS)
    assert (plain.status, plain.header("x-cache")) == (200, "MISS")
    assert plain.json["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert (plain.json["object"], plain.json["model"]) == ("list", "embed")
    vectors = [row["embedding"] for row in plain.json["data"]]
    assert [round(math.hypot(*vector), 6) for vector in vectors] == [1, 1]
    encoded = await client.post(PATH, TEXTS | {"encoding_format": "base64"})
    assert encoded.header("x-cache") == "HIT"
    assert [list(struct.unpack("<8f", base64.b64decode(row["embedding"]))) for row in encoded.json["data"]] == vectors
    short = await client.post(PATH, TEXTS | {"dimensions": 3, "input": "a cat sits"})
    assert len(short.json["data"][0]["embedding"]) == 3
    rows = await rows_of(service, client, count=3)
    assert {(row["endpoint"], row["completion_tokens"]) for row in rows} == {(PATH, 0)}


async def test_refusals_are_openai_s(client: Client) -> None:
    for body, status, param, code in [
        ({"input": "a"}, 400, "model", "invalid_value"),
        (TEXTS | {"input": [[1, 2]]}, 400, "input", "invalid_value"),
        (TEXTS | {"input": "a b", "dimensions": 9}, 400, None, "invalid_request"),
        (TEXTS | {"model": "echo"}, 400, "model", "unsupported_value"),
        (TEXTS | {"model": "nowhere"}, 404, "model", "model_not_found"),
    ]:
        response = await client.post(PATH, body)
        error = response.json["error"]
        assert (response.status, error["param"], error["code"]) == (status, param, code)
        assert response.header("x-should-retry") == "false"
