"""What every door asks of a prompt, and the sentence where it is not given."""

from base64 import b64encode
from typing import Any

import pytest

from aiservice.api import prompt
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import Settings, load
from aiservice.core.types import Image, Message, Tool, ToolCall

PNG = b64encode(b"\x89PNG\r\n\x1a\n" + bytes(100)).decode()
URL = f"data:image/png;base64,{PNG}"
CALL = ToolCall("call_1", "clock", "{}")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load({"ENVIRONMENT": "development", "IMAGE_HOSTS": "pictures.example"})


@pytest.mark.parametrize(
    "last",
    [
        Message("user", "Hi."),
        Message("user", "", (Image(URL),)),
        Message("assistant", "", (), (CALL,)),
        Message("tool", "", tool_call_id="call_1"),
    ],
)
def test_a_prompt_ends_with_something_said(last: Message) -> None:
    assert prompt.checked([Message("system", ""), last], "messages", 100) == (Message("system", ""), last)


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "has 0 messages"),
        ([Message("user", "x")] * 1_001, "has 1001 messages"),
        ([Message("user", "")], "is empty"),
        ([Message("user", "a\0")], r"U\+0000"),
        ([Message("user", "x" * 101)], "has 101 characters; at most 100"),
        ([Message("user", "x" * 60), Message("user", "x" * 60)], "has 120 characters"),
        ([Message("assistant", "", (), (ToolCall("c", "t", "x" * 101),))], "has 101 characters"),
        ([Message("assistant", "", (), (ToolCall("c", "t", "\0"),))], r"U\+0000"),
    ],
)
def test_a_prompt_that_says_nothing_or_too_much_is_refused(messages: list[Message], says: str) -> None:
    with pytest.raises(FieldInvalid, match=says) as refused:
        prompt.checked(messages, "messages", 100)
    assert refused.value.param == "messages"


def test_pictures_come_as_data_or_from_allowed_hosts(settings: Settings) -> None:
    assert prompt.image(URL, settings, "url") == Image(URL)
    assert prompt.image(URL.replace("image/png", "IMAGE/PNG"), settings, "url") == Image(URL)
    there = "https://pictures.example/cat.png"
    assert prompt.image(there, settings, "url") == Image(there)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cat.png",
        "file:///etc/passwd",
        "https://example.com/cat.png",
        "https://pictures.example@example.com/cat.png",
        "https://user@pictures.example/cat.png",
        "ftp://pictures.example/cat.png",
        "http://[pictures.example/cat.png",
        "data:image/png,abc",
        "data:image/svg+xml;base64,AAAA",
        "data:text/html;base64,AAAA",
        "data:image/png;base64,AAA",
        "data:image/png;base64,A=AA",
        "data:image/png;base64,AA==AAAA",
        "data:image/png;base64,====",
        "data:image/png;base64,AAAA\n",
        "data:image/png;base64,AA A",
    ],
)
def test_other_pictures_are_refused(settings: Settings, url: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        prompt.image(url, settings, "messages")
    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    "tools",
    [[Tool("")], [Tool("a b")], [Tool("x" * 129)], [Tool("a"), Tool("a")], [Tool(f"t{n}") for n in range(129)]],
)
def test_tools_have_good_names_and_are_not_too_many(tools: list[Tool]) -> None:
    with pytest.raises(FieldInvalid, match="tools"):
        prompt.tools(tools)


def test_good_tools_stay_as_they_are() -> None:
    tools = [Tool("get.weather-1"), Tool("clock", "Tells the time.", {"type": "object"}, True)]
    assert prompt.tools(tools) == tuple(tools)


@pytest.mark.parametrize("value", [None, {"type": "text"}])
def test_text_is_no_form(value: Any) -> None:
    assert prompt.response_format(value) is None


@pytest.mark.parametrize("value", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": {}}}])
def test_a_form_stays_as_it_is(value: Any) -> None:
    assert prompt.response_format(value) == value


@pytest.mark.parametrize(
    "value", [{}, {"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": 3}]
)
def test_an_unknown_form_is_refused(value: Any) -> None:
    with pytest.raises(FieldInvalid, match="response_format"):
        prompt.response_format(value)


@pytest.mark.parametrize(("stop", "stops"), [(None, ()), ("a", ("a",)), (["a", "b"], ("a", "b")), ([], ())])
def test_stops_are_several_or_one(stop: Any, stops: tuple[str, ...]) -> None:
    assert prompt.stops(stop) == stops
