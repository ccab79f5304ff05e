"""openai (Python): each refusal and failure is the class that the client has for it, and is tried again or not."""

import time

import openai
import pytest
from openai import OpenAI

from tests.clients.conftest import Place
from tests.clients.wire import wire_to

pytestmark = pytest.mark.clients


def ask(text: str) -> list:
    return [{"role": "user", "content": text}]


@pytest.fixture
def scripted_client(scripted_place: Place) -> OpenAI:
    return OpenAI(base_url=scripted_place.v1, api_key=scripted_place.key, max_retries=0)


@pytest.mark.parametrize(
    ("model", "error", "status"),
    [
        ("nowhere", openai.NotFoundError, 404),
        ("refuse", openai.BadRequestError, 400),
        ("fail", openai.InternalServerError, 502),
        ("busy", openai.InternalServerError, 503),
    ],
)
def test_errors_have_their_class(scripted_client: OpenAI, model: str, error: type, status: int):
    with pytest.raises(error) as caught:
        scripted_client.chat.completions.create(model=model, messages=ask("Hi"))

    assert caught.value.status_code == status
    assert caught.value.type
    assert caught.value.request_id


def test_a_bad_parameter_is_named(scripted_client: OpenAI):
    with pytest.raises(openai.BadRequestError) as caught:
        scripted_client.chat.completions.create(model="echo", messages=ask("Hi"), temperature=9)

    assert caught.value.param == "temperature"


def test_an_unknown_key(scripted_place: Place):
    client = OpenAI(base_url=scripted_place.v1, api_key="vpn_nobody", max_retries=0)

    with pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()

    assert caught.value.code == "invalid_api_key"


def test_a_model_that_the_key_may_not_use(scripted_place: Place):
    key = scripted_place.service.new_key(models=["echo"])
    client = OpenAI(base_url=scripted_place.v1, api_key=key, max_retries=0)

    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model="json", messages=ask("Hi"))
    assert [model.id for model in client.models.list() if "/" not in model.id] == ["echo"]


def test_a_used_up_limit_is_not_hammered(scripted_place: Place):
    key = scripted_place.service.new_key(quota_requests_per_hour=1)
    with wire_to(scripted_place.url) as wire:
        client = OpenAI(base_url=f"{wire.url}/v1", api_key=key)
        client.chat.completions.create(model="echo", messages=ask("Hi"))
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="echo", messages=ask("Ho"))

        assert len(wire.requests) == 2
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) > 60
    assert caught.value.response.headers["x-should-retry"] == "false"


@pytest.mark.slow
def test_a_busy_engine_is_asked_again(scripted_place: Place):
    with wire_to(scripted_place.url) as wire:
        client = OpenAI(base_url=f"{wire.url}/v1", api_key=scripted_place.key, max_retries=1)
        started_s = time.monotonic()
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="busy", messages=ask("Hi"))

        assert [count for _, count in wire.requests] == ["0", "1"]
    assert time.monotonic() - started_s >= 1


@pytest.mark.parametrize("model", ["fail-mid", "cut"])
def test_a_stream_that_breaks_off_raises(scripted_client: OpenAI, model: str):
    said: list[str] = []
    stream = scripted_client.chat.completions.create(model=model, messages=ask("Hi"), stream=True)

    with pytest.raises(openai.APIError):
        said.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(said) == "one two "
