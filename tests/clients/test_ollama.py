"""ollama (Python): chat, generate, embeddings and what Ollama tells of its models."""

import json

import ollama
import pytest
from ollama import Client, ResponseError
from pydantic import BaseModel

from tests.clients.conftest import Place
from tests.clients.pictures import PNG

pytestmark = pytest.mark.clients


class Person(BaseModel):
    name: str
    age: int


def client_of(place: Place) -> Client:
    return Client(host=place.url, headers=place.headers)


def ask(text: str) -> list:
    return [{"role": "user", "content": text}]


def get_weather(city: str, days: int) -> str:
    """Tells the weather in a city.

    Args:
        city: The city's name.
        days: For how many days.
    """
    return f"sunny in {city} for {days} days"


@pytest.fixture
def client(place: Place) -> Client:
    return client_of(place)


@pytest.fixture
def scripted_client(scripted_place: Place) -> Client:
    return client_of(scripted_place)


def test_plain(place: Place, client: Client):
    answer = client.chat(place.model, ask("Say hi."), options={"num_predict": 8})

    assert answer.model == place.model
    assert answer.message.role == "assistant"
    assert answer.message.content
    assert answer.done
    assert answer.done_reason in {"stop", "length"}
    assert answer.prompt_eval_count > 0
    assert 0 < answer.eval_count <= 8
    assert answer.total_duration > 0


def test_a_stream_says_the_same_as_a_plain_answer(place: Place):
    client = Client(host=place.url, headers=place.headers | {"cache-control": "no-store"})
    options = {"num_predict": 12, "temperature": 0}
    plain = client.chat(place.model, ask("Name a colour."), options=options)
    lines = list(client.chat(place.model, ask("Name a colour."), options=options, stream=True))

    assert "".join(line.message.content for line in lines) == plain.message.content
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1].done_reason == plain.done_reason
    assert (lines[-1].prompt_eval_count, lines[-1].eval_count) == (plain.prompt_eval_count, plain.eval_count)


def test_generate(place: Place, client: Client):
    answer = client.generate(place.model, "Say hi.", system="Be short.", options={"num_predict": 8})

    assert answer.response
    assert answer.done
    assert answer.eval_count <= 8


def test_generate_streamed(scripted_client: Client):
    lines = list(scripted_client.generate("words-10", "Go", stream=True, options={"num_predict": 3}))

    assert "".join(line.response for line in lines).split() == ["word0", "word1", "word2"]
    assert lines[-1].done_reason == "length"


def test_stop(scripted_client: Client):
    answer = scripted_client.chat("words-10", ask("Go"), options={"stop": ["word3"]})

    assert answer.message.content.rstrip() == "word0 word1 word2"
    assert answer.done_reason == "stop"


def test_the_same_seed_says_the_same(place: Place):
    client = Client(host=place.url, headers=place.headers | {"cache-control": "no-store"})
    options = {"num_predict": 10, "temperature": 1, "seed": 11}

    assert client.generate(place.model, "Invent.", options=options).response == (
        client.generate(place.model, "Invent.", options=options).response
    )


def test_a_tool_is_called_and_its_result_told(scripted_client: Client):
    messages = ask("What does get_weather say of Paris for 3 days?")
    first = scripted_client.chat("tools", messages, tools=[get_weather])
    call = first.message.tool_calls[0].function

    assert (call.name, call.arguments) == ("get_weather", {"city": "Paris", "days": 3})

    told = {"role": "tool", "tool_name": call.name, "content": get_weather(**call.arguments)}
    second = scripted_client.chat("tools", [*messages, first.message, told], tools=[get_weather])

    assert "sunny in Paris for 3 days" in second.message.content


def test_a_tool_call_comes_whole_in_a_stream(scripted_client: Client):
    lines = list(scripted_client.chat("tools", ask("get_weather of Rome for 2 days"), tools=[get_weather], stream=True))
    calls = [call.function for line in lines for call in line.message.tool_calls or ()]

    assert [(call.name, call.arguments) for call in calls] == [("get_weather", {"city": "Rome", "days": 2})]
    assert lines[-1].done


def test_structured_answer(scripted_client: Client):
    answer = scripted_client.chat("json", ask('"Ann" is 41.'), format=Person.model_json_schema())

    assert Person.model_validate_json(answer.message.content) == Person(name="Ann", age=41)


def test_json(scripted_client: Client):
    assert isinstance(json.loads(scripted_client.chat("json", ask("JSON"), format="json").message.content), dict)
    assert isinstance(json.loads(scripted_client.generate("json", "JSON", format="json").response), dict)


@pytest.mark.real
def test_the_real_model_keeps_to_a_schema(real_place: Place):
    answer = client_of(real_place).chat(
        real_place.model,
        ask("Ann is 41 years old."),
        format=Person.model_json_schema(),
        options={"num_predict": 200, "temperature": 0},
    )

    Person.model_validate_json(answer.message.content)


def test_a_picture(scripted_client: Client):
    message = {"role": "user", "content": "What is this?", "images": [PNG]}

    assert scripted_client.chat("see", [message]).message.content == "saw 1 image(s): image/png"
    assert scripted_client.generate("see", "What?", images=[PNG]).response == "saw 1 image(s): image/png"


def test_embeddings(place: Place, client: Client):
    both = client.embed(place.embedder, ["a cat sits", "a kitten rests"])
    one = client.embed(place.embedder, "a cat sits")
    old = client.embeddings(place.embedder, "a cat sits")

    assert len(both.embeddings) == 2
    assert both.embeddings[0] == pytest.approx(one.embeddings[0], abs=1e-5)
    assert old.embedding == pytest.approx(one.embeddings[0], abs=1e-5)


def test_models(place: Place, client: Client):
    listed = {model.model: model for model in client.list().models}
    shown = client.show(place.model)

    assert place.model in listed
    assert listed[place.model].digest
    assert "completion" in shown.capabilities
    assert "embedding" in client.show(place.embedder).capabilities
    assert place.model in {model.model for model in client.ps().models}


def test_pull_is_for_operators(scripted_client: Client):
    with pytest.raises(ResponseError) as caught:
        scripted_client.pull("echo")

    assert caught.value.status_code == 403


def test_operators_pull(scripted_place: Place):
    key = scripted_place.service.new_key(scopes=["generate", "admin"])
    client = Client(host=scripted_place.url, headers={"authorization": f"Bearer {key}"})
    progress = list(client.pull("echo", stream=True))

    assert progress[-1].status == "success"


@pytest.mark.parametrize(("model", "status"), [("nowhere", 404), ("refuse", 400), ("fail", 502), ("busy", 503)])
def test_errors_have_their_status(scripted_client: Client, model: str, status: int):
    with pytest.raises(ResponseError) as caught:
        scripted_client.chat(model, ask("Hi"))
    assert caught.value.status_code == status
    assert caught.value.error

    with pytest.raises(ResponseError) as caught:
        list(scripted_client.chat(model, ask("Hi"), stream=True))
    assert caught.value.status_code == status


def test_an_unknown_key(scripted_place: Place):
    client = Client(host=scripted_place.url, headers={"authorization": "Bearer vpn_nobody"})

    with pytest.raises(ResponseError) as caught:
        client.list()
    assert caught.value.status_code == 401


def test_a_used_up_limit(scripted_place: Place):
    key = scripted_place.service.new_key(quota_requests_per_hour=1)
    client = Client(host=scripted_place.url, headers={"authorization": f"Bearer {key}"})
    client.chat("echo", ask("Hi"))

    with pytest.raises(ResponseError) as caught:
        client.chat("echo", ask("Ho"))
    assert caught.value.status_code == 429


@pytest.mark.parametrize("model", ["fail-mid", "cut"])
def test_a_stream_that_breaks_off_raises(scripted_client: Client, model: str):
    said: list[str] = []
    stream = scripted_client.chat(model, ask("Hi"), stream=True)

    with pytest.raises(ResponseError):
        said.extend(line.message.content for line in stream)
    assert "".join(said) == "one two "


async def test_async(place: Place):
    client = ollama.AsyncClient(host=place.url, headers=place.headers)
    lines = [line async for line in await client.chat(place.model, ask("Hi"), stream=True, options={"num_predict": 6})]

    assert "".join(line.message.content for line in lines)
    assert lines[-1].done
