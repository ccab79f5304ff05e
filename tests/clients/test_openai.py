"""openai (Python): chat, completions, embeddings and models. Responses have a file of their own."""

import json
import math

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.clients.conftest import Place
from tests.clients.pictures import PNG_URL

pytestmark = pytest.mark.clients

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


class Person(BaseModel):
    name: str
    age: int


def client_of(place: Place, **options) -> OpenAI:
    return OpenAI(base_url=place.v1, api_key=place.key, max_retries=0, **options)


def ask(text: str) -> list:
    return [{"role": "user", "content": text}]


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


@pytest.fixture
def client(place: Place) -> OpenAI:
    return client_of(place)


@pytest.fixture
def scripted_client(scripted_place: Place) -> OpenAI:
    return client_of(scripted_place)


def test_plain(place: Place, client: OpenAI):
    answer = client.chat.completions.create(model=place.model, messages=ask("Say hi."), max_tokens=8)

    assert answer.object == "chat.completion"
    assert answer.model == place.model
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


def test_a_stream_says_the_same_as_a_plain_answer(place: Place, client: OpenAI):
    asked = {"model": place.model, "messages": ask("Name a colour."), "max_tokens": 12, "temperature": 0}
    plain = client.chat.completions.create(**asked, extra_headers={"cache-control": "no-store"})
    with client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}, extra_headers={"cache-control": "no-store"}
    ) as stream:
        chunks = list(stream)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == (
        plain.choices[0].message.content
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == plain.usage.total_tokens
    assert chunks[-2].choices[0].finish_reason == plain.choices[0].finish_reason
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_usage_is_not_shown_in_a_stream_that_did_not_ask(place: Place, client: OpenAI):
    chunks = list(client.chat.completions.create(model=place.model, messages=ask("Hi"), max_tokens=4, stream=True))

    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_the_stream_helper_gathers_the_whole(scripted_client: OpenAI):
    with scripted_client.chat.completions.stream(model="words-10", messages=ask("Go")) as stream:
        kinds = [event.type for event in stream]
        whole = stream.get_final_completion()

    assert kinds.count("content.delta") > 1
    assert kinds[-1] == "content.done"
    assert whole.choices[0].message.content.split() == [f"word{n}" for n in range(10)]


def test_n_choices(place: Place, client: OpenAI):
    answer = client.chat.completions.create(
        model=place.model, messages=ask("Name a river."), n=3, max_tokens=6, temperature=1, seed=7
    )

    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in answer.choices)
    assert answer.usage.completion_tokens <= 18


def test_n_choices_streamed(scripted_client: OpenAI):
    chunks = list(
        scripted_client.chat.completions.create(model="words-10", messages=ask("Go"), n=2, max_tokens=4, stream=True)
    )
    said = dict.fromkeys((0, 1), "")
    for chunk in chunks:
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""

    assert said[0] == said[1] == "word0 word1 word2 word3 "
    assert sorted(c.index for chunk in chunks for c in chunk.choices if c.finish_reason) == [0, 1]


def test_stop(scripted_client: OpenAI):
    answer = scripted_client.chat.completions.create(model="words-10", messages=ask("Go"), stop=["word3", "never"])

    assert answer.choices[0].message.content.rstrip() == "word0 word1 word2"
    assert answer.choices[0].finish_reason == "stop"


def test_length(scripted_client: OpenAI):
    answer = scripted_client.chat.completions.create(model="words-10", messages=ask("Go"), max_completion_tokens=2)

    assert answer.choices[0].message.content.split() == ["word0", "word1"]
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 2


def test_the_same_seed_says_the_same(place: Place, client: OpenAI):
    asked = {"model": place.model, "messages": ask("Invent a name."), "max_tokens": 10, "temperature": 1, "seed": 11}
    first, second = (
        client.chat.completions.create(**asked, extra_headers={"cache-control": "no-store"}) for _ in range(2)
    )

    assert first.choices[0].message.content == second.choices[0].message.content


def test_logprobs(place: Place, client: OpenAI):
    answer = client.chat.completions.create(
        model=place.model, messages=ask("Say hi."), max_tokens=4, logprobs=True, top_logprobs=2
    )
    tokens = answer.choices[0].logprobs.content

    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)


def test_logprobs_streamed(scripted_client: OpenAI):
    chunks = scripted_client.chat.completions.create(
        model="words-10", messages=ask("Go"), max_tokens=3, logprobs=True, stream=True
    )
    tokens = [
        token.token
        for chunk in chunks
        for choice in chunk.choices
        if choice.logprobs
        for token in choice.logprobs.content
    ]

    assert "".join(tokens).split() == ["word0", "word1", "word2"]


def test_a_tool_is_called_and_its_result_told(scripted_client: OpenAI):
    messages = ask("What is the weather in Paris for 3 days?")
    first = scripted_client.chat.completions.create(
        model="tools", messages=messages, tools=[WEATHER], tool_choice="required"
    )
    call = first.choices[0].message.tool_calls[0]

    assert first.choices[0].finish_reason == "tool_calls"
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris", "days": 3}

    messages += [
        first.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "sunny in Paris"},
    ]
    second = scripted_client.chat.completions.create(model="tools", messages=messages, tools=[WEATHER])

    assert "sunny in Paris" in second.choices[0].message.content
    assert second.choices[0].finish_reason == "stop"


def test_a_tool_call_comes_in_pieces(scripted_client: OpenAI):
    with scripted_client.chat.completions.stream(
        model="tools",
        messages=ask("The weather in Rome for 2 days"),
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    ) as stream:
        pieces = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        call = stream.get_final_completion().choices[0].message.tool_calls[0]

    assert len(pieces) > 1
    assert json.loads(call.function.arguments) == {"city": "Rome", "days": 2}


def test_several_tools_are_called_in_one_answer(scripted_client: OpenAI):
    population = {"type": "function", "function": {"name": "get_population", "parameters": {"type": "object"}}}
    asked = {
        "model": "tools",
        "messages": ask("get_weather and get_population"),
        "tools": [WEATHER, population],
        "tool_choice": "required",
    }
    both = scripted_client.chat.completions.create(**asked)
    one = scripted_client.chat.completions.create(**asked, parallel_tool_calls=False)
    with scripted_client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion()

    called = [call.function.name for call in both.choices[0].message.tool_calls]
    assert called == ["get_weather", "get_population"]
    assert [call.function.name for call in streamed.choices[0].message.tool_calls] == called
    assert [call.function.name for call in one.choices[0].message.tool_calls] == called[:1]


def test_parsed_answer(scripted_client: OpenAI):
    answer = scripted_client.chat.completions.parse(model="json", messages=ask('"Ann" is 41.'), response_format=Person)

    assert answer.choices[0].message.parsed == Person(name="Ann", age=41)


def test_parsed_tool(scripted_client: OpenAI):
    answer = scripted_client.chat.completions.parse(
        model="tools",
        messages=ask('Person "Ann" is 41.'),
        tools=[openai.pydantic_function_tool(Person)],
        tool_choice="required",
    )

    assert answer.choices[0].message.tool_calls[0].function.parsed_arguments == Person(name="Ann", age=41)


def test_json_object(scripted_client: OpenAI):
    answer = scripted_client.chat.completions.create(
        model="json", messages=ask("JSON please"), response_format={"type": "json_object"}
    )

    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@pytest.mark.real
def test_the_real_model_keeps_to_a_schema(real_place: Place):
    answer = client_of(real_place).chat.completions.parse(
        model=real_place.model,
        messages=ask("Ann is 41 years old."),
        response_format=Person,
        max_tokens=200,
        temperature=0,
    )

    assert isinstance(answer.choices[0].message.parsed, Person)


def test_a_picture(scripted_client: OpenAI):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PNG_URL}},
    ]
    answer = scripted_client.chat.completions.create(model="see", messages=[{"role": "user", "content": content}])

    assert answer.choices[0].message.content == "saw 1 image(s): image/png"


def test_a_picture_is_not_fetched(scripted_client: OpenAI):
    content = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]

    with pytest.raises(openai.BadRequestError, match="data URL"):
        scripted_client.chat.completions.create(model="see", messages=[{"role": "user", "content": content}])


def test_old_completions(place: Place, client: OpenAI):
    answer = client.completions.create(model=place.model, prompt="Say hi.", max_tokens=6)

    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert answer.usage.completion_tokens <= 6


def test_old_completions_streamed(scripted_client: OpenAI):
    pieces = list(scripted_client.completions.create(model="words-10", prompt="Go", max_tokens=3, stream=True))

    assert "".join(piece.choices[0].text for piece in pieces if piece.choices).split() == ["word0", "word1", "word2"]


def test_embeddings(place: Place, client: OpenAI):
    texts = ["a cat sits", "a kitten rests", "stock markets fell"]
    encoded = client.embeddings.create(model=place.embedder, input=texts)
    plain = client.embeddings.create(model=place.embedder, input=texts, encoding_format="float")

    assert [row.index for row in encoded.data] == [0, 1, 2]
    for one, other in zip(encoded.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert math.hypot(*one.embedding) == pytest.approx(1, abs=1e-3)
    assert encoded.usage.prompt_tokens > 0


def test_token_numbers_are_refused_with_a_remedy(scripted_client: OpenAI):
    with pytest.raises(openai.BadRequestError) as caught:
        scripted_client.embeddings.create(model="embed", input=[[1, 2, 3]])

    assert "text" in caught.value.message


@pytest.mark.real
def test_the_real_vectors_know_meaning(real_place: Place):
    texts = ["a cat sits", "a kitten rests", "stock markets fell"]
    rows = client_of(real_place).embeddings.create(model=real_place.embedder, input=texts).data
    cat, kitten, markets = (row.embedding for row in rows)

    assert cosine(cat, kitten) > cosine(cat, markets) + 0.2


def test_models(place: Place, client: OpenAI):
    listed = {model.id: model for model in client.models.list()}

    assert place.model in listed
    assert client.models.retrieve(place.model) == listed[place.model]


def test_the_headers_tell_what_is_left(scripted_client: OpenAI):
    raw = scripted_client.chat.completions.with_raw_response.create(model="echo", messages=ask("Anything left?"))

    assert raw.headers["x-cache"] == "MISS"
    assert int(raw.headers["x-ratelimit-remaining-requests"]) < int(raw.headers["x-ratelimit-limit-requests"])
    assert raw.headers["x-request-id"] == raw.parse()._request_id


def test_the_key_may_come_in_azures_header(scripted_place: Place):
    client = OpenAI(base_url=scripted_place.v1, api_key="unused", max_retries=0)
    headers = {"api-key": scripted_place.key, "Authorization": openai.Omit()}
    answer = client.chat.completions.create(model="echo", messages=ask("Hi"), extra_headers=headers)

    assert answer.choices[0].message.content == "echo: Hi"


async def test_async(place: Place):
    async with AsyncOpenAI(base_url=place.v1, api_key=place.key, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=place.model, messages=ask("Name a colour."), max_tokens=8, stream=True
        )
        said = [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert "".join(said)
