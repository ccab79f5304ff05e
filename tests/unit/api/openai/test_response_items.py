"""Items of the Responses API: what is kept of them, and the messages that they are."""

import msgspec
import pytest

from aiservice.api.openai.response_items import ResponseItem, conversation, messages_of
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import Settings
from aiservice.core.types import Image, Message, ToolCall

PICTURE = "data:image/png;base64,iVBORw0KGgo="
CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}'}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}


def kept(*items: object, before: list[ResponseItem] | None = None) -> list[ResponseItem]:
    said = msgspec.convert(items, list[ResponseItem])
    return conversation(said, before or [], mark="m", settings=Settings())


def messages(*items: object) -> list[Message]:
    return messages_of(kept(*items))


def test_a_text_is_one_message_of_the_user():
    items = conversation("hello", [], mark="m", settings=Settings())

    assert messages_of(items) == [Message("user", "hello")]
    assert msgspec.to_builtins(items) == [
        {
            "type": "message",
            "id": "msg_m_in0",
            "role": "user",
            "content": [{"type": "input_text", "text": "hello"}],
            "status": "completed",
        }
    ]


def test_roles_are_those_of_the_corridor():
    said = [{"role": role, "content": role} for role in ("system", "developer", "user", "assistant")]

    assert [message.role for message in messages(*said)] == ["system", "system", "user", "assistant"]


def test_parts_are_joined_as_those_of_a_chat():
    parts = [{"type": "input_text", "text": text} for text in ("one", "", "two")]

    assert messages({"type": "message", "role": "user", "content": parts}) == [Message("user", "one\n\ntwo")]


def test_pictures_come_after_the_text():
    parts = [{"type": "input_image", "image_url": PICTURE, "detail": "low"}, {"type": "input_text", "text": "what?"}]

    assert messages({"role": "user", "content": parts}) == [Message("user", "what?", (Image(PICTURE),))]


def test_a_kept_picture_says_its_detail():
    item = kept({"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}]})[0]

    assert msgspec.to_builtins(item)["content"] == [{"type": "input_image", "image_url": PICTURE, "detail": "auto"}]


def test_what_the_model_said_and_called_is_one_turn():
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "let me see"}]}
    second = CALL | {"call_id": "call_2"}

    calling, result = messages(answer, CALL, second, RESULT)

    assert calling == Message(
        "assistant",
        "let me see",
        tool_calls=(
            ToolCall("call_1", "weather", '{"city": "Paris"}', 0),
            ToolCall("call_2", "weather", '{"city": "Paris"}', 1),
        ),
    )
    assert result == Message("tool", "sunny", tool_call_id="call_1", tool_name="weather")


def test_calls_after_results_are_a_new_turn():
    turns = messages({"role": "user", "content": "hi"}, CALL, RESULT, CALL, RESULT)

    assert [turn.role for turn in turns] == ["user", "assistant", "tool", "assistant", "tool"]


def test_a_result_may_be_parts_and_its_call_unknown():
    output = [{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}]

    assert messages(RESULT | {"output": output}) == [Message("tool", "a\n\nb", tool_call_id="call_1")]


def test_a_refusal_is_what_was_said():
    said = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}

    assert messages(said) == [Message("assistant", "no")]


def test_an_answer_is_kept_as_the_clients_read_it():
    part = {"type": "output_text", "text": "hi", "annotations": [{"type": "url_citation"}], "logprobs": []}
    item = kept({"type": "message", "id": "msg_1", "role": "assistant", "status": "incomplete", "content": [part]})[0]

    assert msgspec.to_builtins(item) == {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "hi", "annotations": []}],
        "status": "completed",
    }


def test_reasoning_is_left_out():
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}

    assert messages(thought, {"role": "user", "content": "hi"}) == [Message("user", "hi")]


def test_each_item_has_an_id_of_its_own():
    before = kept({"id": "a", "role": "user", "content": "1"})
    said = [{"id": id, "role": "user", "content": "2"} for id in ("a", "b", "b", "", "x" * 257, None)]

    ids = [item.id for item in kept(*said, before=before)]

    assert ids[:3] == ["a", "msg_m_in1", "b"]
    assert len(set(ids)) == len(ids) == 7


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "input[0]"),
        ({"type": "web_search_call", "id": "ws_1"}, "input[0].type"),
        ({"type": "", "role": "user", "content": "hi"}, "input[0].type"),
        ({"content": "hi"}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "input[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "input[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "input[0].content[0]"),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://a.example/a.png"}]},
            "input[0].content[0].image_url",
        ),
        ({"role": "system", "content": [{"type": "input_image", "image_url": PICTURE}]}, "input[0].content[0]"),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "c", "arguments": "{}"}, "input[0].name"),
        ({"type": "function_call", "call_id": "c", "name": "f"}, "input[0].arguments"),
        (CALL | {"name": ""}, "input[0].name"),
        (RESULT | {"call_id": "c" * 257}, "input[0].call_id"),
        ({"type": "function_call_output", "call_id": "c"}, "input[0].output"),
        (RESULT | {"output": [{"type": "input_image", "image_url": PICTURE}]}, "input[0].output[0].type"),
    ],
)
def test_what_cannot_be_taken_is_named(item: dict[str, object], param: str):
    with pytest.raises(FieldInvalid) as refused:
        kept(item)

    assert refused.value.param == param
    assert param in refused.value.public


def test_pictures_are_counted_over_the_conversation():
    pictures = {"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}] * 60}
    before = kept(pictures)

    with pytest.raises(FieldInvalid, match="120 images"):
        kept(pictures, before=before)


def test_what_is_kept_is_read_as_it_was():
    items = kept({"role": "user", "content": "hi"}, CALL, RESULT)

    assert msgspec.json.decode(msgspec.json.encode(items), type=list[ResponseItem]) == items
