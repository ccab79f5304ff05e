"""A chat's request as a generation: what is taken, what is passed over, what is refused."""

from typing import Any

import msgspec
import pytest

from aiservice.api.generate import GenerateDoor
from aiservice.api.openai.chat import ChatDoor
from aiservice.api.openai.chat_request import ChatRequest
from aiservice.api.openai.completions import CompletionDoor
from aiservice.api.openai.request import SHARED
from aiservice.core.errors import FieldInvalid, InvalidRequest
from aiservice.core.types import Generation, Message
from tests.unit.api.openai.doors import ROOMS, VISIT, asked, refused

MESSAGES = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


def read(**fields: Any) -> Generation:
    found = asked(ChatDoor, {"messages": MESSAGES, **fields})
    assert isinstance(found, Generation)
    return found


def test_what_nobody_asked_for_is_not_in_it() -> None:
    engines = ROOMS.settings.engines
    assert read() == Generation("echo", (Message("user", "Hi"),), engines.temperature, engines.max_tokens)


def test_it_is_the_same_generation_as_the_native_doors() -> None:
    fields = {"model": "m", "temperature": 0, "top_p": 0.5, "max_tokens": 9, "seed": 7, "stop": ["a"], "stream": True}
    native = asked(GenerateDoor, {"prompt": "Hi", **fields})
    assert read(**fields) == native
    assert asked(CompletionDoor, {"prompt": "Hi", **fields}) == native


def test_every_field_arrives() -> None:
    found = read(
        model="m",
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        n=2,
        max_completion_tokens=7,
        seed=-1,
        stop="END",
        frequency_penalty=-2,
        presence_penalty=2,
        logprobs=True,
        top_logprobs=5,
        response_format=SCHEMA,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert found == Generation(
        "m",
        (Message("user", "Hi"),),
        0.5,
        7,
        top_p=0.9,
        seed=-1,
        stop=("END",),
        response_format=SCHEMA,
        stream=True,
        n=2,
        logprobs=5,
        top_k=40,
        frequency_penalty=-2,
        presence_penalty=2,
    )


def test_null_is_as_not_sent() -> None:
    names = [name for name in ChatRequest.__struct_fields__ if name != "messages"]
    assert len(names) > 30
    assert read(**dict.fromkeys(names)) == read()


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "ann", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "safety_identifier": "x"},
        {"reasoning_effort": "high", "verbosity": "low", "prediction": {"type": "content", "content": "x"}},
        {"prompt_cache_key": "x", "parallel_tool_calls": True, "response_format": {"type": "text"}, "n": 1},
        {"functions": [], "function_call": "auto", "modalities": ["text"], "audio": None, "logit_bias": {}},
        {"min_p": 0, "min_tokens": 0, "repetition_penalty": 1.0, "ignore_eos": False, "best_of": 1, "echo": False},
        {"logprobs": False, "top_logprobs": 0, "stop": [], "stream": False, "stream_options": {"include_usage": True}},
    ],
)
def test_what_says_nothing_here_changes_nothing(fields: dict[str, Any]) -> None:
    assert read(**fields) == read()


@pytest.mark.parametrize(
    ("fields", "max_tokens"),
    [
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 10**9}, ROOMS.settings.limits.max_tokens_of(VISIT.caller.tier)),
    ],
)
def test_the_longest_answer(fields: dict[str, Any], max_tokens: int) -> None:
    assert read(**fields).max_tokens == max_tokens


def test_the_two_names_of_the_longest_answer_agree() -> None:
    error = refused(ChatDoor, {"messages": MESSAGES, "max_tokens": 7, "max_completion_tokens": 8})
    assert (type(error), error.status, error.param) == (InvalidRequest, 400, "max_completion_tokens")


def test_logprobs_without_others() -> None:
    assert read(logprobs=True).logprobs == 0
    assert read(logprobs=True, top_logprobs=20).logprobs == 20


@pytest.mark.parametrize(("top_k", "found"), [(-1, 0), (0, 0), (1, 1), (None, None)])
def test_all_tokens_may_be_meant_by_two_numbers(top_k: int | None, found: int | None) -> None:
    assert read(top_k=top_k).top_k == found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("top_p", -0.1),
        ("top_k", -2),
        ("n", 0),
        ("n", 9),
        ("max_tokens", 0),
        ("max_completion_tokens", -1),
        ("seed", 2**63),
        ("seed", 0.5),
        ("stop", ""),
        ("stop", ["a"] * 17),
        ("frequency_penalty", 2.5),
        ("presence_penalty", -2.5),
        ("top_logprobs", 21),
        ("top_logprobs", 2),
        ("logprobs", 1),
        ("stream", "yes"),
        ("model", ""),
        ("response_format", {"type": "grammar"}),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x", "format": "wav"}),
        ("web_search_options", {"search_context_size": "low"}),
        ("best_of", 2),
        ("echo", True),
        ("continue_final_message", True),
        ("logit_bias", {"50256": -100}),
        ("min_p", 0.1),
        ("min_tokens", 5),
        ("repetition_penalty", 1.1),
        ("ignore_eos", True),
        ("stop_token_ids", [2]),
        ("guided_json", {"type": "object"}),
        ("guided_regex", "a+"),
        ("guided_choice", ["a"]),
        ("guided_grammar", "root ::= x"),
        ("structured_outputs", {"regex": "a+"}),
        ("grammar", "root ::= x"),
        ("json_schema", {"type": "object"}),
        ("chat_template", "{{ x }}"),
        ("chat_template_kwargs", {"enable_thinking": False}),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(field: str, value: Any) -> None:
    error = refused(ChatDoor, {"messages": MESSAGES, field: value})
    assert isinstance(error, FieldInvalid)
    assert error.param == field
    assert error.public.startswith(field)


def test_functions_are_told_of_tools() -> None:
    assert "use tools" in refused(ChatDoor, {"messages": MESSAGES, "functions": [{"name": "f"}]}).public


@pytest.mark.parametrize("field", SHARED)
def test_completions_refuse_the_same(field: str) -> None:
    assert refused(CompletionDoor, {"prompt": "Hi", field: ["x"]}).param == field


@pytest.mark.parametrize("door", [ChatDoor, CompletionDoor])
def test_the_values_that_ask_for_nothing_are_documented(door: type[ChatDoor] | type[CompletionDoor]) -> None:
    schema = msgspec.json.schema(door.decoder.type)["$defs"][door.decoder.type.__name__]["properties"]
    documented = {name: field["enum"] for name, field in schema.items() if "enum" in field}
    assert documented.keys() >= SHARED.keys()
    prompts = {"messages": MESSAGES} if door is ChatDoor else {"prompt": "Hi"}
    for name, values in documented.items():
        for value in values:
            assert asked(door, {**prompts, name: value}) == asked(door, prompts)


@pytest.mark.parametrize(("field", "value"), [("min_p", False), ("repetition_penalty", True), ("ignore_eos", 0)])
def test_true_and_false_are_no_numbers(field: str, value: Any) -> None:
    assert refused(ChatDoor, {"messages": MESSAGES, field: value}).param == field
