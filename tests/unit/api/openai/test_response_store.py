"""What is stored of a response, and how it is shown, gone on from and told as failed."""

import msgspec
import pytest

from aiservice.api.openai.response_object import output_of
from aiservice.api.openai.response_store import error_facts, error_of, name_of, said_before, shown
from aiservice.api.surfaces import OPENAI
from aiservice.core.errors import (
    AIServiceError,
    EngineBusy,
    EngineError,
    EngineRefused,
    FieldInvalid,
    InvalidRequest,
    LimitExceeded,
    ResponseUnknown,
)
from aiservice.core.types import Chunk, Tokens
from aiservice.gateway.responses import Status, StoredResponse
from aiservice.keys import LOCAL_CALLER
from tests.unit.api.openai.test_response_events import head_of

encode = msgspec.json.Encoder().encode


def stored(status: Status, *, said: str | None = None, conversation: bytes = b"[]") -> StoredResponse:
    response = head_of("queued")
    if said is not None:
        output = output_of(Chunk(said, "stop", Tokens(1, 1)), "m")
        response = msgspec.structs.replace(response, status=status, output=output)
    return StoredResponse("id", "acme", status, True, encode(response), conversation, b"", 0, 0, 0)


def test_a_name_is_the_tenant_and_the_id():
    name = name_of(LOCAL_CALLER, "resp_01a20f9280887bd289aa53ec6578e6bd")

    assert name == ("local", "01a20f92-8088-7bd2-89aa-53ec6578e6bd")


@pytest.mark.parametrize("id", ["", "resp_", "resp_" + "g" * 32, "RESP_" + "0" * 32, "resp_" + "0" * 32 + "\n"])
def test_what_is_no_id_is_unknown(id: str):
    with pytest.raises(ResponseUnknown):
        name_of(LOCAL_CALLER, id)


@pytest.mark.parametrize("status", ["in_progress", "cancelled", "failed"])
def test_a_response_is_shown_as_it_is_now(status: Status):
    response = shown(stored(status))

    assert response.status == status
    assert (response.error is not None) == (status == "failed")


def test_an_ended_one_is_shown_as_it_ended():
    assert shown(stored("completed", said="hi")).output[0].content[0].text == "hi"


def test_what_was_said_comes_before_the_answer():
    before = b'[{"type":"message","id":"a","role":"user","content":[{"type":"input_text","text":"hi"}]}]'

    items = said_before(stored("incomplete", said="hello", conversation=before), 100_000)

    assert [(item.id, item.role) for item in items] == [("a", "user"), ("msg_m_0", "assistant")]


@pytest.mark.parametrize("status", ["in_progress", "cancelled", "failed"])
def test_only_an_answer_is_gone_on_from(status: Status):
    with pytest.raises(InvalidRequest, match=status):
        said_before(stored(status), 100_000)


def test_a_conversation_has_a_largest_size():
    response = stored("completed", said="hi")
    size = len(response.body) + len(response.conversation)

    said_before(response, size)
    with pytest.raises(InvalidRequest, match="begin a new one"):
        said_before(response, size - 1)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LimitExceeded(), "rate_limit_exceeded"),
        (EngineRefused(), "invalid_prompt"),
        (FieldInvalid(), "invalid_prompt"),
        (EngineError(), "server_error"),
        (EngineBusy(), "server_error"),
    ],
)
def test_errors_have_the_codes_that_clients_know(error: AIServiceError, code: str):
    facts = error_facts(OPENAI.body(error, "id"))

    assert error_of(facts).code == code
    assert error_of(facts).message == error.public
