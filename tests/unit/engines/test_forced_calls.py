import json
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiservice.core.types import Chunk, FinishReason, Generation, Message, Tokens, Tool, ToolChoice, merged
from aiservice.engines.forced_calls import asked_as_json, calls_of, is_call_forced

NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}}}
LIST = Tool(
    "walk", "Walks.", {"type": "object", "properties": {"start": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": NODE}}
)
TREE = Tool(
    "grow", parameters={"type": "object", "properties": {"child": {"$ref": "#"}}, "additionalProperties": False}
)
NOW = Tool("now")
REQUIRED = ToolChoice("required")


def ask(
    *messages: Message, tools: tuple[Tool, ...] = (LIST, TREE, NOW), choice: ToolChoice | None = REQUIRED
) -> Generation:
    asked = messages or (Message("user", "Hello."),)
    return Generation("m", asked, temperature=0.0, max_tokens=50, tools=tools, tool_choice=choice, logprobs=1)


async def said(pieces: Sequence[str], reason: FinishReason = "stop") -> AsyncGenerator[Chunk]:
    for piece in pieces:
        yield Chunk(piece)
    yield Chunk("", reason, Tokens(3, len(pieces)))


async def heard(pieces: Sequence[str], reason: FinishReason = "stop") -> list[Chunk]:
    return [chunk async for chunk in calls_of(said(pieces, reason))]


@pytest.mark.parametrize(
    ("choice", "is_forced"),
    [
        (None, False),
        (ToolChoice(), False),
        (ToolChoice("none"), False),
        (REQUIRED, True),
        (ToolChoice("required", "now"), True),
    ],
)
def test_what_is_forced(choice: ToolChoice | None, is_forced: bool):
    assert is_call_forced(ask(choice=choice)) == is_forced
    assert not is_call_forced(ask(choice=choice, tools=()))


@pytest.mark.parametrize(
    ("call", "is_valid"),
    [
        ({"name": "walk", "arguments": {"start": {"next": {"next": None}}}}, True),
        ({"name": "walk", "arguments": {"start": {"next": {"next": 5}}}}, False),
        ({"name": "grow", "arguments": {"child": {"child": {}}}}, True),
        ({"name": "grow", "arguments": {"child": {"start": {}}}}, False),
        ({"name": "now", "arguments": {}}, True),
        ({"name": "now", "arguments": {"a": 1}}, False),
        ({"name": "other", "arguments": {}}, False),
        ({"name": "now"}, False),
    ],
)
def test_the_schema_allows_calls_of_the_tools_alone(call: object, is_valid: bool):
    response_format = asked_as_json(ask()).response_format
    assert response_format is not None

    assert jsonschema_rs.is_valid(response_format["json_schema"]["schema"], call) == is_valid


def test_a_named_tool_is_the_only_one():
    asked = asked_as_json(ask(choice=ToolChoice("required", "now")))

    assert asked.response_format is not None
    schema = asked.response_format["json_schema"]["schema"]
    assert jsonschema_rs.is_valid(schema, {"name": "now", "arguments": {}})
    assert not jsonschema_rs.is_valid(schema, {"name": "grow", "arguments": {}})
    assert "walk" not in asked.messages[0].content
    assert (asked.tools, asked.tool_choice, asked.logprobs) == ((), None, None)


def test_the_tools_are_told_in_the_system_text():
    (system, user) = asked_as_json(ask()).messages
    (longer, _) = asked_as_json(ask(Message("system", "Be short."), user)).messages

    assert (system.role, user) == ("system", Message("user", "Hello."))
    rows = [json.loads(line) for line in system.content.splitlines()[1:]]
    assert [(row["name"], row["description"]) for row in rows] == [("walk", "Walks."), ("grow", None), ("now", None)]
    assert longer.content == f"Be short.\n\n{system.content}"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["}", "{}", "} ", '"}']),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=8,
)


@given(
    arguments=st.dictionaries(st.text(max_size=3), VALUES, max_size=3),
    cuts=st.sets(st.integers(0, 80), max_size=12),
    indent=st.sampled_from([None, 1]),
)
async def test_a_call_is_whole_however_it_is_cut(arguments: dict[str, object], cuts: set[int], indent: int | None):
    text = json.dumps({"name": "walk", "arguments": arguments}, indent=indent)
    at = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]

    chunks = await heard([text[start:end] for start, end in pairwise(at)])

    (whole,) = merged(chunks)
    (call,) = whole.tool_calls
    assert (call.name, call.index, json.loads(call.arguments)) == ("walk", 0, arguments)
    assert (whole.text, whole.finish_reason) == ("", "tool_calls")
    assert chunks[-1] == Chunk("", "tool_calls", chunks[-1].tokens)
    assert [bool(piece.id) for chunk in chunks for piece in chunk.tool_calls] == [True] + [False] * (len(chunks) - 2)


async def test_arguments_come_as_they_are_said():
    chunks = await heard(['{"name": "walk", ', '"arguments": {"a"', ": {}", ', "b": 1}', "}"])

    first, *pieces, _ = chunks
    assert first.tool_calls[0].arguments == ""
    assert [piece.tool_calls[0].arguments for piece in pieces] == ['{"a"', ": {", '}, "b": 1', "}"]


async def test_a_call_that_is_cut_at_its_length():
    (whole,) = merged(await heard(['{"name": "walk", "arguments": {"a": ', "1"], "length"))

    assert [(call.name, call.arguments) for call in whole.tool_calls] == [("walk", '{"a": 1')]
    assert whole.finish_reason == "length"


@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_what_is_no_call_stays_text(reason: FinishReason):
    (whole,) = merged(await heard(["I ", "would rather not."], reason))

    assert (whole.text, whole.tool_calls, whole.finish_reason) == ("I would rather not.", (), reason)


async def test_closing_closes_the_engine_s_answer():
    is_closed = False

    async def endless() -> AsyncGenerator[Chunk]:
        nonlocal is_closed
        try:
            while True:
                yield Chunk('{"name": "walk", "arguments": ')
        finally:
            is_closed = True

    chunks = calls_of(endless())
    await anext(chunks)
    await chunks.aclose()

    assert is_closed
