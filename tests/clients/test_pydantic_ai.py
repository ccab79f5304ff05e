"""pydantic-ai: agents over OpenAI's two APIs and Anthropic's, with tools, objects, pictures and streams."""

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.conftest import Place
from tests.clients.pictures import PNG

pytestmark = pytest.mark.clients

APIS = ("chat", "responses", "anthropic")


class Person(BaseModel):
    name: str
    age: int


def model_of(api: str, place: Place, model: str) -> Model:
    if api == "anthropic":
        return AnthropicModel(model, provider=AnthropicProvider(base_url=place.url, api_key=place.key))
    provider = OpenAIProvider(base_url=place.v1, api_key=place.key)
    return (
        OpenAIChatModel(model, provider=provider) if api == "chat" else OpenAIResponsesModel(model, provider=provider)
    )


@pytest.mark.parametrize("api", APIS)
async def test_plain_and_streamed(place: Place, api: str):
    agent = Agent(model_of(api, place, place.model), model_settings={"temperature": 0, "max_tokens": 12})
    plain = await agent.run("Name a colour.")
    async with agent.run_stream("Name a colour.") as streamed:
        said = await streamed.get_output()

    assert plain.output
    assert said == plain.output
    assert plain.usage.output_tokens > 0
    assert streamed.usage.output_tokens == plain.usage.output_tokens


@pytest.mark.parametrize("api", APIS)
async def test_a_tool_is_called_and_its_result_told(scripted_place: Place, api: str):
    agent = Agent(model_of(api, scripted_place, "tools"))
    asked_for = []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Tells the weather in a city."""
        asked_for.append(city)
        return f"sunny in {city}"

    answer = await agent.run("What is the weather in Paris?")

    assert asked_for == ["Paris"]
    assert "sunny in Paris" in answer.output


@pytest.mark.parametrize("api", APIS)
async def test_an_object_by_a_tool(scripted_place: Place, api: str):
    agent = Agent(model_of(api, scripted_place, "tools"), output_type=Person, retries=0)
    answer = await agent.run('"Ann" is 41.')

    assert answer.output == Person(name="Ann", age=41)


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_an_object_by_its_schema(scripted_place: Place, api: str):
    agent = Agent(model_of(api, scripted_place, "json"), output_type=NativeOutput(Person), retries=0)
    answer = await agent.run('"Ann" is 41.')

    assert answer.output == Person(name="Ann", age=41)


@pytest.mark.parametrize("api", APIS)
async def test_a_picture(scripted_place: Place, api: str):
    picture = BinaryContent(data=PNG, media_type="image/png")
    answer = await Agent(model_of(api, scripted_place, "see")).run(["What is this?", picture])

    assert answer.output == "saw 1 image(s): image/png"
