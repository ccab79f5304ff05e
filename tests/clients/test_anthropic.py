"""anthropic (Python): messages plain and streamed, tools, structured answers, token counts, models, errors."""

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

from tests.clients.conftest import Place
from tests.clients.pictures import PNG_BASE64
from tests.clients.wire import wire_to

pytestmark = pytest.mark.clients

WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
NO_STORE = {"cache-control": "no-store"}
# The newest client has no argument for it; the door takes it all the same.
COLD = {"extra_body": {"temperature": 0}}


class Person(BaseModel):
    name: str
    age: int


def client_of(place: Place) -> Anthropic:
    return Anthropic(base_url=place.url, api_key=place.key, max_retries=0)


def ask(text: str) -> list:
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(place: Place) -> Anthropic:
    return client_of(place)


@pytest.fixture
def scripted_client(scripted_place: Place) -> Anthropic:
    return client_of(scripted_place)


def test_plain(place: Place, client: Anthropic):
    answer = client.messages.create(
        model=place.model, max_tokens=8, system="Be short.", messages=ask("Say hi."), **COLD
    )

    assert (answer.type, answer.role, answer.model) == ("message", "assistant", place.model)
    assert answer.content[0].type == "text"
    assert answer.content[0].text
    assert answer.stop_reason in {"end_turn", "max_tokens"}
    assert answer.usage.input_tokens > 0
    assert 0 < answer.usage.output_tokens <= 8
    assert answer._request_id


def test_the_key_may_come_in_its_older_header(place: Place):
    client = Anthropic(
        base_url=place.url,
        api_key="unused",
        default_headers={"x-api-key": place.key, "authorization": anthropic.Omit()},
    )

    assert client.messages.create(model=place.model, max_tokens=4, messages=ask("Hi")).content


def test_a_stream_says_the_same_as_a_plain_answer(place: Place, client: Anthropic):
    asked = {"model": place.model, "max_tokens": 12, "messages": ask("Name a colour."), **COLD}
    plain = client.messages.create(**asked, extra_headers=NO_STORE)
    events = list(client.messages.create(**asked, stream=True, extra_headers=NO_STORE))

    kinds = [event.type for event in events if event.type != "content_block_delta"]
    assert kinds == ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    said = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    assert said == plain.content[0].text
    assert events[-2].delta.stop_reason == plain.stop_reason
    assert events[-2].usage.output_tokens == plain.usage.output_tokens


def test_the_stream_helper_gathers_the_whole(place: Place, client: Anthropic):
    with client.messages.stream(model=place.model, max_tokens=8, messages=ask("Say hi.")) as stream:
        said = "".join(stream.text_stream)
        whole = stream.get_final_message()

    assert said
    assert whole.content[0].text == said
    assert whole.usage.output_tokens > 0


def test_stop_sequences(scripted_client: Anthropic):
    answer = scripted_client.messages.create(
        model="words-10", max_tokens=50, messages=ask("Go"), stop_sequences=["word3"]
    )

    assert answer.content[0].text.rstrip() == "word0 word1 word2"
    assert answer.stop_reason in {"end_turn", "stop_sequence"}


def test_length(scripted_client: Anthropic):
    answer = scripted_client.messages.create(model="words-10", max_tokens=2, messages=ask("Go"))

    assert answer.content[0].text.split() == ["word0", "word1"]
    assert answer.stop_reason == "max_tokens"
    assert answer.usage.output_tokens == 2


def test_more_tokens_than_the_tier_has_are_cut_to_it(scripted_place: Place):
    client = Anthropic(base_url=scripted_place.url, api_key=scripted_place.service.new_key(tier="free"))
    answer = client.messages.create(model="words-1000", max_tokens=16_384, messages=ask("Go"))

    assert answer.stop_reason == "end_turn"


def test_a_tool_is_called_and_its_result_told(scripted_client: Anthropic):
    messages = ask("What is the weather in Paris for 3 days?")
    first = scripted_client.messages.create(
        model="tools", max_tokens=100, messages=messages, tools=[WEATHER], tool_choice={"type": "any"}
    )
    call = next(block for block in first.content if block.type == "tool_use")

    assert first.stop_reason == "tool_use"
    assert (call.name, call.input) == ("get_weather", {"city": "Paris", "days": 3})

    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny in Paris"}]}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = scripted_client.messages.create(model="tools", max_tokens=100, messages=messages, tools=[WEATHER])

    assert "sunny in Paris" in second.content[0].text
    assert second.stop_reason == "end_turn"


def test_a_tool_call_comes_in_pieces(scripted_client: Anthropic):
    with scripted_client.messages.stream(
        model="tools",
        max_tokens=100,
        messages=ask("The weather in Rome for 2 days"),
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "get_weather"},
    ) as stream:
        events = list(stream)
        whole = stream.get_final_message()
    pieces = [event.partial_json for event in events if event.type == "input_json"]

    assert len(pieces) > 1
    assert whole.content[0].input == {"city": "Rome", "days": 2}
    assert whole.stop_reason == "tool_use"


def test_the_tool_runner_runs_to_the_end(scripted_client: Anthropic):
    asked_for = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Tells the weather in a city.

        Args:
            city: The city's name.
        """
        asked_for.append(city)
        return f"sunny in {city}"

    runner = scripted_client.beta.messages.tool_runner(
        model="tools", max_tokens=100, messages=ask("What is the weather in Paris?"), tools=[get_weather]
    )
    last = runner.until_done()

    assert asked_for == ["Paris"]
    assert "sunny in Paris" in last.content[0].text


def test_parsed_answer(scripted_client: Anthropic):
    answer = scripted_client.messages.parse(
        model="json", max_tokens=100, messages=ask('"Ann" is 41.'), output_format=Person
    )

    assert answer.parsed_output == Person(name="Ann", age=41)


@pytest.mark.real
def test_the_real_model_keeps_to_a_schema(real_place: Place):
    answer = client_of(real_place).messages.parse(
        model=real_place.model,
        max_tokens=200,
        messages=ask("Ann is 41 years old."),
        output_format=Person,
        **COLD,
    )

    assert isinstance(answer.parsed_output, Person)


def test_a_picture(scripted_client: Anthropic):
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}},
        {"type": "text", "text": "What is this?"},
    ]
    answer = scripted_client.messages.create(
        model="see", max_tokens=20, messages=[{"role": "user", "content": content}]
    )

    assert answer.content[0].text == "saw 1 image(s): image/png"


def test_count_tokens(place: Place, client: Anthropic):
    short = client.messages.count_tokens(model=place.model, messages=ask("one two three"))
    long = client.messages.count_tokens(model=place.model, system="Be short.", messages=ask("one two three " * 20))

    assert 0 < short.input_tokens < long.input_tokens


def test_a_count_is_what_the_message_then_uses(place: Place, client: Anthropic):
    turns = [*ask("Name a river."), {"role": "assistant", "content": "The Rhine."}, *ask("And a longer one?")]
    for asked in ({}, {"system": "Be short."}, {"tools": [WEATHER]}):
        counted = client.messages.count_tokens(model=place.model, messages=turns, **asked)
        used = client.messages.create(model=place.model, max_tokens=4, messages=turns, **asked)
        with client.messages.stream(model=place.model, max_tokens=5, messages=turns, **asked) as stream:
            streamed = stream.get_final_message()

        assert counted.input_tokens == used.usage.input_tokens == streamed.usage.input_tokens > 0


def test_models(place: Place, client: Anthropic):
    listed = {model.id: model for model in client.models.list()}

    assert place.model in listed
    assert listed[place.model].type == "model"
    assert client.models.retrieve(place.model).id == place.model


@pytest.mark.parametrize(
    ("model", "error", "status", "kind"),
    [
        ("nowhere", anthropic.NotFoundError, 404, "not_found_error"),
        ("refuse", anthropic.BadRequestError, 400, "invalid_request_error"),
        ("fail", anthropic.InternalServerError, 502, "api_error"),
        ("busy", anthropic.APIStatusError, 529, "overloaded_error"),
    ],
)
def test_errors_have_their_class(scripted_client: Anthropic, model: str, error: type, status: int, kind: str):
    with pytest.raises(error) as caught:
        scripted_client.messages.create(model=model, max_tokens=9, messages=ask("Hi"))

    assert (caught.value.status_code, caught.value.type) == (status, kind)
    assert caught.value.request_id
    assert caught.value.body["request_id"] == caught.value.request_id


def test_an_unknown_key(scripted_place: Place):
    client = Anthropic(base_url=scripted_place.url, api_key="vpn_nobody", max_retries=0)

    with pytest.raises(anthropic.AuthenticationError) as caught:
        client.messages.create(model="echo", max_tokens=9, messages=ask("Hi"))
    assert caught.value.type == "authentication_error"
    with pytest.raises(anthropic.AuthenticationError):
        client.models.list()


def test_a_model_that_the_key_may_not_use(scripted_place: Place):
    client = Anthropic(base_url=scripted_place.url, api_key=scripted_place.service.new_key(models=["echo"]))

    with pytest.raises(anthropic.PermissionDeniedError):
        client.messages.create(model="json", max_tokens=9, messages=ask("Hi"))


def test_a_used_up_limit_is_not_hammered(scripted_place: Place):
    key = scripted_place.service.new_key(quota_requests_per_hour=1)
    with wire_to(scripted_place.url) as wire:
        client = Anthropic(base_url=wire.url, api_key=key)
        client.messages.create(model="echo", max_tokens=9, messages=ask("Hi"))
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(model="echo", max_tokens=9, messages=ask("Ho"))

        assert len(wire.requests) == 2
    headers = caught.value.response.headers
    assert caught.value.type == "rate_limit_error"
    assert int(headers["retry-after"]) > 60
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"


@pytest.mark.parametrize("model", ["fail-mid", "cut"])
def test_a_stream_that_breaks_off_raises(scripted_client: Anthropic, model: str):
    said: list[str] = []
    stream = scripted_client.messages.create(model=model, max_tokens=9, messages=ask("Hi"), stream=True)

    with pytest.raises(anthropic.APIStatusError) as caught:
        said.extend(event.delta.text for event in stream if event.type == "content_block_delta")
    assert "".join(said) == "one two "
    assert caught.value.type == "api_error"


def test_the_headers_tell_what_is_left(scripted_client: Anthropic):
    raw = scripted_client.messages.with_raw_response.create(model="echo", max_tokens=9, messages=ask("Left?"))
    limit, remaining = (int(raw.headers[f"anthropic-ratelimit-requests-{word}"]) for word in ("limit", "remaining"))

    assert raw.headers["request-id"] == raw.parse()._request_id
    assert 0 <= remaining < limit
    assert raw.headers["anthropic-ratelimit-requests-reset"].endswith("Z")


def test_blocks_with_marks_of_anthropics_own_cache(scripted_client: Anthropic):
    mark = {"cache_control": {"type": "ephemeral"}}
    answer = scripted_client.messages.create(
        model="echo",
        max_tokens=20,
        system=[{"type": "text", "text": "Be short.", **mark}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hello", **mark}]}],
    )

    assert answer.content[0].text == "echo: Hello"


async def test_async(place: Place):
    async with AsyncAnthropic(base_url=place.url, api_key=place.key, max_retries=0) as client:
        async with client.messages.stream(model=place.model, max_tokens=8, messages=ask("Name a colour.")) as stream:
            said = [text async for text in stream.text_stream]
        whole = await stream.get_final_message()

    assert whole.content[0].text == "".join(said) != ""
