"""What the caller asked the answer to be is checked, whatever the engine promised."""

import time
from typing import Any

import pytest

from aiservice.core.errors import AnswerInvalid, FieldInvalid
from aiservice.core.types import Chunk, Completion, Embedding, FinishReason, Generation, Message, Tokens, Tool, ToolCall
from aiservice.gateway.form import NO_FORM, form_of

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def generation(**facts: Any) -> Generation:
    return Generation("m", (Message("user", "Who?"),), 0.0, 100, **facts)


def of_schema(schema: Any) -> Generation:
    return generation(response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}})


def saying(*texts: str, reason: FinishReason = "stop", calls: tuple[ToolCall, ...] = ()) -> Completion:
    choices = [Chunk(text, reason, None, index, calls) for index, text in enumerate(texts)]
    return Completion("m", "e", (*choices[:-1], Chunk(texts[-1], reason, Tokens(1, 1), len(texts) - 1, calls)))


@pytest.mark.parametrize("asked", [generation(), Embedding("m", ("text",)), generation(tools=(Tool("clock"),))])
def test_without_a_form_everything_passes(asked: Any) -> None:
    form_of(asked).check(saying("anything"))


def test_nothing_asked_for_is_no_form() -> None:
    assert form_of(generation()) is NO_FORM


@pytest.mark.parametrize("text", ['{"name": "Ann", "age": 3}', ' {"age": 0, "name": ""}\n'])
def test_what_satisfies_its_schema_passes(text: str) -> None:
    form_of(of_schema(SCHEMA)).check(saying(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Ann is 3.", "is not JSON"),
        ("", "is not JSON"),
        ('{"name": "Ann"', "is not JSON"),
        ('{"name": "Ann", "age": -1}', "at age"),
        ('{"name": "Ann"}', "at its top"),
        ("[]", "at its top"),
    ],
)
def test_what_does_not_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(AnswerInvalid, match=says):
        form_of(of_schema(SCHEMA)).check(saying(text))


def test_every_choice_is_checked() -> None:
    with pytest.raises(AnswerInvalid):
        form_of(of_schema(SCHEMA)).check(saying('{"name": "Ann", "age": 3}', "no"))


def test_an_answer_that_was_cut_at_its_length_may_break_its_form() -> None:
    form_of(of_schema(SCHEMA)).check(saying('{"name": "An', reason="length"))


@pytest.mark.parametrize(("text", "is_good"), [("{}", True), ("[1]", False), ("no", False)])
def test_a_json_object_is_one(text: str, is_good: bool) -> None:
    form = form_of(generation(response_format={"type": "json_object"}))
    if is_good:
        form.check(saying(text))
    else:
        with pytest.raises(AnswerInvalid):
            form.check(saying(text))


def test_a_json_schema_without_a_schema_is_any_json() -> None:
    form = form_of(generation(response_format={"type": "json_schema", "json_schema": {"name": "any"}}))
    form.check(saying("3"))
    with pytest.raises(AnswerInvalid):
        form.check(saying("three"))


@pytest.mark.parametrize(("arguments", "is_good"), [('{"name": "Ann", "age": 3}', True), ('{"name": 3}', False)])
def test_the_calls_of_a_strict_tool_satisfy_its_schema(arguments: str, is_good: bool) -> None:
    form = form_of(generation(tools=(Tool("person", None, SCHEMA, True),)))
    answer = saying("", reason="tool_calls", calls=(ToolCall("call_1", "person", arguments),))
    if is_good:
        form.check(answer)
    else:
        with pytest.raises(AnswerInvalid, match="the arguments of person"):
            form.check(answer)


def test_the_calls_of_other_tools_are_the_callers_to_check() -> None:
    calls = (ToolCall("call_1", "person", "no json"),)
    form_of(generation(tools=(Tool("person", None, SCHEMA),))).check(saying("", reason="tool_calls", calls=calls))


def test_calls_instead_of_the_json_are_an_answer_too() -> None:
    asked = generation(response_format={"type": "json_object"}, tools=(Tool("clock"),))
    form_of(asked).check(saying("", reason="tool_calls", calls=(ToolCall("call_1", "clock", "{}"),)))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/$defs/missing"},
        {"type": "string", "pattern": "("},
        "text",
        3,
    ],
)
def test_a_schema_that_cannot_be_used_is_the_callers_mistake(schema: Any) -> None:
    with pytest.raises(FieldInvalid, match="The schema for the answer is no JSON schema"):
        form_of(of_schema(schema))


def test_a_tools_schema_is_named_by_its_tool() -> None:
    with pytest.raises(FieldInvalid, match="The schema of the tool person is no JSON schema"):
        form_of(generation(tools=(Tool("person", None, {"type": "objekt"}, True),)))


def test_a_pattern_cannot_take_long() -> None:
    form = form_of(of_schema({"type": "string", "pattern": "^(?=a)(a|aa)+$(?<!c)"}))
    began_s = time.monotonic()
    with pytest.raises(AnswerInvalid):
        form.check(saying('"' + "a" * 5_000 + 'b"'))
    assert time.monotonic() - began_s < 1


def test_a_pattern_may_look_ahead() -> None:
    form = form_of(of_schema({"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}))
    form.check(saying('"12.50"'))
    with pytest.raises(AnswerInvalid):
        form.check(saying('"-"'))


def test_a_deep_answer_is_refused_and_nothing_breaks() -> None:
    with pytest.raises(AnswerInvalid):
        form_of(of_schema(SCHEMA)).check(saying("[" * 100_000))


def test_a_schema_that_refers_to_itself_is_read() -> None:
    schema = {
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {"type": "object", "properties": {"child": {"$ref": "#/$defs/tree"}}}},
    }
    form_of(of_schema(schema)).check(saying('{"child": {"child": {}}}'))
