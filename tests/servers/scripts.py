"""What the test servers say: a model's name picks a script, as with the scripted engine of the package."""

import base64
import hashlib
import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WORD = re.compile(r"\s*\S+\s*")


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Error:
    """An error in the middle of a stream."""


@dataclass(frozen=True)
class Cut:
    """The connection ends in the middle of a stream."""


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What both servers' requests come to, for the scripts that depend on it."""

    model: str
    prompt: str
    stop: Sequence[str] = ()
    max_tokens: int = -1
    # The results of tools that came after all else, the tools that may be called, whether one must be.
    results: Sequence[str] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    is_call_required: bool = False
    schema: Mapping[str, Any] | None = None
    media_types: Sequence[str] = field(default_factory=tuple)


Step = str | Call | Pause | Error | Cut
MODELS = (
    "echo",
    "words-10",
    "slow-50",
    "slow-first",
    "slow-between",
    "fail-mid",
    "cut",
    "tools",
    "json",
    "see",
    "embed",
)
EMBEDDER = "embed"
DIMENSIONS = 6
INPUT_WORDS_MAX = 50
_SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_EXAMPLES: Mapping[str, Any] = {
    "string": "text",
    "integer": 0,
    "number": 0.5,
    "boolean": True,
    "array": [],
    "object": {},
}
REFUSALS = {"refuse": 400, "missing": 404, "too-long": 422, "busy": 429, "loading": 503, "locked": 401, "fail": 500}


def steps(asked: Asked) -> tuple[list[Step], str, int]:
    """The script cut to `stop` and `max_tokens`, the finish reason, and how many words and calls are in it."""
    script, finish, count = [], "stop", 0
    said = ""
    for step in _script(asked):
        if isinstance(step, str):
            said += step
            if (at := min((i for text in asked.stop if (i := said.find(text)) >= 0), default=-1)) >= 0:
                script.append(step[: len(step) - (len(said) - at)])
                count += 1
                break
        script.append(step)
        count += isinstance(step, str | Call)
        if isinstance(step, Call):
            finish = "tool_calls"
        if count == asked.max_tokens:
            finish = "length"
            break
    return script, finish, count


def logprobs_of(words: Sequence[str], others: int) -> list[dict[str, Any]]:
    """Each word as a token, with that many alternatives, of which it is the first."""
    rows = []
    for position, word in enumerate(words, start=1):
        own = {"token": word, "logprob": -position / 8, "bytes": list(word.encode())}
        rest = [{**own, "token": f"{word}{n}", "logprob": -position / 8 - n} for n in range(1, others)]
        rows.append({**own, "top_logprobs": [own, *rest][:others]})
    return rows


def vector_of(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """A vector of length 1, exact in float32, that is the same for the same text."""
    digest = hashlib.sha256(text.encode()).digest()
    numbers = [byte + 1 for byte in digest[:dimensions]]
    length = math.sqrt(sum(number * number for number in numbers))
    packed = struct.pack(f"<{dimensions}f", *(number / length for number in numbers))
    return list(struct.unpack(f"<{dimensions}f", packed))


def media_type_of(data: str) -> str:
    """The type of a picture in base64, by its first bytes."""
    head = base64.b64decode(data, validate=True)[:8]
    return next((kind for signature, kind in _SIGNATURES.items() if head.startswith(signature)), "unknown")


def _script(asked: Asked) -> list[Step]:
    model = asked.model
    kind, _, number = model.rpartition("-")
    if kind == "words":
        return list(WORD.findall(" ".join(f"word{n}" for n in range(int(number)))))
    if kind == "slow" and number.isdecimal():
        return [step for n in range(20) for step in (Pause(int(number) / 1000), f"word{n} ")]
    fixed: dict[str, list[Step]] = {
        "slow-first": [Pause(30), "late"],
        "slow-between": ["early ", Pause(30), "late"],
        "fail-mid": ["one ", "two ", Error()],
        "cut": ["one ", "two ", Cut()],
    }
    answers = {"tools": _tool_steps, "json": _json_steps, "see": _seen}
    if model in answers:
        return answers[model](asked)
    return fixed.get(model, list(WORD.findall(f"echo: {asked.prompt}")))


def _tool_steps(asked: Asked) -> list[Step]:
    """The tools that the prompt names, or the first where one must be called; what came of them once they were.

    One that is asked for JSON has been told of its tools in words.
    """
    if asked.schema is not None:
        return _json_steps(asked)
    if asked.results:
        return list(WORD.findall(f"result: {', '.join(asked.results)}"))
    functions = [tool["function"] for tool in asked.tools]
    named = [function for function in functions if function["name"] in asked.prompt]
    if not named and asked.is_call_required:
        named = functions[:1]
    return [Call(function["name"], _example(function["parameters"])) for function in named] or ["no ", "tool"]


def _json_steps(asked: Asked) -> list[Step]:
    return ["a ", "sentence"] if asked.schema is None else list(WORD.findall(json.dumps(_example(asked.schema))))


def _seen(asked: Asked) -> list[Step]:
    return list(WORD.findall(f"saw {len(asked.media_types)} image(s): {', '.join(asked.media_types)}"))


def _example(schema: Mapping[str, Any], document: Mapping[str, Any] | None = None) -> Any:
    """A value of the few forms of schemas that the tests ask for."""
    document = schema if document is None else document
    if "$ref" in schema:
        schema = document["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], document)
    if "const" in schema:
        return schema["const"]
    if schema.get("type") != "object":
        return _EXAMPLES[schema["type"]]
    properties = schema.get("properties", {})
    return {name: _example(properties[name], document) for name in schema.get("required", ())}
