"""langchain-anthropic: LangChain's standard tests of chat models, plain ones with the real model too."""

from typing import Any, ClassVar

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tests.clients.conftest import Place

pytestmark = pytest.mark.clients


def chat_params(place: Place, model: str) -> dict[str, Any]:
    return {"model": model, "base_url": place.url, "api_key": place.key}


class TestChat(ChatModelIntegrationTests):
    NOT_PASSED: ClassVar = {
        "test_stream_time": "replays a recording and takes its time; bench/ measures the service itself",
        "test_json_mode": "Anthropic's API has no such mode",
        "test_pdf_inputs": "the doors take texts and pictures",
        "test_pdf_tool_message": "the doors take texts and pictures",
        "test_audio_inputs": "the doors take texts and pictures",
        "test_image_inputs": "downloads its picture from the internet; test_anthropic.py sends one",
        "test_image_tool_message": "downloads its picture from the internet",
    }
    place: ClassVar[Place]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _ask_the_scripted_engine(cls, scripted_place: Place) -> None:
        cls.place = scripted_place

    @property
    def chat_model_class(self) -> type[ChatAnthropic]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return chat_params(self.place, "tools")

    @property
    def model_override_value(self) -> str:
        return "echo"

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


def test_plain_and_streamed(place: Place):
    model = ChatAnthropic(**chat_params(place, place.model), temperature=0, max_tokens=12)
    plain = model.invoke("Name a colour.")
    pieces = list(model.stream("Name a colour."))
    whole = sum(pieces[1:], pieces[0])

    assert plain.text
    assert whole.text == plain.text
    assert whole.usage_metadata["total_tokens"] == plain.usage_metadata["total_tokens"] > 0
    assert [answer.text for answer in model.batch(["Name a colour."] * 2)] == [plain.text] * 2


def test_tokens_are_counted(place: Place):
    model = ChatAnthropic(**chat_params(place, place.model))

    assert model.get_num_tokens_from_messages([HumanMessage("one two three")]) >= 3
