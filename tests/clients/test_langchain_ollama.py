"""langchain-ollama: LangChain's standard tests of chat models and embeddings, plain ones with the real model too."""

from typing import Any, ClassVar

import pytest
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

from tests.clients.conftest import Place

pytestmark = pytest.mark.clients


def params(place: Place, model: str) -> dict[str, Any]:
    return {"model": model, "base_url": place.url, "client_kwargs": {"headers": place.headers}}


class TestChat(ChatModelIntegrationTests):
    NOT_PASSED: ClassVar = {
        "test_stream_time": "replays a recording and takes its time; bench/ measures the service itself",
        "test_tool_choice": "langchain-ollama sends no tool_choice, for Ollama's API has none",
        "test_pdf_inputs": "the doors take texts and pictures",
        "test_pdf_tool_message": "the doors take texts and pictures",
        "test_audio_inputs": "the doors take texts and pictures",
        "test_image_inputs": "downloads its picture from the internet; test_ollama.py sends one",
        "test_image_tool_message": "downloads its picture from the internet",
        "test_anthropic_inputs": "sends Anthropic's blocks, which belong to Anthropic's door",
    }
    place: ClassVar[Place]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _ask_the_scripted_engine(cls, scripted_place: Place) -> None:
        cls.place = scripted_place

    @property
    def chat_model_class(self) -> type[ChatOllama]:
        return ChatOllama

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return params(self.place, "tools")

    @property
    def has_tool_choice(self) -> bool:
        return False

    @property
    def model_override_value(self) -> str:
        return "echo"

    @property
    def supports_json_mode(self) -> bool:
        return True


class TestEmbeddings(EmbeddingsIntegrationTests):
    place: ClassVar[Place]

    @pytest.fixture(autouse=True, params=["scripted_place", pytest.param("real_place", marks=pytest.mark.real)])
    def _ask(self, request: pytest.FixtureRequest) -> None:
        request.cls.place = request.getfixturevalue(request.param)

    @property
    def embeddings_class(self) -> type[OllamaEmbeddings]:
        return OllamaEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return params(self.place, self.place.embedder)


def test_plain_and_streamed(place: Place):
    model = ChatOllama(**params(place, place.model), temperature=0, num_predict=12)
    plain = model.invoke("Name a colour.")
    pieces = list(model.stream("Name a colour."))
    whole = sum(pieces[1:], pieces[0])

    assert plain.text
    assert whole.text == plain.text
    assert whole.usage_metadata["total_tokens"] == plain.usage_metadata["total_tokens"] > 0
    assert [answer.text for answer in model.batch(["Name a colour."] * 2)] == [plain.text] * 2
