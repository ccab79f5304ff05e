"""openai (Python): the Responses of /v1/responses, made, streamed, kept and forgotten."""

import json
import time

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from tests.clients.conftest import Place
from tests.clients.pictures import PNG_URL

pytestmark = pytest.mark.clients

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture
def client(place: Place) -> OpenAI:
    return OpenAI(base_url=place.v1, api_key=place.key, max_retries=0)


@pytest.fixture
def scripted_client(scripted_place: Place) -> OpenAI:
    return OpenAI(base_url=scripted_place.v1, api_key=scripted_place.key, max_retries=0)


def test_plain(place: Place, client: OpenAI):
    answer = client.responses.create(
        model=place.model, input="Say hi.", instructions="Be short.", max_output_tokens=8, store=False
    )

    assert answer.object == "response"
    assert answer.status in {"completed", "incomplete"}
    assert answer.output_text
    assert answer.instructions == "Be short."
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.text.format.type == "text"


def test_a_stream_says_the_same_as_a_plain_answer(place: Place, client: OpenAI):
    asked = {"model": place.model, "input": "Name a colour.", "max_output_tokens": 12, "temperature": 0}
    no_store = {"cache-control": "no-store"}
    plain = client.responses.create(**asked, extra_headers=no_store)
    with client.responses.create(**asked, stream=True, extra_headers=no_store) as stream:
        events = list(stream)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events if event.type != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        f"response.{plain.status}",
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == plain.output_text
    assert events[-1].response.output_text == plain.output_text
    assert events[-1].response.usage == plain.usage


def test_the_stream_helper_gathers_the_whole(scripted_client: OpenAI):
    with scripted_client.responses.stream(model="words-10", input="Go") as stream:
        for _ in stream:
            pass
        whole = stream.get_final_response()

    assert whole.output_text.split() == [f"word{n}" for n in range(10)]
    assert whole.status == "completed"


def test_an_answer_that_was_cut_is_incomplete(scripted_client: OpenAI):
    answer = scripted_client.responses.create(model="words-10", input="Go", max_output_tokens=2)

    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output_text.split() == ["word0", "word1"]


def test_a_tool_is_called_and_its_result_told(scripted_client: OpenAI):
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    first = scripted_client.responses.create(model="tools", input=asked, tools=[WEATHER], tool_choice="required")
    call = first.output[0]

    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})

    asked += [call, {"type": "function_call_output", "call_id": call.call_id, "output": "sunny in Paris"}]
    second = scripted_client.responses.create(model="tools", input=asked, tools=[WEATHER])

    assert "sunny in Paris" in second.output_text


def test_a_tool_call_comes_in_pieces(scripted_client: OpenAI):
    with scripted_client.responses.stream(
        model="tools",
        input="The weather in Rome, please",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "get_weather"},
    ) as stream:
        events = list(stream)
        whole = stream.get_final_response()
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    done = next(event for event in events if event.type == "response.function_call_arguments.done")

    assert len(pieces) > 1
    assert "".join(pieces) == done.arguments == whole.output[0].arguments
    assert json.loads(done.arguments) == {"city": "Rome"}


def test_parsed_answer(scripted_client: OpenAI):
    answer = scripted_client.responses.parse(model="json", input='"Ann" is 41.', text_format=Person)

    assert answer.output_parsed == Person(name="Ann", age=41)
    assert answer.text.format.type == "json_schema"


@pytest.mark.real
def test_the_real_model_keeps_to_a_schema(real_place: Place):
    client = OpenAI(base_url=real_place.v1, api_key=real_place.key, max_retries=0)
    answer = client.responses.parse(
        model=real_place.model, input="Ann is 41 years old.", text_format=Person, max_output_tokens=200, temperature=0
    )

    assert isinstance(answer.output_parsed, Person)


def test_a_picture(scripted_client: OpenAI):
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": PNG_URL, "detail": "auto"},
    ]
    answer = scripted_client.responses.create(model="see", input=[{"role": "user", "content": content}])

    assert answer.output_text == "saw 1 image(s): image/png"


def test_a_stored_response_can_be_had_again_and_forgotten(scripted_client: OpenAI):
    made = scripted_client.responses.create(model="echo", input="Hello", store=True)

    assert scripted_client.responses.retrieve(made.id) == made
    items = list(scripted_client.responses.input_items.list(made.id))
    assert [item.content[0].text for item in items] == ["Hello"]
    assert items[0].role == "user"

    scripted_client.responses.delete(made.id)

    with pytest.raises(openai.NotFoundError):
        scripted_client.responses.retrieve(made.id)


def test_what_is_not_to_be_stored_is_not(scripted_client: OpenAI):
    made = scripted_client.responses.create(model="echo", input="Hello", store=False)

    with pytest.raises(openai.NotFoundError):
        scripted_client.responses.retrieve(made.id)


def test_a_conversation_goes_on(scripted_client: OpenAI):
    first = scripted_client.responses.create(model="echo", input="one two three", store=True)
    second = scripted_client.responses.create(model="echo", input="four", previous_response_id=first.id, store=True)

    assert second.previous_response_id == first.id
    assert second.output_text == "echo: four"
    assert second.usage.input_tokens > first.usage.input_tokens + 1
    with pytest.raises((openai.NotFoundError, openai.BadRequestError)):
        scripted_client.responses.create(model="echo", input="five", previous_response_id="resp_none")


def test_a_stored_stream_can_be_had_again(scripted_client: OpenAI):
    with scripted_client.responses.stream(model="words-10", input="Go", store=True) as stream:
        stream.until_done()
        whole = stream.get_final_response()

    assert scripted_client.responses.retrieve(whole.id).output_text == whole.output_text


def test_what_has_ended_is_not_cancelled(scripted_client: OpenAI):
    made = scripted_client.responses.create(model="echo", input="Hello", store=True)

    with pytest.raises(openai.BadRequestError):
        scripted_client.responses.cancel(made.id)
    with pytest.raises(openai.NotFoundError):
        scripted_client.responses.cancel("resp_none")


def test_another_tenant_sees_nothing(scripted_client: OpenAI, scripted_place: Place):
    made = scripted_client.responses.create(model="echo", input="Hello", store=True)
    stranger = OpenAI(base_url=scripted_place.v1, api_key=scripted_place.service.new_key(), max_retries=0)

    with pytest.raises(openai.NotFoundError):
        stranger.responses.retrieve(made.id)


def test_errors_have_their_class(scripted_client: OpenAI):
    with pytest.raises(openai.NotFoundError):
        scripted_client.responses.create(model="nowhere", input="Hi")
    with pytest.raises(openai.InternalServerError):
        scripted_client.responses.create(model="fail", input="Hi")
    with pytest.raises(openai.BadRequestError):
        scripted_client.responses.create(model="echo", input=[])


@pytest.mark.parametrize("model", ["fail-mid", "cut"])
def test_a_stream_that_breaks_off_raises(scripted_client: OpenAI, model: str):
    said: list[str] = []
    stream = scripted_client.responses.create(model=model, input="Hi", stream=True)

    with pytest.raises(openai.APIError):
        said.extend(event.delta for event in stream if event.type == "response.output_text.delta")
    assert "".join(said) == "one two "


def ended(client: OpenAI, response_id: str) -> Response:
    """The response, once nobody works on it any more."""
    end_s = time.monotonic() + 20
    while (response := client.responses.retrieve(response_id)).status in {"queued", "in_progress"}:
        assert time.monotonic() < end_s, response
        time.sleep(0.05)
    return response


def test_a_response_in_the_background(scripted_client: OpenAI):
    made = scripted_client.responses.create(model="slow-20", input="Go", background=True, store=True)

    assert made.status in {"queued", "in_progress"}
    assert ended(scripted_client, made.id).output_text.split() == [f"word{n}" for n in range(20)]


def test_a_response_in_the_background_is_cancelled(scripted_client: OpenAI):
    made = scripted_client.responses.create(model="slow-first", input="Go", background=True, store=True)

    assert scripted_client.responses.cancel(made.id).status == "cancelled"
    assert scripted_client.responses.retrieve(made.id).status == "cancelled"


def test_what_fails_at_once_fails_in_the_background_too(scripted_client: OpenAI):
    with pytest.raises(openai.InternalServerError):
        scripted_client.responses.create(model="fail-mid", input="Go", background=True, store=True)


def test_the_events_of_a_response_can_be_followed_from_any_of_them(scripted_client: OpenAI):
    made = scripted_client.responses.create(model="slow-20", input="Go", background=True, store=True)
    events = list(scripted_client.responses.retrieve(made.id, stream=True))
    rest = list(scripted_client.responses.retrieve(made.id, stream=True, starting_after=events[5].sequence_number))

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert rest == events[6:]
