"""Pairs of requests that differ in one value, kind, order or boundary: the keys are the same only if the requests are.

`LONG=1` looks at 1,000,000 pairs.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from msgspec import structs

from aiservice.cache import request_key
from aiservice.core.types import Generation, Image, Message, Tool, ToolCall, ToolChoice

PAIRS = 1_000_000 if os.environ.get("LONG") else 20_000
ROLES = ["system", "user", "assistant", "tool"]
TEXTS = ["", "a", "b", "ab", "1", "1.0", "n", "s1:a", "i1;", "l0:", "user", "null"]
TEXTS += ["é", "e\u0301", "\ud83d", "😀", "\0", " a"]
SCALARS: list[Any] = [None, True, False, 0, 1, -1, 2**70, 0.0, -0.0, 1.0, 0.1, 1e300, float("inf"), *TEXTS]


@dataclass(frozen=True)
class Request:
    """Everything that the key is made of, and what it is not."""

    generation: Generation
    tenant_id: str
    model: str
    model_digest: str

    def digest(self) -> str:
        key = request_key(
            self.generation,
            tenant_id=self.tenant_id,
            model=self.model,
            model_digest=self.model_digest,
        )
        return key.digest

    def identity(self) -> Any:
        """The request as a value that is equal to that of the same request alone."""
        one = self.generation
        messages = tuple(map(repr, one.messages))
        extras = (one.n, one.logprobs, one.top_k, one.frequency_penalty, one.presence_penalty)
        tools = tuple((tool.name, tool.description, identity(tool.parameters), tool.strict) for tool in one.tools)
        rest = (repr(one.tool_choice), tuple(map(identity, extras)), tools)
        numbers = tuple(map(identity, (one.temperature, one.top_p, one.max_tokens, one.seed)))
        outside = (self.tenant_id, self.model, self.model_digest)
        return outside, messages, numbers, identity(one.stop), identity(one.response_format), rest


def identity(value: Any) -> Any:
    if isinstance(value, dict):
        return "object", tuple(sorted((name, identity(item)) for name, item in value.items()))
    if isinstance(value, list | tuple):
        return "list", tuple(map(identity, value))
    return type(value).__name__, repr(value)


class Maker:
    """Random requests of few, confusable values, and requests that differ from them in one thing."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pick = self.chance.choice
        self.changes: list[Callable[[Request], Request]] = [
            self.other_outside,
            self.other_number,
            self.swapped_numbers,
            self.other_message,
            self.other_order_of_messages,
            self.moved_boundary_of_messages,
            self.moved_boundary_of_names,
            self.other_stop,
            self.moved_boundary_of_stop,
            self.other_format,
            self.other_order_of_format,
            self.other_extra,
            self.what_does_not_count,
        ]

    def value(self, depth: int = 2) -> Any:
        kind = self.chance.random()
        if depth == 0 or kind < 0.6:
            return self.pick(SCALARS)
        if kind < 0.8:
            return [self.value(depth - 1) for _ in range(self.chance.randrange(3))]
        return {self.pick(TEXTS): self.value(depth - 1) for _ in range(self.chance.randrange(3))}

    def message(self) -> Message:
        if self.chance.random() < 0.8:
            return Message(self.pick(ROLES), self.pick(TEXTS))
        calls = [ToolCall(*(self.pick(TEXTS) for _ in range(3))) for _ in range(self.chance.randrange(3))]
        images = [Image(self.pick(TEXTS)) for _ in range(self.chance.randrange(3))]
        names = [self.pick([None, *TEXTS[1:]]) for _ in range(2)]
        return Message(self.pick(ROLES), self.pick(TEXTS), tuple(images), tuple(calls), *names)

    def extra(self) -> dict[str, Any]:
        name = self.pick(["n", "logprobs", "top_k", "frequency_penalty", "presence_penalty", "tool_choice", "tools"])
        if name == "tool_choice":
            mode, tool = self.pick(["auto", "none", "required"]), self.pick([None, *TEXTS])
            return {name: ToolChoice(mode, tool, self.pick([None, True, False]))}
        if name == "tools":
            return {name: tuple(self.tool() for _ in range(self.chance.randrange(3)))}
        return {name: self.pick([1, 2, 3]) if name == "n" else self.pick([None, 0, 1, 2, 0.0, -0.0, 1.0])}

    def tool(self) -> Tool:
        parameters = self.pick([None, {}, {self.pick(TEXTS): self.value()}])
        return Tool(self.pick(TEXTS), self.pick([None, *TEXTS]), parameters, self.pick([True, False]))

    def request(self) -> Request:
        generation = Generation(
            model="asked",
            messages=tuple(self.message() for _ in range(self.chance.randrange(1, 4))),
            temperature=self.pick([0, 0.0, 1, 1.0, 0.7]),
            max_tokens=self.pick([1, 2, 12]),
            top_p=self.pick([None, 1.0, 0.7]),
            seed=self.pick([None, 0, 1, 12]),
            stop=tuple(self.pick(TEXTS) for _ in range(self.chance.randrange(3))),
            response_format=self.pick([None, {}, {"type": "json_object"}, {self.pick(TEXTS): self.value()}]),
        )
        if self.chance.random() < 0.3:
            generation = structs.replace(generation, **self.extra())
        return Request(generation, self.pick(TEXTS), self.pick(TEXTS), self.pick(TEXTS))

    def pair(self) -> tuple[Request, Request]:
        request = self.request()
        return request, self.pick(self.changes)(request)

    def changed(self, request: Request, **values: Any) -> Request:
        return replace(request, generation=structs.replace(request.generation, **values))

    def other_outside(self, request: Request) -> Request:
        name = self.pick(["tenant_id", "model", "model_digest"])
        return replace(request, **{name: self.pick(TEXTS)})

    def other_extra(self, request: Request) -> Request:
        return self.changed(request, **self.extra())

    def other_number(self, request: Request) -> Request:
        name = self.pick(["temperature", "top_p", "max_tokens", "seed"])
        return self.changed(request, **{name: self.pick([None, 0, 1, True, False, 0.0, -0.0, 1.0, 0.7, 12, "1", "12"])})

    def swapped_numbers(self, request: Request) -> Request:
        one, other = self.chance.sample(["temperature", "top_p", "max_tokens", "seed"], 2)
        generation = request.generation
        return self.changed(request, **{one: getattr(generation, other), other: getattr(generation, one)})

    def other_message(self, request: Request) -> Request:
        messages = list(request.generation.messages)
        position = self.chance.randrange(len(messages))
        messages[position : position + self.pick([0, 1])] = [self.message() for _ in range(self.chance.randrange(3))]
        return self.changed(request, messages=tuple(messages))

    def other_order_of_messages(self, request: Request) -> Request:
        messages = list(request.generation.messages)
        self.chance.shuffle(messages)
        return self.changed(request, messages=tuple(messages))

    def moved_boundary_of_messages(self, request: Request) -> Request:
        """The same characters, cut elsewhere; or two messages in one."""
        texts = [message.content for message in request.generation.messages]
        roles = [message.role for message in request.generation.messages]
        whole = "".join(texts)
        cuts = sorted(self.chance.choices(range(len(whole) + 1), k=len(texts) - self.pick([0, 1, 1])))
        edges = [0, *cuts, len(whole)]
        parts = [whole[start:end] for start, end in pairwise(edges)]
        return self.changed(request, messages=tuple(map(Message, roles + roles, parts)))

    def moved_boundary_of_names(self, request: Request) -> Request:
        whole = request.tenant_id + request.model + request.model_digest
        first, second = sorted(self.chance.choices(range(len(whole) + 1), k=2))
        return replace(request, tenant_id=whole[:first], model=whole[first:second], model_digest=whole[second:])

    def other_stop(self, request: Request) -> Request:
        stop = list(request.generation.stop)
        self.chance.shuffle(stop)
        return self.changed(request, stop=tuple(stop + self.pick([[], [], [self.pick(TEXTS)]])))

    def moved_boundary_of_stop(self, request: Request) -> Request:
        """A stop more in the format or in a message, and one less where it was; or two in one."""
        stop = request.generation.stop
        moved = stop[-1] if stop else ""
        messages = (*request.generation.messages, Message("user", moved))
        return self.pick(
            [
                self.changed(request, stop=("".join(stop),)),
                self.changed(request, stop=stop[:-1], messages=messages),
                self.changed(request, stop=stop[:-1], response_format={moved: None}),
                self.changed(request, stop=[*stop]),
            ]
        )

    def other_format(self, request: Request) -> Request:
        return self.changed(request, response_format=self.pick([None, {}, {self.pick(TEXTS): self.value()}]))

    def other_order_of_format(self, request: Request) -> Request:
        fields = list((request.generation.response_format or {"a": 1, "b": [2]}).items())
        self.chance.shuffle(fields)
        return self.changed(request, response_format=dict(fields))

    def what_does_not_count(self, request: Request) -> Request:
        return self.changed(request, model=self.pick(TEXTS), stream=True)


@pytest.mark.timeout(600)
def test_keys_are_the_same_only_for_the_same_request() -> None:
    maker = Maker(11)
    equal = 0
    for _ in range(PAIRS):
        one, other = maker.pair()
        is_same = one.identity() == other.identity()
        assert (one.digest() == other.digest()) == is_same, (one, other)
        equal += is_same
    assert PAIRS / 10 < equal < PAIRS / 2


def test_no_two_of_many_requests_share_a_key() -> None:
    maker = Maker(12)
    requests = [maker.request() for _ in range(PAIRS // 10)]
    by_digest: dict[str, Any] = {}
    for request in requests:
        assert by_digest.setdefault(request.digest(), request.identity()) == request.identity()
    assert len(by_digest) == len({request.identity() for request in requests})
