"""The corridor's chunks in Ollama's lines."""

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiservice.api.ollama.chat import ChatReply, OllamaChatRequest
from aiservice.api.ollama.generate import GenerateReply, OllamaGenerateRequest
from aiservice.api.ollama.lines import moment
from aiservice.api.rooms import Rooms
from aiservice.core.clock import ManualClock
from aiservice.core.settings import load
from aiservice.core.types import Chunk, Logprob, Tokens, ToolCall, merged
from aiservice.gateway import Answer, Visit
from aiservice.keys import LOCAL_CALLER
from aiservice.limits import Decision
from aiservice.observe.metrics import Metrics

MODEL = 'mo"del'
START_US = 1_750_000_000_999_998
END = Chunk("", "stop", Tokens(3, 2))
TEXT = [Chunk("Hé"), Chunk('"\n'), END]
FACTS = {
    "model": MODEL,
    "done": True,
    "done_reason": "stop",
    "load_duration": 0,
    "prompt_eval_count": 3,
    "eval_count": 2,
}


@dataclass
class Stage:
    """Replies over one clock; the request came half a second before its first chunk."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(START_US))

    def chat(self, first: Chunk) -> ChatReply:
        return ChatReply(self._rooms(), OllamaChatRequest(model=MODEL), self._visit(), answer=_answer(first))

    def generate(self, first: Chunk) -> GenerateReply:
        return GenerateReply(self._rooms(), OllamaGenerateRequest(model=MODEL), self._visit(), answer=_answer(first))

    def _rooms(self) -> Rooms:
        return Rooms(load({"ENVIRONMENT": "development"}), self.clock, Metrics())

    def _visit(self) -> Visit:
        return Visit("id", "/api/chat", LOCAL_CALLER, START_US, self.clock.monotonic_s() - 0.5)


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def _nothing() -> AsyncGenerator[Chunk]:
    for chunk in ():
        yield chunk


def _answer(first: Chunk) -> Answer:
    return Answer(MODEL, "fake", "MISS", Decision(is_allowed=True, standings=()), first, _nothing())


def lines(reply: ChatReply | GenerateReply, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
    data = reply.opening() + b"".join([reply.piece(chunk) for chunk in chunks]) + reply.closing(chunks[-1])
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.decode().removesuffix("\n").split("\n")]


def whole(reply: ChatReply | GenerateReply, chunks: Sequence[Chunk]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(reply.whole(merged(chunks)))
    return told


def test_a_chat_is_a_line_for_each_piece_and_one_with_the_facts(stage: Stage) -> None:
    first, second, last = lines(stage.chat(TEXT[0]), TEXT)
    assert first == {
        "model": MODEL,
        "created_at": "2025-06-15T15:06:40.999998Z",
        "message": {"role": "assistant", "content": "Hé"},
        "done": False,
    }
    assert second["message"]["content"] == '"\n'
    assert {name: last[name] for name in FACTS} == FACTS
    assert last["message"] == {"role": "assistant", "content": ""}


def test_generate_says_the_same_in_its_own_field(stage: Stage) -> None:
    first, second, last = lines(stage.generate(TEXT[0]), TEXT)
    assert (first["response"], second["response"], last["response"]) == ("Hé", '"\n', "")
    assert {name: last[name] for name in FACTS} == FACTS
    assert whole(stage.generate(TEXT[0]), TEXT)["response"] == 'Hé"\n'


def test_a_line_has_the_time_it_was_made_at(stage: Stage) -> None:
    reply = stage.chat(TEXT[0])
    moments = ["2025-06-15T15:06:40.999998Z", "2025-06-15T15:06:41.000001Z", "2025-06-15T15:06:39.000000Z"]
    for shown, us in zip(moments, (START_US, START_US + 3, START_US - 1_999_998), strict=True):
        stage.clock.set_us(us)
        assert json.loads(reply.piece(TEXT[0]))["created_at"] == shown == moment(us)


def test_the_first_piece_divides_the_time_of_a_stream(stage: Stage) -> None:
    reply = stage.chat(TEXT[0])
    stage.clock.advance_s(2)
    last = lines(reply, TEXT)[-1]
    assert last["total_duration"] == pytest.approx(2_500_000_000, abs=1_000)
    assert last["prompt_eval_duration"] == pytest.approx(500_000_000, abs=1_000)
    assert last["eval_duration"] == pytest.approx(2_000_000_000, abs=1_000)


def test_what_comes_in_one_piece_has_no_such_division(stage: Stage) -> None:
    only = Chunk("Hi", "length", Tokens(3, 2))
    told = whole(stage.chat(only), [only])
    assert told["message"] == {"role": "assistant", "content": "Hi"}
    assert told["done_reason"] == "length"
    assert told["prompt_eval_duration"] == 0
    assert told["eval_duration"] == told["total_duration"] == pytest.approx(500_000_000, abs=1_000)


def test_an_answer_from_the_cache_is_a_line_and_its_end(stage: Stage) -> None:
    only = Chunk("Hi", "stop", Tokens(3, 2))
    first, last = lines(stage.chat(only), [only])
    assert first["message"]["content"] == "Hi"
    assert {name: last[name] for name in FACTS} == FACTS


def test_calls_in_pieces_go_out_whole_before_the_end(stage: Stage) -> None:
    chunks = [
        Chunk("Well. "),
        Chunk("", tool_calls=(ToolCall("c1", "weather", ""),)),
        Chunk("", tool_calls=(ToolCall("", "", '{"city":'),)),
        Chunk("", tool_calls=(ToolCall("", "", ' "Rome"}'), ToolCall("c2", "clock", "", 1))),
        Chunk("", "tool_calls", Tokens(3, 2)),
    ]
    calls = [
        {"id": "c1", "function": {"name": "weather", "arguments": {"city": "Rome"}}},
        {"id": "c2", "function": {"name": "clock", "arguments": {}}},
    ]
    text, called, last = lines(stage.chat(chunks[0]), chunks)
    assert text["message"]["content"] == "Well. "
    assert called["message"] == {"role": "assistant", "content": "", "tool_calls": calls}
    assert not called["done"]
    assert last["done_reason"] == "stop"
    assert whole(stage.chat(chunks[0]), chunks)["message"] == {
        "role": "assistant",
        "content": "Well. ",
        "tool_calls": calls,
    }


def test_a_whole_answer_with_calls_from_the_cache(stage: Stage) -> None:
    only = Chunk("", "tool_calls", Tokens(3, 2), tool_calls=(ToolCall("c1", "clock", "{}"),))
    called, last = lines(stage.chat(only), [only])
    assert called["message"]["tool_calls"] == [{"id": "c1", "function": {"name": "clock", "arguments": {}}}]
    assert last["done"]


def test_calls_that_are_no_objects_are_kept_as_text(stage: Stage) -> None:
    """The answer is in the ledger and the cache by then: it is given as it is."""
    chunks = [Chunk("", tool_calls=(ToolCall("c1", "clock", "[1]"),)), Chunk("", "tool_calls", Tokens(3, 2))]
    called, _ = lines(stage.chat(chunks[0]), chunks)
    assert called["message"]["tool_calls"][0]["function"]["arguments"] == {"INVALID_JSON": "[1]"}


def test_a_call_that_was_cut_is_left_out(stage: Stage) -> None:
    chunks = [Chunk("", tool_calls=(ToolCall("c1", "clock", '{"at'),)), Chunk("", "length", Tokens(3, 2))]
    (last,) = lines(stage.chat(chunks[0]), chunks)
    assert last["done_reason"] == "length"
    assert last["message"] == {"role": "assistant", "content": ""}


def test_logprobs_stand_beside_their_text(stage: Stage) -> None:
    rare = Logprob("a", -0.5, (97,), (Logprob("a", -0.5, (97,)), Logprob("b", -1.5)))
    chunks = [Chunk("a", logprobs=(rare,)), Chunk("b", logprobs=(Logprob("b", -0.1),)), END]
    first = {"token": "a", "logprob": -0.5, "bytes": [97]}
    told = [first | {"top_logprobs": [first, {"token": "b", "logprob": -1.5}]}, {"token": "b", "logprob": -0.1}]
    one, two, last = lines(stage.chat(chunks[0]), chunks)
    assert [one["logprobs"], two["logprobs"]] == [told[:1], told[1:]]
    assert (one["message"]["content"], two["message"]["content"]) == ("a", "b")
    assert "logprobs" not in last
    assert whole(stage.chat(chunks[0]), chunks)["logprobs"] == told
    assert whole(stage.generate(chunks[0]), chunks)["logprobs"] == told
    assert lines(stage.generate(chunks[0]), chunks)[0]["logprobs"] == told[:1]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_text_comes_out_as_it_went_in(texts: list[str]) -> None:
    chunks = [*map(Chunk, texts), END]
    told = lines(Stage().chat(chunks[0]), chunks)
    assert "".join([line["message"]["content"] for line in told]) == "".join(texts)
    assert [line["done"] for line in told] == [False] * (len(told) - 1) + [True]
