"""langchain-openai: LangChain's standard tests of chat models and embeddings, plain ones with the real model too."""

from typing import Any, ClassVar

import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from openai import DefaultAsyncHttpxClient

from tests.clients.conftest import Place

pytestmark = pytest.mark.clients


def chat_params(place: Place, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "base_url": place.v1,
        "api_key": place.key,
        "stream_usage": True,
        # One of its own: what it would share belongs to the event loop of the first test.
        "http_async_client": DefaultAsyncHttpxClient(),
    }


class OpenAIStandardTests(ChatModelIntegrationTests):
    """What both of OpenAI's APIs have in common."""

    place: ClassVar[Place]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _ask_the_scripted_engine(cls, scripted_place: Place) -> None:
        cls.place = scripted_place

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return chat_params(self.place, "tools")

    @property
    def model_override_value(self) -> str:
        return "echo"

    @property
    def supports_json_mode(self) -> bool:
        return True


NOT_PASSED = {
    "test_stream_time": "replays a recording and takes its time; bench/ measures the service itself",
    "test_pdf_inputs": "the doors take texts and pictures",
    "test_pdf_tool_message": "the doors take texts and pictures",
    "test_audio_inputs": "the doors take texts and pictures",
    "test_image_inputs": "downloads its picture from the internet; test_openai.py sends one",
    "test_image_tool_message": "downloads its picture from the internet",
    "test_anthropic_inputs": "sends Anthropic's blocks, which belong to Anthropic's door",
}


class TestChat(OpenAIStandardTests):
    NOT_PASSED: ClassVar = NOT_PASSED


class TestResponses(OpenAIStandardTests):
    NOT_PASSED: ClassVar = NOT_PASSED

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return super().chat_model_params | {"use_responses_api": True}


class TestEmbeddings(EmbeddingsIntegrationTests):
    place: ClassVar[Place]

    @pytest.fixture(autouse=True, params=["scripted_place", pytest.param("real_place", marks=pytest.mark.real)])
    def _ask(self, request: pytest.FixtureRequest) -> None:
        request.cls.place = request.getfixturevalue(request.param)

    @property
    def embeddings_class(self) -> type[OpenAIEmbeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {
            "model": self.place.embedder,
            "base_url": self.place.v1,
            "api_key": self.place.key,
            # Otherwise it sends the token numbers of a tokenizer that it downloads.
            "check_embedding_ctx_length": False,
        }


@pytest.mark.parametrize("is_responses", [False, True], ids=["chat", "responses"])
def test_plain_and_streamed(place: Place, is_responses: bool):
    model = ChatOpenAI(**chat_params(place, place.model), use_responses_api=is_responses, temperature=0, max_tokens=12)
    plain = model.invoke("Name a colour.")
    pieces = list(model.stream("Name a colour."))
    whole = sum(pieces[1:], pieces[0])

    assert plain.text
    assert whole.text == plain.text
    assert whole.usage_metadata["total_tokens"] == plain.usage_metadata["total_tokens"] > 0
    assert [answer.text for answer in model.batch(["Name a colour."] * 2)] == [plain.text] * 2
